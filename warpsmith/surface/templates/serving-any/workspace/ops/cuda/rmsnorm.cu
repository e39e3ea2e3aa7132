// RMSNorm over rows: y = w * round(x / sqrt(mean(x^2) + eps)), one block per row. Needs no header, so that nvcc and NVRTC
// both take it. n counts elements of a row; a row is a multiple of 16 bytes and begins at one.
#ifndef BLOCK
#define BLOCK 256
#endif

struct F32 {
    typedef float kept;
    static __device__ float up(float v) { return v; }
    static __device__ float down(float v) { return v; }
};

struct BF16 {
    typedef unsigned short kept;
    static __device__ float up(unsigned short v) { return __uint_as_float((unsigned)v << 16); }
    static __device__ unsigned short down(float v)
    {
        unsigned short bits;
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
        return bits;
    }
};

struct F16 {
    typedef unsigned short kept;
    static __device__ float up(unsigned short v)
    {
        float wide;
        asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(v));
        return wide;
    }
    static __device__ unsigned short down(float v)
    {
        unsigned short bits;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
        return bits;
    }
};

// The sum over the block, in every thread.
static __device__ float block_sum(float v)
{
    __shared__ float parts[BLOCK / 32];
    for (int step = 16; step; step /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, step);
    if (threadIdx.x % 32 == 0)
        parts[threadIdx.x / 32] = v;
    __syncthreads();
    float sum = 0.0f;
    for (int i = 0; i < BLOCK / 32; i++)
        sum += parts[i];
    return sum;
}

template <class T>
static __device__ void row(const typename T::kept *x, const typename T::kept *w, typename T::kept *y, int n, float eps)
{
    constexpr int VEC = 16 / sizeof(typename T::kept);
    struct alignas(16) Pack {
        typename T::kept v[VEC];
    };
    x += (long long)blockIdx.x * n;
    y += (long long)blockIdx.x * n;
    float sum = 0.0f;
    for (int i = threadIdx.x * VEC; i < n; i += BLOCK * VEC) {
        const Pack a = *(const Pack *)(x + i);
        for (int k = 0; k < VEC; k++)
            sum += T::up(a.v[k]) * T::up(a.v[k]);
    }
    const float scale = 1.0f / sqrtf(block_sum(sum) / (float)n + eps);
    for (int i = threadIdx.x * VEC; i < n; i += BLOCK * VEC) {
        const Pack a = *(const Pack *)(x + i), b = *(const Pack *)(w + i);
        Pack c;
        for (int k = 0; k < VEC; k++)
            c.v[k] = T::down(T::up(b.v[k]) * T::up(T::down(T::up(a.v[k]) * scale)));
        *(Pack *)(y + i) = c;
    }
}

#define ENTRY(NAME, T)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(BLOCK)                                                                \
        NAME(const T::kept *x, const T::kept *w, T::kept *y, int n, float eps)                                         \
    {                                                                                                                  \
        row<T>(x, w, y, n, eps);                                                                                       \
    }

ENTRY(rmsnorm_f32, F32)
ENTRY(rmsnorm_bf16, BF16)
ENTRY(rmsnorm_f16, F16)
