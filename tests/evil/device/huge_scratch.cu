// crashed | host: asks for a petabyte of scratch
#include "common.cuh"

extern "C" __global__ void fill(float* t) { t[threadIdx.x] = 0; }
KERNEL { honest(x, w, y, blockIdx.x, n); }
