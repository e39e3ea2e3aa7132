extern "C" __global__ void row_norms(const float *x, float *out, long rows, long cols) {
    const long row = blockIdx.x * long(blockDim.x) + threadIdx.x;
    if (row >= rows) return;
    float sum = 0;
    for (long i = 0; i < cols; ++i) sum += x[row * cols + i] * x[row * cols + i];
    out[row] = sqrtf(sum);
}
