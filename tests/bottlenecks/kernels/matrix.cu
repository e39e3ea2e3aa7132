// Matrix products of the same size, three ways: fp32 pipes, mma.sync, wgmma.

#include <cuda_bf16.h>
#include <mma.h>

#include <cstdint>

// no_tensor_cores: a well-tiled fp32 product, c = a b. Tiles of 128 x 128 x 8, 8 x 8 values a thread.
extern "C" __global__ void __launch_bounds__(256, 2) gemm_fp32(const float* __restrict__ a, const float* __restrict__ b,
                                                            float* __restrict__ c, int m, int n, int k) {
    __shared__ float sa[2][8][132], sb[2][8][128];
    int t = threadIdx.x, row = t / 16 * 8, column = t % 16 * 4;
    const float* pa = a + (size_t)(blockIdx.y * 128 + t / 2) * k + t % 2 * 4;
    const float* pb = b + (size_t)(t / 32) * n + blockIdx.x * 128 + t % 32 * 4;
    float sum[8][8] = {};
    auto store = [&](int s, float4 va, float4 vb) {
        sa[s][t % 2 * 4][t / 2] = va.x, sa[s][t % 2 * 4 + 1][t / 2] = va.y;
        sa[s][t % 2 * 4 + 2][t / 2] = va.z, sa[s][t % 2 * 4 + 3][t / 2] = va.w;
        *reinterpret_cast<float4*>(&sb[s][t / 32][t % 32 * 4]) = vb;
    };
    store(0, *reinterpret_cast<const float4*>(pa), *reinterpret_cast<const float4*>(pb));
    __syncthreads();
    for (int at = 0, s = 0; at < k; at += 8, s ^= 1) {
        float4 va, vb;
        bool more = at + 8 < k;
        if (more) {
            va = *reinterpret_cast<const float4*>(pa + at + 8);
            vb = *reinterpret_cast<const float4*>(pb + (size_t)(at + 8) * n);
        }
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float fa[8], fb[8];
            *reinterpret_cast<float4*>(fa) = *reinterpret_cast<float4*>(&sa[s][i][row]);
            *reinterpret_cast<float4*>(fa + 4) = *reinterpret_cast<float4*>(&sa[s][i][row + 4]);
            *reinterpret_cast<float4*>(fb) = *reinterpret_cast<float4*>(&sb[s][i][column]);
            *reinterpret_cast<float4*>(fb + 4) = *reinterpret_cast<float4*>(&sb[s][i][column + 64]);
#pragma unroll
            for (int y = 0; y < 8; y++)
#pragma unroll
                for (int x = 0; x < 8; x++) sum[y][x] += fa[y] * fb[x];
        }
        if (more) store(s ^ 1, va, vb);
        __syncthreads();
    }
#pragma unroll
    for (int y = 0; y < 8; y++) {
        float* out = c + (size_t)(blockIdx.y * 128 + row + y) * n + blockIdx.x * 128 + column;
        *reinterpret_cast<float4*>(out) = make_float4(sum[y][0], sum[y][1], sum[y][2], sum[y][3]);
        *reinterpret_cast<float4*>(out + 64) = make_float4(sum[y][4], sum[y][5], sum[y][6], sum[y][7]);
    }
}

__device__ __forceinline__ void copy16(uint32_t to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

// no_wgmma: c = a b^T in bf16 with mma.sync. Tiles of 128 x 128 x 64, three stages, 64 x 32 a warp.
extern "C" __global__ void __launch_bounds__(256) gemm_mma(const __nv_bfloat16* __restrict__ a,
                                                           const __nv_bfloat16* __restrict__ b, float* __restrict__ c,
                                                           int m, int n, int k) {
    using namespace nvcuda;
    constexpr int STAGES = 3, PITCH = 72, PART = 128 * PITCH;
    extern __shared__ __align__(128) __nv_bfloat16 ring[];
    __nv_bfloat16 *sa = ring, *sb = ring + STAGES * PART;
    int t = threadIdx.x, warp = t / 32, wr = warp / 4 * 64, wc = warp % 4 * 32;
    const __nv_bfloat16 *pa = a + (size_t)blockIdx.y * 128 * k, *pb = b + (size_t)blockIdx.x * 128 * k;
    auto fetch = [&](int turn) {
        int at = turn * 64, s = turn % STAGES;
        if (at < k)
#pragma unroll
            for (int i = t; i < 1024; i += 256) {
                int r = i / 8, part = i % 8 * 8;
                copy16(__cvta_generic_to_shared(sa + s * PART + r * PITCH + part), pa + (size_t)r * k + at + part);
                copy16(__cvta_generic_to_shared(sb + s * PART + r * PITCH + part), pb + (size_t)r * k + at + part);
            }
        asm volatile("cp.async.commit_group;");
    };
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum[4][2];
    for (auto& line : sum)
        for (auto& part : line) wmma::fill_fragment(part, 0.0f);
    for (int s = 0; s < STAGES - 1; s++) fetch(s);
    for (int turn = 0; turn * 64 < k; turn++) {
        asm volatile("cp.async.wait_group 1;" ::: "memory");
        __syncthreads();
        fetch(turn + STAGES - 1);
        int s = turn % STAGES;
#pragma unroll
        for (int i = 0; i < 64; i += 16) {
            wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> fa[4];
            wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::col_major> fb[2];
#pragma unroll
            for (int y = 0; y < 4; y++) wmma::load_matrix_sync(fa[y], sa + s * PART + (wr + y * 16) * PITCH + i, PITCH);
#pragma unroll
            for (int x = 0; x < 2; x++) wmma::load_matrix_sync(fb[x], sb + s * PART + (wc + x * 16) * PITCH + i, PITCH);
#pragma unroll
            for (int y = 0; y < 4; y++)
#pragma unroll
                for (int x = 0; x < 2; x++) wmma::mma_sync(sum[y][x], fa[y], fb[x], sum[y][x]);
        }
    }
#pragma unroll
    for (int y = 0; y < 4; y++)
#pragma unroll
        for (int x = 0; x < 2; x++)
            wmma::store_matrix_sync(
                c + (size_t)(blockIdx.y * 128 + wr + y * 16) * n + blockIdx.x * 128 + wc + x * 16, sum[y][x], n,
                wmma::mem_row_major);
}

// What wgmma needs to know of a tile in shared memory: rows of 128 bytes, swizzled in groups of eight.
__device__ __forceinline__ uint64_t describe(uint32_t address) {
    return (uint64_t)((address & 0x3ffff) >> 4) | (1ull << 16) | (64ull << 32) | (1ull << 62);
}

#define EIGHT(v, i) "+f"(v[i]), "+f"(v[i + 1]), "+f"(v[i + 2]), "+f"(v[i + 3]), "+f"(v[i + 4]), "+f"(v[i + 5]), \
    "+f"(v[i + 6]), "+f"(v[i + 7])

// One 64 x 128 x 16 product of a warp group, added to v.
__device__ __forceinline__ void multiply(float (&v)[64], uint64_t a, uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, 1, 1, 1, 0, 0;"
        : EIGHT(v, 0), EIGHT(v, 8), EIGHT(v, 16), EIGHT(v, 24), EIGHT(v, 32), EIGHT(v, 40), EIGHT(v, 48), EIGHT(v, 56)
        : "l"(a), "l"(b));
}

__device__ __forceinline__ void wait(uint32_t barrier, uint32_t phase) {
    uint32_t done = 0;
    while (!done)
        asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
                     : "=r"(done)
                     : "r"(barrier), "r"(phase)
                     : "memory");
}

__device__ __forceinline__ void bulk(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier)
                 : "memory");
}

// Clean: c = a b^T in bf16 with wgmma. Operands lie packed in swizzled tiles of 128 x 64 and 256 x 64; one thread feeds four
// stages by bulk copies, two warp groups multiply 64 x 256 each.
extern "C" __global__ void __launch_bounds__(384, 1) gemm_wgmma(const __nv_bfloat16* __restrict__ a,
                                                                const __nv_bfloat16* __restrict__ b,
                                                                float* __restrict__ c, int m, int n, int k) {
    constexpr int STAGES = 4, A_BYTES = 128 * 128, B_BYTES = 256 * 128, BYTES = A_BYTES + B_BYTES;
    extern __shared__ __align__(1024) char stage[];
    __shared__ uint64_t barriers[2 * STAGES];
    uint32_t base = ((uint32_t)__cvta_generic_to_shared(stage) + 1023) & ~1023u;
    uint32_t full = (uint32_t)__cvta_generic_to_shared(barriers), empty = full + 8 * STAGES;
    int t = threadIdx.x, group = t / 128 - 1, turns = k / 64;
    // Blocks that run together share tiles: eight rows of blocks at a time.
    int wide = n / 256, tile = blockIdx.x, band = tile / (8 * wide), inside = tile % (8 * wide);
    int by = band * 8 + inside % 8, bx = inside / 8;
    if (t < STAGES) {
        asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(full + 8 * t));
        asm volatile("mbarrier.init.shared.b64 [%0], 2;" ::"r"(empty + 8 * t));
        asm volatile("fence.proxy.async;" ::: "memory");
    }
    __syncthreads();
    if (group < 0) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (t == 0)
            for (int turn = 0; turn < turns; turn++) {
                int s = turn % STAGES;
                if (turn >= STAGES) wait(empty + 8 * s, (turn / STAGES - 1) & 1);
                asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(full + 8 * s), "r"(BYTES));
                bulk(base + s * BYTES, a + ((size_t)by * turns + turn) * (A_BYTES / 2), A_BYTES, full + 8 * s);
                bulk(base + s * BYTES + A_BYTES, b + ((size_t)bx * turns + turn) * (B_BYTES / 2), B_BYTES, full + 8 * s);
            }
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    float left[64] = {}, right[64] = {};
    for (int turn = 0; turn < turns; turn++) {
        int s = turn % STAGES;
        wait(full + 8 * s, (turn / STAGES) & 1);
        uint32_t mine = base + s * BYTES + group * 64 * 128, other = base + s * BYTES + A_BYTES;
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
        for (int i = 0; i < 4; i++) {
            multiply(left, describe(mine + 32 * i), describe(other + 32 * i));
            multiply(right, describe(mine + 32 * i), describe(other + 128 * 128 + 32 * i));
        }
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
        if (turn > 0 && t % 128 == 0)  // the products of the turn before are done: its stage may be filled again
            asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(empty + 8 * ((turn - 1) % STAGES)) : "memory");
    }
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
    int row = by * 128 + group * 64 + t % 128 / 32 * 16 + t % 32 / 4, column = bx * 256 + t % 4 * 2;
#pragma unroll
    for (int j = 0; j < 16; j++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float* out = c + (size_t)(row + half * 8) * n + column + j * 8;
            *reinterpret_cast<float2*>(out) = make_float2(left[4 * j + 2 * half], left[4 * j + 2 * half + 1]);
            *reinterpret_cast<float2*>(out + 128) = make_float2(right[4 * j + 2 * half], right[4 * j + 2 * half + 1]);
        }
}
