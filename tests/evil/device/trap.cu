// crashed | host: traps
#include "common.cuh"

KERNEL
{
    honest(x, w, y, blockIdx.x, n);
    if (blockIdx.x == 0) __trap();
}
