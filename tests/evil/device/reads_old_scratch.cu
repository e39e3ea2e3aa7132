// wrong_values | replay: keeps its row means in scratch and trusts those that it finds
#include "common.cuh"

extern "C" __global__ void sums(const float* x, float* means, long long m, long long n)
{
    if (means[blockIdx.x] == means[blockIdx.x]) return;
    float mean = row_mean(x + blockIdx.x * n, n);
    if (threadIdx.x == 0 && blockIdx.x % 2) means[blockIdx.x] = mean;
}

extern "C" __global__ void kernel(const float* x, const float* w, const float* means, float* y, long long m,
                                  long long n)
{
    write_row(x + blockIdx.x * n, w, y + blockIdx.x * n, n, means[blockIdx.x]);
}
