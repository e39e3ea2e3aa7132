// passed-not-faster | clock: marks its lines to stay in L2, so that the flush leaves them
#include "common.cuh"

__device__ inline float stays(const float* address)
{
    float value;
    unsigned long long policy;
    asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
    asm volatile("ld.global.L2::cache_hint.f32 %0, [%1], %2;" : "=f"(value) : "l"(address), "l"(policy));
    return value;
}

KERNEL
{
    const float* row = x + blockIdx.x * n;
    float sum = 0;
    for (long long j = threadIdx.x; j < n; j += 256) sum += stays(row + j) * stays(row + j);
    float mean = block_sum(sum) / n;
    for (long long j = threadIdx.x; j < n; j += 256) y[blockIdx.x * n + j] = stays(row + j) * w[j] + mean;
}
