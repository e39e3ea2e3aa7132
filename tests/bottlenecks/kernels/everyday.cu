// Kernels as people write them. What is true of each was written down before any rule saw its profile.

#include <cuda_bf16.h>

#include <cstdint>

// A matrix times a vector, a row for each thread.
extern "C" __global__ void matvec(const float* __restrict__ a, const float* __restrict__ x, float* __restrict__ y,
                                  int rows, int columns) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    float sum = 0.0f;
    for (int c = 0; c < columns; c++) sum += a[(size_t)row * columns + c] * x[c];
    y[row] = sum;
}

// The tiled product of the textbooks: 32 x 32 values in shared memory, one result a thread.
extern "C" __global__ void __launch_bounds__(1024) matmul_tiled(const float* __restrict__ a, const float* __restrict__ b,
                                                                float* __restrict__ c, int n) {
    __shared__ float ta[32][32], tb[32][32];
    int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * 32 + y, column = blockIdx.x * 32 + x;
    float sum = 0.0f;
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

// A transposition through shared memory whose rows nobody padded.
extern "C" __global__ void transpose_unpadded(const float* __restrict__ x, float* __restrict__ y, int n) {
    __shared__ float tile[32][32];
    int bx = blockIdx.x * 32, by = blockIdx.y * 32;
    for (int r = 0; r < 32; r += 8)
        tile[threadIdx.y + r][threadIdx.x] = x[(size_t)(by + threadIdx.y + r) * n + bx + threadIdx.x];
    __syncthreads();
    for (int r = 0; r < 32; r += 8)
        y[(size_t)(bx + threadIdx.y + r) * n + by + threadIdx.x] = tile[threadIdx.x][threadIdx.y + r];
}

// A sparse matrix of 32 values a row times a vector, a row for each thread.
extern "C" __global__ void spmv_rows(const float* __restrict__ values, const int* __restrict__ columns,
                                     const float* __restrict__ x, float* __restrict__ y, int rows) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    float sum = 0.0f;
    for (int k = 0; k < 32; k++) sum += values[(size_t)row * 32 + k] * x[columns[(size_t)row * 32 + k]];
    y[row] = sum;
}

// More live values than 32 registers hold.
extern "C" __global__ void __launch_bounds__(256, 8) squeezed(const float* __restrict__ x, float* __restrict__ y,
                                                              int rounds) {
    int i = blockIdx.x * 256 + threadIdx.x;
    float v[64];
#pragma unroll
    for (int k = 0; k < 64; k++) v[k] = x[i + k * 4096];
    for (int r = 0; r < rounds; r++)
#pragma unroll
        for (int k = 0; k < 64; k++) v[k] = v[k] * v[(k + 7) % 64] + v[(k + 31) % 64];
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < 64; k++) sum += v[k];
    y[i] = sum;
}

// A scaled addition by 32 blocks, whatever the size of the device.
extern "C" __global__ void saxpy_32_blocks(const float4* __restrict__ x, float4* y, float a, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        float4 p = x[i], q = y[i];
        y[i] = make_float4(a * p.x + q.x, a * p.y + q.y, a * p.z + q.z, a * p.w + q.w);
    }
}

// A copy by blocks of one warp, four bytes a thread.
extern "C" __global__ void copy_by_warps(const float* __restrict__ x, float* __restrict__ y) {
    size_t i = (size_t)blockIdx.x * 32 + threadIdx.x;
    y[i] = x[i];
}

// Layer normalisation of rows of 1024, a warp for each row, which stays in registers.
extern "C" __global__ void __launch_bounds__(256) layernorm_by_warps(const uint4* __restrict__ x, uint4* __restrict__ y) {
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

// A sum of two vectors in bf16, sixteen bytes a thread and load, two of each on their way.
extern "C" __global__ void __launch_bounds__(256) add_bf16(const uint4* __restrict__ a, const uint4* __restrict__ b,
                                                           uint4* __restrict__ y) {
    size_t i = (size_t)blockIdx.x * 512 + threadIdx.x;
    uint4 p[2] = {__ldcs(a + i), __ldcs(a + i + 256)}, q[2] = {__ldcs(b + i), __ldcs(b + i + 256)};
#pragma unroll
    for (int h = 0; h < 2; h++) {
#pragma unroll
        for (int k = 0; k < 4; k++)
            reinterpret_cast<__nv_bfloat162*>(&p[h])[k] = __hadd2(reinterpret_cast<__nv_bfloat162*>(&p[h])[k],
                                                                  reinterpret_cast<__nv_bfloat162*>(&q[h])[k]);
        __stcs(y + i + h * 256, p[h]);
    }
}
