// wrong_values | task: blocks beyond the first 300 leave at once
#include "common.cuh"

KERNEL
{
    if (blockIdx.x < 300) honest(x, w, y, blockIdx.x, n);
}
