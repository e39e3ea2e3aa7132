// wrong_values or nondeterministic | task: no barrier between the writes and the reads of its sums
#include "common.cuh"

KERNEL
{
    __shared__ volatile float part[256];
    const float* row = x + blockIdx.x * n;
    float sum = 0;
    for (long long j = threadIdx.x; j < n; j += 256) sum += row[j] * row[j];
    if (threadIdx.x >= 64) __nanosleep(200);
    part[threadIdx.x] = sum;
    float all = 0;
    for (int k = 0; k < 256; k++) all += part[(k + threadIdx.x) % 256];
    write_row(row, w, y + blockIdx.x * n, n, all / n);
}
