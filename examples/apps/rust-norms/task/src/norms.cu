#ifndef THREADS
#define THREADS 128
#endif

__device__ float over_warp(float x) {
    for (int step = 16; step > 0; step /= 2) x += __shfl_down_sync(0xffffffffu, x, step);
    return x;
}

extern "C" __global__ void __launch_bounds__(THREADS) row_norms(const float *__restrict__ x, float *out, long rows,
                                                                long cols) {
    __shared__ float parts[THREADS / 32];
    const float *row = x + long(blockIdx.x) * cols;
    float sum = 0;
    for (long i = threadIdx.x; i < cols; i += THREADS) sum += row[i] * row[i];
    sum = over_warp(sum);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = over_warp(threadIdx.x < THREADS / 32 ? parts[threadIdx.x] : 0.0f);
        if (threadIdx.x == 0) out[blockIdx.x] = sqrtf(sum);
    }
}
