#include <cuda_bf16.h>

__device__ inline float block_sum(float mine)
{
    __shared__ float part[256];
    part[threadIdx.x] = mine;
    __syncthreads();
    for (int width = 128; width > 0; width /= 2) {
        if (threadIdx.x < width) part[threadIdx.x] += part[threadIdx.x + width];
        __syncthreads();
    }
    return part[0];
}

extern "C" __global__ void sums(const __nv_bfloat16* x, float* part, long long n)
{
    const __nv_bfloat16* row = x + blockIdx.y * n;
    float sum = 0;
    for (long long j = blockIdx.x * 256 + threadIdx.x; j < n; j += 65536) {
        float v = __bfloat162float(row[j]);
        sum += v * v;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) part[blockIdx.y * 256 + blockIdx.x] = sum;
}

extern "C" __global__ void kernel(const __nv_bfloat16* x, const float* part, __nv_bfloat16* y, long long n)
{
    float scale = rsqrtf(block_sum(part[blockIdx.y * 256 + threadIdx.x]) / n + 1e-6f);
    const __nv_bfloat16* row = x + blockIdx.y * n;
    for (long long j = blockIdx.x * 256 + threadIdx.x; j < n; j += 65536)
        y[blockIdx.y * n + j] = __float2bfloat16(__bfloat162float(row[j]) * scale);
}
