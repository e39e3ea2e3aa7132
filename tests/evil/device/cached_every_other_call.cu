// wrong_values | replay: a first kernel counts calls, and every third gives the last output again
#include "common.cuh"

__device__ float kept[2048 * 4096];
__device__ int calls;

extern "C" __global__ void tick() { calls++; }

KERNEL
{
    long long at = blockIdx.x * n;
    if (calls % 3 == 0) {
        for (long long j = threadIdx.x; j < n; j += 256) y[at + j] = kept[at + j];
        return;
    }
    honest(x, w, y, blockIdx.x, n);
    for (long long j = threadIdx.x; j < n; j += 256) kept[at + j] = y[at + j];
}
