// RMSNorm, the plain way: one block per row, scalar loads, a tree reduction in shared memory, and a second pass over x.
#include <cuda_bf16.h>

constexpr int BLOCK = 256;

extern "C" __global__ void __launch_bounds__(BLOCK)
rmsnorm(const __nv_bfloat16* x, const __nv_bfloat16* w, __nv_bfloat16* y, long long M, long long N, float eps) {
    __shared__ float partial[BLOCK];
    const __nv_bfloat16* row = x + blockIdx.x * N;
    __nv_bfloat16* out = y + blockIdx.x * N;

    float sum = 0.0f;
    for (long long i = threadIdx.x; i < N; i += BLOCK) {
        const float value = __bfloat162float(row[i]);
        sum += value * value;
    }
    partial[threadIdx.x] = sum;
    __syncthreads();
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
        __syncthreads();
    }

    const float scale = rsqrtf(partial[0] / static_cast<float>(N) + eps);
    for (long long i = threadIdx.x; i < N; i += BLOCK)
        out[i] = __float2bfloat16_rn(__bfloat162float(row[i]) * scale * __bfloat162float(w[i]));
}
