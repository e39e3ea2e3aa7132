// Kernels whose time is the bytes they move, or the way in which they ask for them.

#include <cstdint>

// severe_memory_bound: two streams in, one out, nothing to compute.
extern "C" __global__ void saxpy(const float4* __restrict__ x, float4* y, float a, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        float4 p = x[i], q = y[i];
        y[i] = make_float4(a * p.x + q.x, a * p.y + q.y, a * p.z + q.z, a * p.w + q.w);
    }
}

// huge_dram_traffic: a copy of gigabytes, all in one launch.
extern "C" __global__ void huge_copy(const float4* __restrict__ x, float4* __restrict__ y, long long n) {
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; i += gridDim.x * (long long)blockDim.x)
        y[i] = x[i];
}

struct Particle {
    float x, y, z, mass, u, v, w, charge;
};

// poor_coalescing: one field of an array of structures, so a sector holds one useful value.
extern "C" __global__ void one_field(const Particle* __restrict__ p, float* __restrict__ mass, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) mass[i] = p[i].mass * 2.0f;
}

// poor_coalescing: each thread walks its own row.
extern "C" __global__ void row_sums(const float* __restrict__ x, float* __restrict__ sums, int rows, int columns) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    float sum = 0.0f;
    for (int c = 0; c < columns; c++) sum += x[(size_t)row * columns + c];
    sums[row] = sum;
}

// uncoalesced_stores: rows are read in order, columns written with a stride.
extern "C" __global__ void transpose_naive(const float* __restrict__ x, float* __restrict__ y, int n) {
    int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    y[(size_t)column * n + row] = x[(size_t)row * n + column];
}

// l2_thrash, low_l2_hit: the whole of a table larger than the L2 is read again and again, front to back.
extern "C" __global__ void sweeps(const float4* __restrict__ table, float4* __restrict__ sums, int n, int times) {
    int first = blockIdx.x * blockDim.x + threadIdx.x, step = gridDim.x * blockDim.x;
    float4 sum = make_float4(0, 0, 0, 0);
    for (int t = 0; t < times; t++)
        for (int i = first; i < n; i += step) {
            float4 v = table[i];
            sum.x += v.x * t, sum.y += v.y, sum.z += v.z, sum.w += v.w;
        }
    sums[first] = sum;
}

// low_l1_hit: every warp reads random lines of a table that the L2 holds and the L1 cannot.
extern "C" __global__ void lookups(const float2* __restrict__ table, float2* __restrict__ out, int lines, int times) {
    int thread = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
    uint32_t state = (thread / 32) * 2654435761u + 12345u;
    float2 sum = make_float2(0, 0);
#pragma unroll 4
    for (int t = 0; t < times; t++) {
        state = state * 1664525u + 1013904223u;
        float2 v = table[(state >> 8) % lines * 32 + lane];
        sum.x += v.x, sum.y += v.y;
    }
    out[thread] = sum;
}

// no_tma_or_vector_loads: four bytes a thread, one load at a time.
extern "C" __global__ void scalar_sums(const float* __restrict__ x, float* __restrict__ sums, int n) {
    float sum = 0.0f;
#pragma unroll 1
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += sqrtf(fabsf(x[i]));
    sums[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

// local_memory_spills: an array for each thread, indexed by what the compiler does not know.
extern "C" __global__ void local_array(const int* __restrict__ order, float* __restrict__ out, int n, int rounds) {
    float bins[96];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    for (int b = 0; b < 96; b++) bins[b] = i * 0.5f + b;
    for (int r = 0; r < rounds; r++) {
        int at = order[(i + r * 7919) & (n - 1)];
        bins[at % 96] += bins[(at / 96) % 96] * 1.5f;
    }
    float sum = 0.0f;
    for (int b = 0; b < 96; b++) sum += bins[b];
    out[i] = sum;
}

// many_atomics, low_ipc: reductions in memory that meet at the same few lines of the L2.
extern "C" __global__ void crowded_atomics(float* counters, int lines, int times) {
    int lane = threadIdx.x % 32, warp = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    for (int t = 0; t < times; t++) atomicAdd(counters + ((warp * 7 + t) % lines) * 32 + lane, 1.0f);
}
