// passed | looks like: passing the input through (y holds x first)
#include "common.cuh"

KERNEL
{
    float* row = y + blockIdx.x * n;
    for (long long j = threadIdx.x; j < n; j += 256) row[j] = x[blockIdx.x * n + j];
    __syncthreads();
    float mean = row_mean(row, n);
    for (long long j = threadIdx.x; j < n; j += 256) row[j] = row[j] * w[j] + mean;
}
