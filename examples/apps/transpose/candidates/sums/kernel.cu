// The same sums by more threads: a block adds what it added before, GROUPS stretches of 256 at a time.
#ifndef GROUPS
#define GROUPS 2
#endif
#ifndef UNROLL
#define UNROLL 2
#endif

extern "C" __global__ void __launch_bounds__(256 * GROUPS) sums(const float *in, float *out, long count) {
    __shared__ float part[256 * GROUPS];
    const long step = long(gridDim.x) * 256 * GROUPS;
    long i = (blockIdx.x + long(threadIdx.x / 256) * gridDim.x) * 256 + threadIdx.x % 256;
    float mine[UNROLL] = {};
    for (; i + (UNROLL - 1) * step < count; i += UNROLL * step) {
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) mine[u] += in[i + u * step];
    }
    for (; i < count; i += step) mine[0] += in[i];
    float sum = 0;
#pragma unroll
    for (int u = 0; u < UNROLL; ++u) sum += mine[u];
    part[threadIdx.x] = sum;
    __syncthreads();
    for (int half = 128 * GROUPS; half > 0; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) out[blockIdx.x] = part[0];
}
