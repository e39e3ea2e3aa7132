// The transpose through shared memory: rows are read, and rows are written.
#ifndef ROWS
#define ROWS 8
#endif
struct Shape {
    int rows, cols;
};

extern "C" __global__ void __launch_bounds__(32 * ROWS) tiled(const float *in, float *out, Shape s, float scale) {
    __shared__ float tile[32][33];
    int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
    for (int i = 0; i < 32; i += ROWS)
        if (x < s.cols && y + i < s.rows) tile[threadIdx.y + i][threadIdx.x] = in[size_t(y + i) * s.cols + x];
    __syncthreads();
    x = blockIdx.y * 32 + threadIdx.x, y = blockIdx.x * 32 + threadIdx.y;
    for (int i = 0; i < 32; i += ROWS)
        if (x < s.rows && y + i < s.cols) out[size_t(y + i) * s.rows + x] = scale * tile[threadIdx.x][threadIdx.y + i];
}
