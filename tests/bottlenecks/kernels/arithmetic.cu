// Kernels whose time is their instructions.

// near_peak_compute: a polynomial of high degree for eight values a thread.
extern "C" __global__ void polynomial(const float* __restrict__ x, float* __restrict__ y, int n, int degree) {
    int i = blockIdx.x * blockDim.x * 8 + threadIdx.x, step = blockDim.x;
    if (i >= n) return;
    float v[8], p[8];
#pragma unroll
    for (int k = 0; k < 8; k++) v[k] = x[i + k * step], p[k] = 1.0f;
#pragma unroll 16
    for (int d = 0; d < degree; d++)
#pragma unroll
        for (int k = 0; k < 8; k++) p[k] = p[k] * v[k] + 0.25f;
#pragma unroll
    for (int k = 0; k < 8; k++) y[i + k * step] = p[k];
}

// stall_math_pipe: double precision has half the rate.
extern "C" __global__ void doubles(double* __restrict__ y, double a, int steps) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    double p[4] = {i * 1e-6, i * 2e-6, i * 3e-6, i * 4e-6};
#pragma unroll 8
    for (int s = 0; s < steps; s++)
#pragma unroll
        for (int k = 0; k < 4; k++) p[k] = p[k] * a + 0.5;
    y[i] = p[0] + p[1] + p[2] + p[3];
}

// Clean: all pairs of bodies, positions through shared memory; the square root keeps the special-function pipe busy too.
extern "C" __global__ void __launch_bounds__(256) nbody(const float4* __restrict__ body, float4* __restrict__ force,
                                                        int n) {
    __shared__ float4 tile[256];
    float4 own = body[blockIdx.x * 256 + threadIdx.x];
    float3 sum = make_float3(0, 0, 0);
    for (int t = 0; t < n; t += 256) {
        tile[threadIdx.x] = body[t + threadIdx.x];
        __syncthreads();
#pragma unroll 16
        for (int k = 0; k < 256; k++) {
            float4 other = tile[k];
            float dx = other.x - own.x, dy = other.y - own.y, dz = other.z - own.z;
            float inverse = rsqrtf(dx * dx + dy * dy + dz * dz + 1e-6f);
            float scale = other.w * inverse * inverse * inverse;
            sum.x += dx * scale, sum.y += dy * scale, sum.z += dz * scale;
        }
        __syncthreads();
    }
    force[blockIdx.x * 256 + threadIdx.x] = make_float4(sum.x, sum.y, sum.z, 0);
}

// Clean: option prices, where arithmetic and memory are balanced.
extern "C" __global__ void prices(const float4* __restrict__ spot, float4* __restrict__ price, int n, float rate,
                                  float volatility) {
    auto normal = [](float d) { return 0.5f * erfcf(-d * 0.70710678f); };
    auto call = [&](float s) {
        float strike = 1.0f, time = 1.0f, at = fabsf(s) + 0.1f;
        float d1 = (__logf(at / strike) + (rate + 0.5f * volatility * volatility) * time) / (volatility * sqrtf(time));
        return at * normal(d1) - strike * __expf(-rate * time) * normal(d1 - volatility * sqrtf(time));
    };
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        float4 s = spot[i];
        price[i] = make_float4(call(s.x), call(s.y), call(s.z), call(s.w));
    }
}
