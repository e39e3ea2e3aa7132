extern "C" __global__ void kernel(const float *x, const float *y0, float *y, long long n, float alpha)
{
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n)
        y[i] = alpha * x[i] + y0[i];
}
