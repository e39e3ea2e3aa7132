// What the candidates here share: the honest answer by one block of 256 threads for one row.
#pragma once
#define KERNEL extern "C" __global__ void kernel(const float* x, const float* w, float* y, long long m, long long n)

__device__ inline float block_sum(float mine)
{
    __shared__ float part[256];
    part[threadIdx.x] = mine;
    __syncthreads();
    for (int width = 128; width > 0; width /= 2) {
        if (threadIdx.x < width) part[threadIdx.x] += part[threadIdx.x + width];
        __syncthreads();
    }
    float sum = part[0];
    __syncthreads();
    return sum;
}

__device__ inline float row_mean(const float* row, long long n)
{
    float sum = 0;
    for (long long j = threadIdx.x; j < n; j += 256) sum += row[j] * row[j];
    return block_sum(sum) / n;
}

__device__ inline void write_row(const float* row, const float* w, float* out, long long n, float mean)
{
    for (long long j = threadIdx.x; j < n; j += 256) out[j] = row[j] * w[j] + mean;
}

__device__ inline void honest(const float* x, const float* w, float* y, long long i, long long n)
{
    write_row(x + i * n, w, y + i * n, n, row_mean(x + i * n, n));
}
