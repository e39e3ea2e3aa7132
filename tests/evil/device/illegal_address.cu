// crashed | host: reads where nothing is
#include "common.cuh"

KERNEL
{
    honest(x, w, y, blockIdx.x, n);
    if (threadIdx.x == 0) y[0] = *(volatile float*)16;
}
