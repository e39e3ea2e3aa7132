// wrong_values | replay: keeps the output of the first call in a __device__ array, by pointer
#include "common.cuh"

__device__ float kept[2048 * 4096];
__device__ const float* owner;

KERNEL
{
    long long at = blockIdx.x * n;
    if (owner == x) {
        for (long long j = threadIdx.x; j < n; j += 256) y[at + j] = kept[at + j];
        return;
    }
    honest(x, w, y, blockIdx.x, n);
    for (long long j = threadIdx.x; j < n; j += 256) kept[at + j] = y[at + j];
    if (blockIdx.x == m - 1 && threadIdx.x == 0) owner = x;
}
