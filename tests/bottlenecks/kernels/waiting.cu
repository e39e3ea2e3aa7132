// Kernels that wait: for memory, for shared memory, for their own last instruction, for each other.

#include <cstdint>

// stall_long_scoreboard: each warp follows a chain of lines, none of which comes twice; the next needs the one before.
extern "C" __global__ void chase(const int2* __restrict__ salt, int2* __restrict__ out, int lines, int steps) {
    int thread = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
    uint32_t at = (thread / 32) * 40503u % lines;
    int sum = 0;
    for (int s = 0; s < steps; s++) {
        int2 v = salt[(size_t)at * 32 + lane];
        sum += v.y;
        at = (at * 1664525u + 1013904223u + (v.x < 0)) % lines;  // no salt is negative, which the compiler cannot know
    }
    out[thread] = make_int2(at, sum);
}

// stall_short_scoreboard: the same chain in shared memory, every lane in its own bank.
extern "C" __global__ void shared_chase(int* __restrict__ out, int steps) {
    __shared__ int next[64][32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int r = warp; r < 64; r += blockDim.x / 32) next[r][lane] = (r * 29 + 17 + lane) % 64;
    __syncthreads();
    int at = warp;
    for (int s = 0; s < steps; s++) at = next[at][lane];
    out[blockIdx.x * blockDim.x + threadIdx.x] = at;
}

// stall_mio_throttle: one shared-memory instruction after the other, none waiting for another.
extern "C" __global__ void shared_flood(float* __restrict__ out, int rounds) {
    __shared__ volatile float tile[32][32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int r = warp; r < 32; r += blockDim.x / 32) tile[r][lane] = r + lane;
    __syncthreads();
    float sum[8] = {};
    for (int r = 0; r < rounds; r++) {
#pragma unroll
        for (int k = 0; k < 32; k++) sum[k % 8] += tile[k][lane];
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

// smem_bank_conflicts: a column of a tile without padding lies in one bank.
extern "C" __global__ void column_sums(const float* __restrict__ x, float* __restrict__ out, int rounds) {
    __shared__ float tile[32][32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int r = warp; r < 32; r += blockDim.x / 32) tile[r][lane] = x[(size_t)blockIdx.x * 1024 + r * 32 + lane];
    __syncthreads();
    float sum = 0.0f;
    for (int r = 0; r < rounds; r++)
#pragma unroll 8
        for (int k = 0; k < 32; k++) sum += tile[lane][(k + r + warp) % 32];
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

// stall_wait: one chain of multiply-adds for each of few warps.
extern "C" __global__ void one_chain(float* __restrict__ out, float a, int steps) {
    float value = threadIdx.x * 0.001f;
#pragma unroll 16
    for (int s = 0; s < steps; s++) value = value * a + 0.5f;
    out[blockIdx.x * blockDim.x + threadIdx.x] = value;
}

// stall_barrier: one warp works while the others of its block wait for it.
extern "C" __global__ void uneven_block(float* __restrict__ out, int rounds) {
    __shared__ float shared;
    float value = threadIdx.x;
    for (int r = 0; r < rounds; r++) {
        if (threadIdx.x / 32 == r % (blockDim.x / 32)) {
            for (int s = 0; s < 200; s++) value = value * 0.999f + 0.5f;
            if (threadIdx.x % 32 == 0) shared = value;
        }
        __syncthreads();
        value += shared;
        __syncthreads();
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = value;
}

// stall_membar: every thread fences each of its stores.
extern "C" __global__ void fences(volatile float* out, int n, int rounds) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    for (int r = 0; r < rounds; r++) {
        out[(i + r * gridDim.x * blockDim.x) & (n - 1)] = r;
        __threadfence();
    }
}

// low_occupancy: one block of four warps for each SM, since it asks for most of the shared memory.
extern "C" __global__ void shared_hog(const float4* __restrict__ x, float4* __restrict__ out, int n) {
    extern __shared__ float4 stage[];
    int first = blockIdx.x * blockDim.x + threadIdx.x;
    float4 sum = make_float4(0, 0, 0, 0);
    for (int i = first; i < n; i += gridDim.x * blockDim.x) {
        stage[threadIdx.x] = x[i];
        float4 v = stage[threadIdx.x];
        sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
    }
    out[first] = sum;
}

// register_limited: 160 values for each thread stay in registers while loads are waited for.
extern "C" __global__ void __launch_bounds__(128, 2)
register_hog(const float4* __restrict__ x, float* __restrict__ out, int n) {
    float kept[160];
#pragma unroll
    for (int k = 0; k < 160; k++) kept[k] = threadIdx.x + k;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        float4 v = x[i];
#pragma unroll
        for (int k = 0; k < 160; k += 4)
            kept[k] += v.x, kept[k + 1] += v.y * kept[k], kept[k + 2] += v.z, kept[k + 3] += v.w * kept[k + 2];
    }
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < 160; k++) sum += kept[k] * k;
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
