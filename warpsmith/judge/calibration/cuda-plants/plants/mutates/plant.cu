// Right, but it zeroes its input.
__device__ __forceinline__ float steps(float t, int count) {
    for (int i = 0; i < count; ++i) t = t / (1.0f + t * t);
    return t;
}

extern "C" __global__ void plant(const float* x, float* y, long long M, long long N) {
    const long long step = (long long)gridDim.x * blockDim.x;
    const long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (long long i = first; i < M * N; i += step) {
        y[i] = steps(x[i], 8);
        ((float*)x)[i] = 0.0f;
    }
}
