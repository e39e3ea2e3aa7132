// Kernels that are awkward to capture: atomics, a __constant__ and a __device__ variable, in place, two pointers into one
// allocation, indices. Prints sums, so that a wrong result shows.
#include <cstdio>
#include <vector>

__constant__ float taps[5];
__device__ unsigned calls;

__global__ void histogram(const int *values, int *counts, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) atomicAdd(&counts[values[i] & 255], 1);
}

__global__ void total(const float *values, float *sum, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) atomicAdd(sum, values[i]);
}

__global__ void blur(const float *in, float *out, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i == 0) atomicAdd(&calls, 1u);
    if (i >= n) return;
    float made = 0;
    for (int t = 0; t < 5; ++t) {
        const int at = i + t - 2;
        if (at >= 0 && at < n) made += taps[t] * in[at];
    }
    out[i] = made;
}

__global__ void gather(float *table, const float *from, const int *at, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) table[i] += from[at[i]];
}

int main() {
    const int n = 1 << 16;
    std::vector<float> values(n);
    std::vector<int> whole(n);
    for (int i = 0; i < n; ++i) values[i] = float(i % 977) / 977 - 0.25f, whole[i] = int((i * 2654435761u) >> 16) % n;
    float *a, *b, *sum;
    int *w, *counts;
    cudaMalloc(&a, 2 * n * sizeof(float));
    cudaMalloc(&b, n * sizeof(float));
    cudaMalloc(&w, n * sizeof(int));
    cudaMalloc(&counts, 256 * sizeof(int));
    cudaMalloc(&sum, sizeof(float));
    cudaMemset(counts, 0, 256 * sizeof(int));
    cudaMemset(sum, 0, sizeof(float));
    cudaMemcpy(a, values.data(), n * sizeof(float), cudaMemcpyHostToDevice);
    cudaMemcpy(a + n, values.data(), n * sizeof(float), cudaMemcpyHostToDevice);
    cudaMemcpy(w, whole.data(), n * sizeof(int), cudaMemcpyHostToDevice);
    const float weights[5] = {0.1f, 0.2f, 0.4f, 0.2f, 0.1f};
    cudaMemcpyToSymbol(taps, weights, sizeof weights);
    for (int i = 0; i < 3; ++i) {
        histogram<<<n / 256, 256>>>(w, counts, n);
        total<<<n / 256, 256>>>(a, sum, n);
        blur<<<n / 256, 256>>>(a, b, n);
        gather<<<n / 256, 256>>>(a + n, a, w, n);
    }
    std::vector<int> got(256);
    std::vector<float> back(n);
    unsigned called = 0;
    cudaMemcpy(got.data(), counts, 256 * sizeof(int), cudaMemcpyDeviceToHost);
    cudaMemcpy(back.data(), b, n * sizeof(float), cudaMemcpyDeviceToHost);
    cudaMemcpyFromSymbol(&called, calls, sizeof called);
    double whole_sum = 0;
    for (float v : back) whole_sum += v;
    std::printf("%d %d %.4f %u %s\n", got[0], got[255], whole_sum, called, cudaGetErrorString(cudaGetLastError()));
    return 0;
}
