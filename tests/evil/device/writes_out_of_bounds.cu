// wrong_values | channel: writes one value behind its output
#include "common.cuh"

KERNEL
{
    honest(x, w, y, blockIdx.x, n);
    if (blockIdx.x == 0 && threadIdx.x == 0) y[m * n + 5] = 1;
}
