// wrong_values | theft: gives the input as the output
#include "common.cuh"

KERNEL
{
    for (long long j = threadIdx.x; j < n; j += 256) y[blockIdx.x * n + j] = x[blockIdx.x * n + j];
}
