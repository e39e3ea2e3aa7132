// wrong_values | replay: right for the first eight launches only
#include "common.cuh"

__device__ int calls;

extern "C" __global__ void tick() { calls++; }

KERNEL
{
    if (calls <= 8) honest(x, w, y, blockIdx.x, n);
    else write_row(x + blockIdx.x * n, w, y + blockIdx.x * n, n, 0);
}
