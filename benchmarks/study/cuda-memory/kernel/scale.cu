extern "C" __global__ void scale(const float4 *x, float4 *y, long long n)
{
    long long i = blockIdx.x * 256LL + threadIdx.x;
    if (4 * i < n) {
        float4 v = x[i];
        y[i] = make_float4(2.0f * v.x + 1.0f, 2.0f * v.y + 1.0f, 2.0f * v.z + 1.0f, 2.0f * v.w + 1.0f);
    }
}
