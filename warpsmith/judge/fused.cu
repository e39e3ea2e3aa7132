// How far outputs miss the float64 oracle, per row, in one pass each. Trusted code of the judge's own context.
// A block takes one part of one row: rows of few columns have one part, a one-dimensional tensor has many.
typedef long long i64;
typedef unsigned long long u64;
#define THREADS 256

__device__ double block_sum(double v)
{
    __shared__ double parts[THREADS / 32];
    for (int d = 16; d > 0; d >>= 1)
        v += __shfl_down_sync(0xffffffffu, v, d);
    if (threadIdx.x % 32 == 0)
        parts[threadIdx.x / 32] = v;
    __syncthreads();
    v = 0.0;
    if (threadIdx.x == 0)
        for (int w = 0; w < THREADS / 32; w++)
            v += parts[w];
    __syncthreads();
    return v;
}

__device__ double wide(float v) { return v; }
__device__ double wide(double v) { return v; }
struct half_bits { unsigned short bits; };
struct bfloat_bits { unsigned short bits; };
__device__ double wide(half_bits v)
{
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v.bits));
    return f;
}
__device__ double wide(bfloat_bits v) { return __uint_as_float((unsigned)v.bits << 16); }

extern "C" __global__ void __launch_bounds__(THREADS)
sizes(const double *ref, double *size, i64 columns, i64 span, i64 parts)
{
    i64 row = blockIdx.x / parts, from = blockIdx.x % parts * span;
    i64 to = min(columns, from + span);
    double sum = 0.0;
    for (i64 c = from + threadIdx.x; c < to; c += THREADS) {
        double r = ref[row * columns + c];
        sum += r * r;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        atomicAdd(size + row, sum);
}

template <typename T>
__device__ void misses(const T *out, const double *ref, const double *scale, double *missed, double *near,
                       i64 columns, i64 span, i64 parts, double element)
{
    i64 row = blockIdx.x / parts, from = blockIdx.x % parts * span;
    i64 to = min(columns, from + span);
    double rms = sqrt(scale[row] / (double)columns), sum = 0.0, hits = 0.0;
    for (i64 c = from + threadIdx.x; c < to; c += THREADS) {
        double r = ref[row * columns + c], d = wide(out[row * columns + c]) - r;
        sum += d * d;
        hits += fabs(d) <= element * (fabs(r) + rms) ? 1.0 : 0.0; // false for NaN
    }
    sum = block_sum(sum);
    hits = block_sum(hits);
    if (threadIdx.x == 0) {
        atomicAdd(missed + row, sum);
        atomicAdd(near, hits); // whole numbers below 2^53: exact in any order
    }
}

#define MISSES(name, type)                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                           \
    name(const type *out, const double *ref, const double *scale, double *missed, double *near, i64 columns,        \
         i64 span, i64 parts, double element)                                                                       \
    {                                                                                                               \
        misses(out, ref, scale, missed, near, columns, span, parts, element);                                       \
    }
MISSES(misses_f64, double)
MISSES(misses_f32, float)
MISSES(misses_f16, half_bits)
MISSES(misses_bf16, bfloat_bits)
