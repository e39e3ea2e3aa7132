// wrong_values | task: zeros
#include "common.cuh"

KERNEL
{
    for (long long j = threadIdx.x; j < n; j += 256) y[blockIdx.x * n + j] = 0;
}
