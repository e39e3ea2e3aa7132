// crashed | host: asks for a megabyte of dynamic shared memory
#include "common.cuh"

extern __shared__ float room[];
KERNEL
{
    room[threadIdx.x] = 0;
    honest(x, w, y, blockIdx.x, n);
}
