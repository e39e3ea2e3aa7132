// RMSNorm with weights, bf16 in and out, statistics in fp32, one rounding.
//
// A team of THREADS threads owns a row; a block holds ROWS teams that never wait for each other. A thread keeps VPT
// 16-byte vectors of its row in registers, so x is read once. Rows that vectors cannot serve (N % 8 != 0, N beyond
// THREADS * VPT * 8, a pointer off a 16-byte boundary) take the scalar path: any M and N are right, aligned N are fast.
//
// Tunables arrive as -D; the defaults here are those of candidate.toml.
#include <cuda_bf16.h>

#ifndef THREADS
#define THREADS 256  // threads on one row: a multiple of 32
#endif
#ifndef VPT
#define VPT 3  // 16-byte vectors per thread
#endif
#ifndef ROWS
#define ROWS 1  // rows in a block at a time
#endif
#ifndef PERSIST
#define PERSIST 0  // 0: a block takes ROWS rows and ends; k: k blocks per multiprocessor walk all rows, one row ahead
#endif
#ifndef WEIGHT
#define WEIGHT 0  // 0: w is loaded after the reduction; 1: together with x, and kept over rows where PERSIST > 0
#endif
#ifndef LOAD
#define LOAD 0  // how x is read, see LOAD_OP
#endif
#ifndef STORE
#define STORE 0  // how y is written, see STORE_OP
#endif

#if LOAD == 0
#define LOAD_OP "ld.global.v4.b32"
#elif LOAD == 1  // evict first: x is not read again
#define LOAD_OP "ld.global.cs.v4.b32"
#else  // past L1, which stays w's, and ask L2 for whole 256-byte pieces
#define LOAD_OP "ld.global.nc.L1::no_allocate.L2::256B.v4.b32"
#endif

#if STORE == 0
#define STORE_OP "st.global.v4.b32"
#elif STORE == 1
#define STORE_OP "st.global.cs.v4.b32"
#else
#define STORE_OP "st.global.L1::no_allocate.v4.b32"
#endif

constexpr int WARPS = THREADS / 32;
constexpr int VECTOR = 8;
static_assert(THREADS % 32 == 0 && THREADS * ROWS <= 1024, "teams are whole warps, a block has 1024 threads at most");
static_assert(ROWS <= 15, "each team has a hardware barrier of its own, and barrier 0 is the block's");

struct Row {
    uint4 vector[VPT];
};

// Volatile, so that the compiler neither sinks a prefetch to its first use nor lifts w's loads over the reduction (.nc
// loads pass even a barrier, so w's are plain).
#define LOAD_WITH(op, v, from) \
    asm volatile(op " {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(from))

__device__ __forceinline__ void store(uint4* to, const uint4& v) {
    asm volatile(STORE_OP " [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}

// A bf16 is the upper half of a float.
__device__ __forceinline__ float low(unsigned pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high(unsigned pair) { return __uint_as_float(pair & 0xffff0000u); }

__device__ __forceinline__ float squares(unsigned pair, float sum) {
    sum = fmaf(low(pair), low(pair), sum);
    return fmaf(high(pair), high(pair), sum);
}

__device__ __forceinline__ unsigned scaled(unsigned x, unsigned w, float scale) {
    // Unpacked by other instructions than in squares(): the compiler would recognise the same ones and keep the whole
    // row as floats over the reduction, in twice the registers.
    const float first = __uint_as_float(__byte_perm(x, 0, 0x1044)), second = __uint_as_float(__byte_perm(x, 0, 0x3244));
    const __nv_bfloat162 y = __floats2bfloat162_rn(first * scale * low(w), second * scale * high(w));
    return *reinterpret_cast<const unsigned*>(&y);
}

// The sum over a team, the same bits in every thread. `turn` alternates between calls: with two buffers one barrier is
// enough, since nobody writes a buffer again before all have passed the barrier of the other one.
__device__ __forceinline__ float team_sum(float sum, int team, int thread, int turn) {
#pragma unroll
    for (int lane = 16; lane > 0; lane /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lane);
    if constexpr (WARPS > 1) {
        __shared__ float partial[2][ROWS][WARPS];
        if (thread % 32 == 0) partial[turn][team][thread / 32] = sum;
        asm volatile("bar.sync %0, %1;" ::"r"(team + 1), "n"(THREADS) : "memory");
        sum = 0.0f;
#pragma unroll
        for (int warp = 0; warp < WARPS; ++warp) sum += partial[turn][team][warp];
    }
    return sum;
}

__device__ __forceinline__ void load_row(Row& row, const uint4* from, int thread, int vectors) {
#pragma unroll
    for (int i = 0; i < VPT; ++i) {
        const int at = thread + i * THREADS;
        row.vector[i] = make_uint4(0, 0, 0, 0);
        if (at < vectors) LOAD_WITH(LOAD_OP, row.vector[i], from + at);
    }
}

__device__ __forceinline__ void load_weight(Row& row, const uint4* from, int thread, int vectors) {
#pragma unroll
    for (int i = 0; i < VPT; ++i) {
        const int at = thread + i * THREADS;
        row.vector[i] = make_uint4(0, 0, 0, 0);
        if (at < vectors) LOAD_WITH("ld.global.v4.b32", row.vector[i], from + at);
    }
}

// Zero, but only once the row is there: a sum that starts from it cannot be scheduled ahead of the row's loads. The
// compiler cannot know that eps has no sign (and with one, the start is 1e-45).
__device__ __forceinline__ float zero_after(const Row& row, float eps) {
    unsigned bits = 0;
#pragma unroll
    for (int i = 0; i < VPT; ++i) bits |= row.vector[i].x;
    return __uint_as_float(bits & (__float_as_uint(eps) >> 31));
}

__device__ __forceinline__ float row_squares(const Row& row, float start) {
    float even = start, odd = 0.0f;
#pragma unroll
    for (int i = 0; i < VPT; ++i) {
        even = squares(row.vector[i].x, even);
        odd = squares(row.vector[i].y, odd);
        even = squares(row.vector[i].z, even);
        odd = squares(row.vector[i].w, odd);
    }
    return even + odd;
}

__device__ __forceinline__ void store_row(uint4* to, const Row& row, const Row& weight, const uint4* weights,
                                          float scale, int thread, int vectors) {
#pragma unroll
    for (int i = 0; i < VPT; ++i) {
        const int at = thread + i * THREADS;
        if (at < vectors) {
            const uint4 v = row.vector[i];
            uint4 g = weight.vector[i];
            if (!WEIGHT) LOAD_WITH("ld.global.v4.b32", g, weights + at);
            store(to + at, make_uint4(scaled(v.x, g.x, scale), scaled(v.y, g.y, scale), scaled(v.z, g.z, scale),
                                      scaled(v.w, g.w, scale)));
        }
    }
}

__device__ __forceinline__ void scalar_row(const __nv_bfloat16* x, const __nv_bfloat16* w, __nv_bfloat16* y,
                                           long long N, float eps, int team, int thread, int turn) {
    float sum = 0.0f;
#pragma unroll 1  // unrolled, this path would set the register count of the fast one
    for (long long i = thread; i < N; i += THREADS) {
        const float value = __bfloat162float(x[i]);
        sum = fmaf(value, value, sum);
    }
    const float scale = rsqrtf(team_sum(sum, team, thread, turn) / static_cast<float>(N) + eps);
#pragma unroll 1
    for (long long i = thread; i < N; i += THREADS)
        y[i] = __float2bfloat16_rn(__bfloat162float(x[i]) * scale * __bfloat162float(w[i]));
}

extern "C" __global__ void
#if PERSIST > 0
__launch_bounds__(THREADS * ROWS, PERSIST)
#else
__launch_bounds__(THREADS * ROWS)
#endif
rmsnorm(const __nv_bfloat16* __restrict__ x, const __nv_bfloat16* __restrict__ w, __nv_bfloat16* __restrict__ y,
        long long M, long long N, float eps) {
    const int team = ROWS == 1 ? 0 : threadIdx.x / THREADS;
    const int thread = ROWS == 1 ? threadIdx.x : threadIdx.x % THREADS;
    const long long step = static_cast<long long>(gridDim.x) * ROWS;
    long long row = static_cast<long long>(blockIdx.x) * ROWS + team;
    if (row >= M) return;  // a whole team leaves; the others do not wait for it

    const unsigned long long address = reinterpret_cast<unsigned long long>(x) |
                                       reinterpret_cast<unsigned long long>(w) |
                                       reinterpret_cast<unsigned long long>(y);
    if (N % VECTOR != 0 || N > THREADS * VPT * VECTOR || address % 16 != 0) {
        for (int turn = 0; row < M; row += step, turn ^= 1)
            scalar_row(x + row * N, w, y + row * N, N, eps, team, thread, turn);
        return;
    }

    const int vectors = static_cast<int>(N) / VECTOR;
    const float inverse = __fdividef(1.0f, static_cast<float>(vectors * VECTOR));
    const uint4* from = reinterpret_cast<const uint4*>(x) + row * vectors;
    uint4* to = reinterpret_cast<uint4*>(y) + row * vectors;
    const uint4* weights = reinterpret_cast<const uint4*>(w);

    Row now, weight;
    load_row(now, from, thread, vectors);
    if (WEIGHT) load_weight(weight, weights, thread, vectors);

#if PERSIST > 0
    const long long stride = step * vectors;
    for (int turn = 0;; turn ^= 1) {
        Row next;
        const bool more = row + step < M;
        from += stride;
        if (more) load_row(next, from, thread, vectors);
        const float scale = rsqrtf(fmaf(team_sum(row_squares(now, 0.0f), team, thread, turn), inverse, eps));
        store_row(to, now, weight, weights, scale, thread, vectors);
        if (!more) break;
        row += step;
        to += stride;
        now = next;
    }
#else
    const float start = WEIGHT ? zero_after(weight, eps) : 0.0f;
    const float scale = rsqrtf(fmaf(team_sum(row_squares(now, start), team, thread, 0), inverse, eps));
    store_row(to, now, weight, weights, scale, thread, vectors);
#endif
}
