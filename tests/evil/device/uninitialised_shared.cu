// wrong_values or nondeterministic | task: adds to shared memory that nobody set to zero
#include "common.cuh"

KERNEL
{
    __shared__ float part[256];
    const float* row = x + blockIdx.x * n;
    for (long long j = threadIdx.x; j < n; j += 256) part[threadIdx.x] += row[j] * row[j];
    __syncthreads();
    float all = 0;
    for (int k = 0; k < 256; k++) all += part[k];
    write_row(row, w, y + blockIdx.x * n, n, all / n);
}
