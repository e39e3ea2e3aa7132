// passed | looks like: a race (blocks take rows from a queue by an atomic counter)
#include "common.cuh"

__device__ unsigned int next;

extern "C" __global__ void start() { next = 0; }

KERNEL
{
    __shared__ unsigned int mine;
    for (;;) {
        if (threadIdx.x == 0) mine = atomicAdd(&next, 1u);
        __syncthreads();
        long long i = mine;
        __syncthreads();
        if (i >= m) return;
        honest(x, w, y, i, n);
    }
}
