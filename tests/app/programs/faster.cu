// What the example applications' kernels are swapped for: same parameters, other geometry.
struct Shape {
    int rows, cols;
};

// blocks of 32 x 8 threads, a tile of 32 x 32
extern "C" __global__ void tiled_transpose(const float *in, float *out, Shape shape, float scale) {
    __shared__ float tile[32][33];
    int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
    for (int i = 0; i < 32; i += 8) {
        if (x < shape.cols && y + i < shape.rows) tile[threadIdx.y + i][threadIdx.x] = in[size_t(y + i) * shape.cols + x];
    }
    __syncthreads();
    x = blockIdx.y * 32 + threadIdx.x, y = blockIdx.x * 32 + threadIdx.y;
    for (int i = 0; i < 32; i += 8) {
        if (x < shape.rows && y + i < shape.cols) out[size_t(y + i) * shape.rows + x] = scale * tile[threadIdx.x][threadIdx.y + i];
    }
}

// one block for all, so that geometry shows
extern "C" __global__ void slow_scale(float *data, int count, float by) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) data[i] *= by;
}

extern "C" __global__ void wrong_scale(float *data, int count, float by) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) data[i] = by;
}
