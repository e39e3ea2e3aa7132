// out = scale * in^T, one element a thread.
#pragma once

namespace tiles {

struct Shape {
    int rows, cols;
};

template <typename T, int TILE>
__global__ void transpose(const T *in, T *out, Shape shape, float scale) {
    const int x = blockIdx.x * TILE + threadIdx.x;
    const int y = blockIdx.y * TILE + threadIdx.y;
    if (x < shape.cols && y < shape.rows) {
        out[size_t(x) * shape.rows + y] = T(scale * float(in[size_t(y) * shape.cols + x]));
    }
}

}  // namespace tiles
