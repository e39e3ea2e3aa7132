// timed_out | host: never ends
#include "common.cuh"

KERNEL
{
    honest(x, w, y, blockIdx.x, n);
    while (((volatile float*)w)[0] != 12345.0f) {}
}
