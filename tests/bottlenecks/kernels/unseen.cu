// More kernels as people write them, made after the rules had been mended on everyday.cu.

#include <cuda_bf16.h>

#include <cstdint>

// A matrix times a vector, a warp for each row, sixteen bytes a thread.
extern "C" __global__ void __launch_bounds__(256) gemv_by_warps(const float4* __restrict__ a,
                                                                const float4* __restrict__ x, float* __restrict__ y,
                                                                int columns) {
    int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32, quads = columns / 4;
    const float4* line = a + (size_t)row * quads;
    float sum = 0.0f;
#pragma unroll 8
    for (int c = lane; c < quads; c += 32) {
        float4 p = __ldcs(line + c), q = x[c];
        sum += p.x * q.x + p.y * q.y + p.z * q.z + p.w * q.w;
    }
    for (int offset = 16; offset; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
    if (lane == 0) y[row] = sum;
}

// softmax of long rows, a block for each, in three sweeps over the row: largest, sum, result.
extern "C" __global__ void __launch_bounds__(256) softmax_three_sweeps(const float* __restrict__ x,
                                                                       float* __restrict__ y, int columns) {
    __shared__ float parts[8];
    const float4* row = reinterpret_cast<const float4*>(x + (size_t)blockIdx.x * columns);
    float4* out = reinterpret_cast<float4*>(y + (size_t)blockIdx.x * columns);
    auto all = [&](float value, bool largest) {
        for (int offset = 16; offset; offset /= 2) {
            float other = __shfl_xor_sync(~0u, value, offset);
            value = largest ? fmaxf(value, other) : value + other;
        }
        __syncthreads();
        if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
        __syncthreads();
        for (int w = 0; w < 8; w++) value = w == 0 ? parts[0] : largest ? fmaxf(value, parts[w]) : value + parts[w];
        return value;
    };
    float most = -1e30f, sum = 0.0f;
#pragma unroll 4
    for (int c = threadIdx.x; c < columns / 4; c += 256)
        most = fmaxf(most, fmaxf(fmaxf(row[c].x, row[c].y), fmaxf(row[c].z, row[c].w)));
    most = all(most, true);
#pragma unroll 4
    for (int c = threadIdx.x; c < columns / 4; c += 256) {
        float4 v = row[c];
        sum += __expf(v.x - most) + __expf(v.y - most) + __expf(v.z - most) + __expf(v.w - most);
    }
    float scale = 1.0f / all(sum, false);
#pragma unroll 4
    for (int c = threadIdx.x; c < columns / 4; c += 256) {
        float4 v = row[c];
        out[c] = make_float4(__expf(v.x - most) * scale, __expf(v.y - most) * scale, __expf(v.z - most) * scale,
                             __expf(v.w - most) * scale);
    }
}

// The tiled product of the textbooks in double precision.
extern "C" __global__ void __launch_bounds__(1024) dgemm_tiled(const double* __restrict__ a,
                                                               const double* __restrict__ b,
                                                               double* __restrict__ c, int n) {
    __shared__ double ta[32][32], tb[32][32];
    int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * 32 + y, column = blockIdx.x * 32 + x;
    double sum = 0.0;
    for (int t = 0; t < n; t += 32) {
        ta[y][x] = a[(size_t)row * n + t + x];
        tb[y][x] = b[(size_t)(t + y) * n + column];
        __syncthreads();
#pragma unroll
        for (int k = 0; k < 32; k++) sum += ta[y][k] * tb[k][x];
        __syncthreads();
    }
    c[(size_t)row * n + column] = sum;
}

// Every thread looks up values of eight bytes wherever its hash says, one independent of the other.
extern "C" __global__ void hash_lookup(const float2* __restrict__ table, float2* __restrict__ out, int slots,
                                       int times) {
    uint32_t thread = blockIdx.x * blockDim.x + threadIdx.x;
    float2 sum = make_float2(0, 0);
#pragma unroll 4
    for (int t = 0; t < times; t++) {
        uint32_t h = (thread * 747796405u + t * 2891336453u) ^ (thread >> 7);
        h = (h ^ (h >> 15)) * 277803737u;
        float2 v = table[(h ^ (h >> 12)) % slots];
        sum.x += v.x, sum.y += v.y;
    }
    out[thread] = sum;
}

struct Cell {
    float pressure, density, velocity[3], energy, mass, age;
};

// One field of an array of structures is written.
extern "C" __global__ void write_field(const float* __restrict__ energy, Cell* __restrict__ cells, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) cells[i].energy = energy[i] * 0.5f;
}

// Multiply-adds in eight chains a thread, one block for each SM, for as long as it takes.
extern "C" __global__ void __launch_bounds__(1024) resident_fma(float* __restrict__ out, int steps) {
    float v[8];
#pragma unroll
    for (int k = 0; k < 8; k++) v[k] = threadIdx.x * 0.001f + k;
#pragma unroll 8
    for (int s = 0; s < steps; s++)
#pragma unroll
        for (int k = 0; k < 8; k++) v[k] = v[k] * 0.999f + 0.5f;
    out[blockIdx.x * 1024 + threadIdx.x] = v[0] + v[1] + v[2] + v[3] + v[4] + v[5] + v[6] + v[7];
}

// Sines of sines, four chains a thread.
extern "C" __global__ void sines(float* __restrict__ out, int steps) {
    float v[4] = {threadIdx.x * 0.1f, threadIdx.x * 0.2f, threadIdx.x * 0.3f, threadIdx.x * 0.4f};
#pragma unroll 4
    for (int s = 0; s < steps; s++)
#pragma unroll
        for (int k = 0; k < 4; k++) v[k] = __sinf(v[k]);
    out[blockIdx.x * blockDim.x + threadIdx.x] = v[0] + v[1] + v[2] + v[3];
}

// A sum where every thread adds its values to the same place.
extern "C" __global__ void atomic_sum(const float* __restrict__ x, float* out, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(out, x[i]);
}

// Layer normalisation of 128 rows of 1024, a warp for each row: good code, and next to nothing to do.
extern "C" __global__ void __launch_bounds__(256) layernorm_small(const uint4* __restrict__ x, uint4* __restrict__ y) {
    size_t row = ((size_t)blockIdx.x * 8 + threadIdx.x / 32) * 128 + threadIdx.x % 32;
    uint4 v[4];
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int p = 0; p < 4; p++) v[p] = __ldcs(x + row + p * 32);
#pragma unroll
    for (int p = 0; p < 4; p++)
#pragma unroll
        for (int k = 0; k < 4; k++) {
            float2 f = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162*>(&v[p])[k]);
            sum += f.x + f.y, squares += f.x * f.x + f.y * f.y;
        }
    for (int offset = 16; offset; offset /= 2) {
        sum += __shfl_xor_sync(~0u, sum, offset);
        squares += __shfl_xor_sync(~0u, squares, offset);
    }
    float mean = sum / 1024, scale = rsqrtf(squares / 1024 - mean * mean + 1e-5f);
#pragma unroll
    for (int p = 0; p < 4; p++) {
#pragma unroll
        for (int k = 0; k < 4; k++) {
            __nv_bfloat162* pair = reinterpret_cast<__nv_bfloat162*>(&v[p]) + k;
            float2 f = __bfloat1622float2(*pair);
            *pair = __floats2bfloat162_rn((f.x - mean) * scale, (f.y - mean) * scale);
        }
        __stcs(y + row + p * 32, v[p]);
    }
}
