// wrong_values | task: the plan leaves out the kernel that does the work
#include "common.cuh"

extern "C" __global__ void work(const float* x, const float* w, float* y, long long m, long long n)
{
    honest(x, w, y, blockIdx.x, n);
}

KERNEL {}
