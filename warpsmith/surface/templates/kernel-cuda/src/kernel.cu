extern "C" __global__ void __launch_bounds__(THREADS)
kernel(const float *x, const float *y0, float *y, long long n, float alpha)
{
    long long first = blockIdx.x * (4LL * VECTORS * THREADS);
#pragma unroll
    for (int v = 0; v < VECTORS; v++) {
        long long i = first + 4LL * (v * THREADS + threadIdx.x);
        if (i + 4 <= n) {
            float4 a = *(const float4 *)(x + i), b = *(const float4 *)(y0 + i);
            *(float4 *)(y + i) =
                make_float4(alpha * a.x + b.x, alpha * a.y + b.y, alpha * a.z + b.z, alpha * a.w + b.w);
        } else {
            for (; i < n; i++)
                y[i] = alpha * x[i] + y0[i];
        }
    }
}
