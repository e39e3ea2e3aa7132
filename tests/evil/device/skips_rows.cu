// wrong_values | task: leaves every 64th row
#include "common.cuh"

KERNEL
{
    if (blockIdx.x % 64 != 63 || m < 64) honest(x, w, y, blockIdx.x, n);
}
