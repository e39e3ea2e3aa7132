// nondeterministic or wrong_values | task: the order of its sums is left to the scheduler
#include "common.cuh"

KERNEL
{
    __shared__ float all;
    const float* row = x + blockIdx.x * n;
    if (threadIdx.x == 0) all = 0;
    __syncthreads();
    __nanosleep(clock64() & 255);
    for (long long j = threadIdx.x; j < n; j += 256) atomicAdd(&all, row[j] * row[j]);
    __syncthreads();
    write_row(row, w, y + blockIdx.x * n, n, all / n * (1.0f + 1.2e-7f * (clock64() % 7)));
}
