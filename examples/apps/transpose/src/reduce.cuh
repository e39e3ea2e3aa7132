// Sums of stretches of a vector: one number a block.
#pragma once

namespace tiles {

template <typename T, int THREADS>
__global__ void partial_sums(const T *in, T *out, long count) {
    __shared__ T sums[THREADS];
    T mine = 0;
    for (long i = blockIdx.x * long(THREADS) + threadIdx.x; i < count; i += long(gridDim.x) * THREADS) mine += in[i];
    sums[threadIdx.x] = mine;
    __syncthreads();
    for (int step = THREADS / 2; step > 0; step /= 2) {
        if (threadIdx.x < step) sums[threadIdx.x] += sums[threadIdx.x + step];
        __syncthreads();
    }
    if (threadIdx.x == 0) out[blockIdx.x] = sums[0];
}

}  // namespace tiles
