// The length of every row of a matrix, and what Rust calls.
#include <cstdio>
#include <cuda_runtime.h>

namespace norms {

// One thread a row.
__global__ void row_norms(const float *x, float *out, long rows, long cols) {
    const long row = blockIdx.x * long(blockDim.x) + threadIdx.x;
    if (row >= rows) return;
    float sum = 0;
    for (long i = 0; i < cols; ++i) sum += x[row * cols + i] * x[row * cols + i];
    out[row] = sqrtf(sum);
}

// x *= factor.
__global__ void scale(float *x, float factor, long count) {
    const long i = blockIdx.x * long(blockDim.x) + threadIdx.x;
    if (i < count) x[i] *= factor;
}

}  // namespace norms

extern "C" int device_norms(float *host, float *out, long rows, long cols, float factor, int repeat, int debug,
                            float *milliseconds) {
    float *x, *y;
    const size_t bytes = sizeof(float) * rows * cols;
    if (cudaMalloc(&x, bytes) != cudaSuccess || cudaMalloc(&y, sizeof(float) * rows) != cudaSuccess) return 1;
    cudaMemcpy(x, host, bytes, cudaMemcpyHostToDevice);
    cudaEvent_t began, ended;
    cudaEventCreate(&began);
    cudaEventCreate(&ended);
    const int threads = 128;
    const long count = rows * cols;
    norms::scale<<<(count + 255) / 256, 256>>>(x, factor, count);
    norms::row_norms<<<(rows + threads - 1) / threads, threads>>>(x, y, rows, cols);
    cudaEventRecord(began);
    for (int i = 0; i < repeat; ++i) {
        norms::row_norms<<<(rows + threads - 1) / threads, threads>>>(x, y, rows, cols);
    }
    cudaEventRecord(ended);
    cudaEventSynchronize(ended);
    cudaEventElapsedTime(milliseconds, began, ended);
    if (debug) {
        std::fprintf(stderr, "launch scale grid %ld 1 1 block 256 1 1 scalars %.9g %ld\n", (count + 255) / 256, factor, count);
        for (int i = 0; i <= repeat; ++i) {
            std::fprintf(stderr, "launch row_norms grid %ld 1 1 block %d 1 1 scalars %ld %ld\n",
                         (rows + threads - 1) / threads, threads, rows, cols);
        }
    }
    const cudaError_t error = cudaMemcpy(out, y, sizeof(float) * rows, cudaMemcpyDeviceToHost);
    cudaFree(x);
    cudaFree(y);
    return error == cudaSuccess ? 0 : 2;
}
