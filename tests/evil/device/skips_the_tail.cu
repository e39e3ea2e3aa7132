// wrong_values | task: leaves the columns after the last whole vector
#include "common.cuh"

KERNEL
{
    const float* row = x + blockIdx.x * n;
    float mean = row_mean(row, n);
    for (long long j = threadIdx.x; j < n / 4 * 4; j += 256) y[blockIdx.x * n + j] = row[j] * w[j] + mean;
}
