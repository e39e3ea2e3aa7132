extern "C" __global__ void turns(const float *x, float *y, long long n)
{
    long long i = blockIdx.x * 256LL + threadIdx.x;
    if (i >= n)
        return;
    float a = x[i], q = 0.25f * a;
#pragma unroll 10
    for (int j = 0; j < 4 * TURNS; j++)
        a = fmaf(a, 0.5f, q);
    y[i] = a;
}
