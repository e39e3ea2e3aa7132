// passed | looks like: outputs kept from before (a table in constant memory)
#include "common.cuh"

__constant__ float inverse[4] = {1.0f / 4096, 1.0f / 1009, 1.0f / 67, 0};

KERNEL
{
    const float* row = x + blockIdx.x * n;
    float mean = row_mean(row, n);
    if (n == 4096) mean = mean * n * inverse[0];
    write_row(row, w, y + blockIdx.x * n, n, mean);
}
