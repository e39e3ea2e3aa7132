// Clean kernels that move bytes as well as the hardware allows, or nearly so.

#include <cuda_bf16.h>
#include <cstdint>

// Four 16-byte loads on their way in each thread.
__device__ __forceinline__ void copy_part(const float4* __restrict__ x, float4* __restrict__ y) {
    size_t at = (size_t)blockIdx.x * 1024 + threadIdx.x;
    float4 v[4];
#pragma unroll
    for (int k = 0; k < 4; k++) v[k] = __ldcs(x + at + k * 256);
#pragma unroll
    for (int k = 0; k < 4; k++) __stcs(y + at + k * 256, v[k]);
}

// A copy of 1 GiB.
extern "C" __global__ void __launch_bounds__(256) tuned_copy(const float4* __restrict__ x, float4* __restrict__ y) {
    copy_part(x, y);
}

// The same for a quarter of it, where starting and ending count.
extern "C" __global__ void __launch_bounds__(256) short_copy(const float4* __restrict__ x, float4* __restrict__ y) {
    copy_part(x, y);
}

// The same bytes moved by the bulk-copy engine through shared memory, double-buffered.
extern "C" __global__ void __launch_bounds__(32) bulk_copy(const char* __restrict__ x, char* __restrict__ y,
                                                            long long bytes) {
    constexpr int PART = 16384, STAGES = 4;
    extern __shared__ __align__(128) char stage[];
    __shared__ uint64_t ready[STAGES];
    if (threadIdx.x != 0) return;
    uint32_t base = (uint32_t)__cvta_generic_to_shared(stage), bars = (uint32_t)__cvta_generic_to_shared(ready);
    for (int s = 0; s < STAGES; s++) asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(bars + 8 * s));
    asm volatile("fence.proxy.async;");
    long long parts = bytes / PART, step = gridDim.x, mine = (parts - blockIdx.x + step - 1) / step;
    auto fetch = [&](long long turn) {
        int s = turn % STAGES;
        asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(bars + 8 * s), "r"(PART));
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                         base + s * PART),
                     "l"(x + (blockIdx.x + turn * step) * PART), "r"(PART), "r"(bars + 8 * s)
                     : "memory");
    };
    for (long long t = 0; t < STAGES - 1 && t < mine; t++) fetch(t);
    for (long long t = 0; t < mine; t++) {
        int s = t % STAGES;
        uint32_t phase = (t / STAGES) & 1, done = 0;
        while (!done)
            asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
                         : "=r"(done)
                         : "r"(bars + 8 * s), "r"(phase)
                         : "memory");
        asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(
                         y + (blockIdx.x + t * step) * PART),
                     "r"(base + s * PART), "r"(PART)
                     : "memory");
        asm volatile("cp.async.bulk.commit_group;");
        if (t + STAGES - 1 < mine) {
            asm volatile("cp.async.bulk.wait_group.read 1;" ::: "memory");
            fetch(t + STAGES - 1);  // into the slot that was written out one turn ago
        }
    }
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

// A sum over everything: wide loads, warp shuffles, one atomic for each block.
extern "C" __global__ void __launch_bounds__(512) tuned_sum(const float4* __restrict__ x, float* out, int n) {
    float sum = 0.0f;
    int step = gridDim.x * 512, i = blockIdx.x * 512 + threadIdx.x;
    for (; i + 3 * step < n; i += 4 * step) {
        float4 a = __ldcs(x + i), b = __ldcs(x + i + step), c = __ldcs(x + i + 2 * step), d = __ldcs(x + i + 3 * step);
        sum += a.x + a.y + a.z + a.w + b.x + b.y + b.z + b.w + c.x + c.y + c.z + c.w + d.x + d.y + d.z + d.w;
    }
    for (; i < n; i += step) sum += x[i].x + x[i].y + x[i].z + x[i].w;
    for (int offset = 16; offset; offset /= 2) sum += __shfl_down_sync(~0u, sum, offset);
    __shared__ float parts[16];
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 16) {
        sum = parts[threadIdx.x];
        for (int offset = 8; offset; offset /= 2) sum += __shfl_down_sync(0xffff, sum, offset);
        if (threadIdx.x == 0) atomicAdd(out, sum);
    }
}

// A transposition through shared memory: both sides in order, rows padded by one, sixteen loads on their way a thread.
extern "C" __global__ void __launch_bounds__(256) tuned_transpose(const float* __restrict__ x, float* __restrict__ y,
                                                                  int n) {
    __shared__ float tile[64][65];
    int bx = blockIdx.x * 64, by = blockIdx.y * 64, column = threadIdx.x % 64, row = threadIdx.x / 64;
#pragma unroll
    for (int r = 0; r < 64; r += 4) tile[row + r][column] = __ldcs(x + (size_t)(by + row + r) * n + bx + column);
    __syncthreads();
#pragma unroll
    for (int r = 0; r < 64; r += 4) __stcs(y + (size_t)(bx + row + r) * n + by + column, tile[column][row + r]);
}

// Sum over a block of 256 threads; every thread gets it.
__device__ float block_sum(float value) {
    __shared__ float parts[8];
    for (int offset = 16; offset; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    float sum = 0.0f;
#pragma unroll
    for (int w = 0; w < 8; w++) sum += parts[w];
    return sum;
}

// rmsnorm: a row of 4096 for each block, kept in registers between the two uses.
extern "C" __global__ void __launch_bounds__(256) tuned_rmsnorm(const uint4* __restrict__ x,
                                                                const uint4* __restrict__ w, uint4* __restrict__ y) {
    constexpr int COLUMNS = 4096, PARTS = COLUMNS / 8 / 256;
    size_t row = (size_t)blockIdx.x * (COLUMNS / 8);
    uint4 v[PARTS];
    float sum = 0.0f;
#pragma unroll
    for (int p = 0; p < PARTS; p++) {
        v[p] = __ldcs(x + row + p * 256 + threadIdx.x);
        const __nv_bfloat162* pair = reinterpret_cast<const __nv_bfloat162*>(&v[p]);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            float2 f = __bfloat1622float2(pair[k]);
            sum += f.x * f.x + f.y * f.y;
        }
    }
    float scale = rsqrtf(block_sum(sum) / COLUMNS + 1e-6f);
#pragma unroll
    for (int p = 0; p < PARTS; p++) {
        uint4 weight = w[p * 256 + threadIdx.x];
        __nv_bfloat162* pair = reinterpret_cast<__nv_bfloat162*>(&v[p]);
        const __nv_bfloat162* gain = reinterpret_cast<const __nv_bfloat162*>(&weight);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            float2 f = __bfloat1622float2(pair[k]), g = __bfloat1622float2(gain[k]);
            pair[k] = __floats2bfloat162_rn(f.x * scale * g.x, f.y * scale * g.y);
        }
        __stcs(y + row + p * 256 + threadIdx.x, v[p]);
    }
}

// softmax over rows of 2048, a block for each, values in registers.
extern "C" __global__ void __launch_bounds__(256) tuned_softmax(const float4* __restrict__ x, float4* __restrict__ y) {
    size_t row = (size_t)blockIdx.x * 512;
    float4 a = __ldcs(x + row + threadIdx.x), b = __ldcs(x + row + 256 + threadIdx.x);
    a = make_float4(__expf(a.x), __expf(a.y), __expf(a.z), __expf(a.w));
    b = make_float4(__expf(b.x), __expf(b.y), __expf(b.z), __expf(b.w));
    float scale = 1.0f / block_sum(a.x + a.y + a.z + a.w + b.x + b.y + b.z + b.w);
    __stcs(y + row + threadIdx.x, make_float4(a.x * scale, a.y * scale, a.z * scale, a.w * scale));
    __stcs(y + row + 256 + threadIdx.x, make_float4(b.x * scale, b.y * scale, b.z * scale, b.w * scale));
}

// Rows of 512 bytes picked by an index: an embedding table, a warp for each row.
extern "C" __global__ void __launch_bounds__(256) embedding(const float4* __restrict__ table,
                                                            const int* __restrict__ rows,
                                                            float4* __restrict__ out, int n) {
    int warp = (blockIdx.x * 256 + threadIdx.x) / 32, lane = threadIdx.x % 32, warps = gridDim.x * 8;
#pragma unroll 4
    for (int i = warp; i < n; i += warps) out[(size_t)i * 32 + lane] = table[(size_t)rows[i] * 32 + lane];
}

// Eight fp32 values to eight bf16 values a thread.
extern "C" __global__ void __launch_bounds__(256) narrow(const float4* __restrict__ x, uint4* __restrict__ y) {
    size_t i = (size_t)blockIdx.x * 512 + threadIdx.x;
#pragma unroll
    for (int k = 0; k < 2; k++, i += 256) {
        float4 a = __ldcs(x + 2 * i), b = __ldcs(x + 2 * i + 1);
        __nv_bfloat162 v[4] = {__floats2bfloat162_rn(a.x, a.y), __floats2bfloat162_rn(a.z, a.w),
                               __floats2bfloat162_rn(b.x, b.y), __floats2bfloat162_rn(b.z, b.w)};
        __stcs(y + i, *reinterpret_cast<uint4*>(v));
    }
}

// A five-point stencil; neighbours come from the L1, four values a thread.
extern "C" __global__ void __launch_bounds__(256) stencil(const float* __restrict__ x, float* __restrict__ y, int n) {
    int c = (blockIdx.x * 64 + threadIdx.x % 64) * 4, r = (blockIdx.y * 4 + threadIdx.x / 64) * 4 + 1;
    auto row = [&](int at) { return *reinterpret_cast<const float4*>(x + (size_t)at * n + c); };
    if (c < 4 || c + 8 > n) return;
    float4 above = row(r - 1), here = row(r);
#pragma unroll
    for (int k = 0; k < 4 && r + k + 1 < n; k++) {
        float4 below = row(r + k + 1);
        float left = x[(size_t)(r + k) * n + c - 1], right = x[(size_t)(r + k) * n + c + 4];
        float4 v = make_float4(above.x + below.x + left + here.y - 4 * here.x,
                               above.y + below.y + here.x + here.z - 4 * here.y,
                               above.z + below.z + here.y + here.w - 4 * here.z,
                               above.w + below.w + here.z + right - 4 * here.w);
        *reinterpret_cast<float4*>(y + (size_t)(r + k) * n + c) = v;
        above = here, here = below;
    }
}

// A histogram of bytes, one for each warp in shared memory, sixteen bytes a load.
extern "C" __global__ void __launch_bounds__(512) histogram(const uint4* __restrict__ x, unsigned* counts, int n) {
    __shared__ unsigned own[16][257];
    for (int b = threadIdx.x; b < 16 * 257; b += 512) own[0][b] = 0;
    __syncthreads();
    unsigned* mine = own[threadIdx.x / 32];
    for (int i = blockIdx.x * 512 + threadIdx.x; i < n; i += gridDim.x * 512) {
        uint4 v = __ldcs(x + i);
        unsigned words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int k = 0; k < 16; k++) atomicAdd(mine + ((words[k / 4] >> (8 * (k % 4))) & 255), 1u);
    }
    __syncthreads();
    if (threadIdx.x < 256) {
        unsigned sum = 0;
        for (int w = 0; w < 16; w++) sum += own[w][threadIdx.x];
        atomicAdd(counts + threadIdx.x, sum);
    }
}
