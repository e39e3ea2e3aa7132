// Kernels whose grid is at fault: too small, too large, uneven, or over before it began.

// Arithmetic without memory: what the kernels below spend their time on.
__device__ float work(float value, int steps) {
    float a = value, b = value + 1.0f, c = value + 2.0f, d = value + 3.0f;
#pragma unroll 8
    for (int s = 0; s < steps; s++) {
        a = a * 0.999f + 0.1f, b = b * 0.998f + 0.2f, c = c * 0.997f + 0.3f, d = d * 0.996f + 0.4f;
    }
    return a + b + c + d;
}

// low_waves_per_sm: half of the SMs have no block.
extern "C" __global__ void few_blocks(float* __restrict__ out, int steps) {
    out[blockIdx.x * blockDim.x + threadIdx.x] = work(threadIdx.x, steps);
}

// high_waves_per_sm: millions of blocks of two warps, each over at once.
extern "C" __global__ void tiny_blocks(float* __restrict__ out) {
    if (threadIdx.x == 0) out[blockIdx.x % 1024] = blockIdx.x;
}

// partial_waves: a few blocks more than fit at once, so a second wave runs almost alone.
extern "C" __global__ void one_more_wave(float* __restrict__ out, int steps) {
    out[blockIdx.x * blockDim.x + threadIdx.x] = work(threadIdx.x, steps);
}

// tail_effect: every 500th block has thirty times the work of the others.
extern "C" __global__ void long_blocks(float* __restrict__ out, int steps) {
    out[blockIdx.x * blockDim.x + threadIdx.x] = work(threadIdx.x, blockIdx.x % 500 == 499 ? 30 * steps : steps);
}

// launch_bound: a handful of values.
extern "C" __global__ void tiny(const float* __restrict__ x, float* __restrict__ y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] * 2.0f;
}
