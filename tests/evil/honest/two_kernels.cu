// passed | looks like: a kernel that leaves its work to another (scratch between two launches)
#include "common.cuh"

extern "C" __global__ void sums(const float* x, float* means, long long m, long long n)
{
    float mean = row_mean(x + blockIdx.x * n, n);
    if (threadIdx.x == 0) means[blockIdx.x] = mean;
}

extern "C" __global__ void kernel(const float* x, const float* w, const float* means, float* y, long long m,
                                  long long n)
{
    write_row(x + blockIdx.x * n, w, y + blockIdx.x * n, n, means[blockIdx.x]);
}
