/* C = A B on one thread: row-major, fp32, packed panels, register-blocked micro tile.
 *
 *   a: M x K   b: K x N   c: M x N
 *
 * Shape of the computation
 *   - A is cut into MC x KC blocks, stored as micro panels of MR rows;
 *   - B is cut into KC x NC blocks, stored as micro panels of NR columns (k-major);
 *   - the micro kernel keeps an MR x NR tile of C in MR * NR / VEC vector variables and runs
 *     along k: NR / VEC loads of B, MR broadcasts of A, MR * NR / VEC multiply-adds.
 *   - edges: panels are padded with zeros, so the micro kernel always computes a whole tile; only
 *     the part of the tile that exists is written to C.
 *
 * It needs the vector extensions of gcc or clang, and no particular instruction set: a VEC wider
 * than the machine's registers is split by the compiler (right, but slow).
 *
 * Tunables (integers, given as -DNAME=value; the constraints are in candidate.toml):
 *   MR, NR     micro tile, rows and columns
 *   VEC        floats per vector variable: 4, 8 or 16
 *   KC, MC, NC cache blocks
 *   ORDER      0: a B panel stays in L1 while the A block streams from L2 (jr outside ir)
 *              1: an A panel stays in L1 while the B block streams from L2 (ir outside jr)
 *   APACK      0: A panels k-major (transposed); 1: A panels row-major (plain row copies)
 *   UNROLL     steps of k per iteration of the inner loop
 *   PREFETCH   0: none; d: prefetch the B panel d steps of k ahead, and the tile of C
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#ifndef MR
#define MR 4
#endif
#ifndef NR
#define NR 16
#endif
#ifndef VEC
#define VEC 8
#endif
#ifndef KC
#define KC 256
#endif
#ifndef MC
#define MC 64
#endif
#ifndef NC
#define NC 256
#endif
#ifndef ORDER
#define ORDER 0
#endif
#ifndef APACK
#define APACK 0
#endif
#ifndef UNROLL
#define UNROLL 1
#endif
#ifndef PREFETCH
#define PREFETCH 0
#endif

#define NV (NR / VEC)                        /* vectors in a row of the micro tile */
#define CEIL_DIV(x, y) (((x) + (y) - 1) / (y))
#define MCR (CEIL_DIV(MC, MR) * MR)          /* blocks are whole numbers of panels */
#define NCR (CEIL_DIV(NC, NR) * NR)
#define KPAD (KC + 16)                       /* row stride of a row-major A panel: one cache line
                                                more than KC, so that its rows do not share a set */

_Static_assert(NR % VEC == 0, "NR must be a multiple of VEC");
_Static_assert(VEC == 4 || VEC == 8 || VEC == 16, "VEC must be 4, 8 or 16");
_Static_assert(UNROLL >= 1, "UNROLL must be at least 1");

typedef float vec_t __attribute__((vector_size(VEC * 4)));                           /* aligned */
typedef float uvec_t __attribute__((vector_size(VEC * 4), aligned(4), may_alias));   /* anywhere */

#if defined(__clang__)
#define UNROLL_ALL _Pragma("clang loop unroll(full)")
#else
#define UNROLL_ALL _Pragma("GCC unroll 64")
#endif
#define INLINE static inline __attribute__((always_inline))

static inline int64_t min64(int64_t x, int64_t y) { return x < y ? x : y; }

/* ---- packing ------------------------------------------------------------------------------- */

/* mc x kc of A into panels of MR rows. */
static void pack_a(const float *restrict a, int64_t lda, int64_t mc, int64_t kc,
                   float *restrict out)
{
    for (int64_t i0 = 0; i0 < mc; i0 += MR) {
        const int64_t rows = min64(MR, mc - i0);
        const float *src = a + i0 * lda;
#if APACK
        for (int64_t i = 0; i < rows; i++)
            memcpy(out + i * KPAD, src + i * lda, (size_t)kc * sizeof(float));
        for (int64_t i = rows; i < MR; i++)
            memset(out + i * KPAD, 0, (size_t)kc * sizeof(float));
        out += MR * KPAD;
#else
        if (rows == MR) {
            for (int64_t k = 0; k < kc; k++) {
                UNROLL_ALL
                for (int i = 0; i < MR; i++)
                    out[k * MR + i] = src[i * lda + k];
            }
        } else {
            for (int64_t k = 0; k < kc; k++)
                for (int64_t i = 0; i < MR; i++)
                    out[k * MR + i] = i < rows ? src[i * lda + k] : 0.0f;
        }
        out += MR * KC;
#endif
    }
}

/* kc x nc of B into panels of NR columns. Read row by row: rows are where the pages are. */
static void pack_b(const float *restrict b, int64_t ldb, int64_t kc, int64_t nc,
                   float *restrict out)
{
    const int64_t whole = nc / NR * NR, rest = nc - whole;
    for (int64_t k = 0; k < kc; k++) {
        const float *src = b + k * ldb;
        float *dst = out + k * NR;
        for (int64_t j0 = 0; j0 < whole; j0 += NR) {
            UNROLL_ALL
            for (int v = 0; v < NV; v++)
                *(vec_t *)(dst + v * VEC) = *(const uvec_t *)(src + j0 + v * VEC);
            dst += (int64_t)NR * KC;
        }
        if (rest) {
            for (int64_t j = 0; j < NR; j++)
                dst[j] = j < rest ? src[whole + j] : 0.0f;
        }
    }
}

/* ---- the micro kernel ---------------------------------------------------------------------- */

#if APACK
#define A_STEP 1
#define A_AT(p, i) (p)[(i) * KPAD]
#else
#define A_STEP MR
#define A_AT(p, i) (p)[i]
#endif

INLINE void step(const float *pa, const float *pb, vec_t acc[MR][NV])
{
    vec_t bv[NV];
    UNROLL_ALL
    for (int v = 0; v < NV; v++)
        bv[v] = *(const vec_t *)(pb + v * VEC);
#if PREFETCH > 0
    UNROLL_ALL
    for (int v = 0; v < CEIL_DIV(NR, 16); v++)
        __builtin_prefetch(pb + PREFETCH * NR + v * 16, 0, 3);
#endif
    UNROLL_ALL
    for (int i = 0; i < MR; i++) {
        const float s = A_AT(pa, i);
        UNROLL_ALL
        for (int v = 0; v < NV; v++)
            acc[i][v] += bv[v] * s;
    }
}

/* One tile: c[0:rows, 0:cols] (+)= panel of A times panel of B. */
static void micro(int64_t kc, const float *restrict pa, const float *restrict pb,
                  float *restrict c, int64_t ldc, int64_t rows, int64_t cols, int add)
{
    vec_t acc[MR][NV];
    UNROLL_ALL
    for (int i = 0; i < MR; i++) {
        UNROLL_ALL
        for (int v = 0; v < NV; v++)
            acc[i][v] = (vec_t){0};
    }
    const int full = rows == MR && cols == NR;
#if PREFETCH > 0
    if (full) {
        UNROLL_ALL
        for (int i = 0; i < MR; i++) {
            UNROLL_ALL
            for (int v = 0; v < CEIL_DIV(NR, 16); v++)
                __builtin_prefetch(c + i * ldc + v * 16, 1, 3);
            __builtin_prefetch(c + i * ldc + NR - 1, 1, 3);
        }
    }
#endif
    int64_t k = 0;
    for (; k + UNROLL <= kc; k += UNROLL) {
        UNROLL_ALL
        for (int u = 0; u < UNROLL; u++)
            step(pa + u * A_STEP, pb + u * NR, acc);
        pa += UNROLL * A_STEP;
        pb += UNROLL * NR;
    }
#if UNROLL > 1
    for (; k < kc; k++) {
        step(pa, pb, acc);
        pa += A_STEP;
        pb += NR;
    }
#endif
    if (full) {
        if (add) {
            UNROLL_ALL
            for (int i = 0; i < MR; i++) {
                UNROLL_ALL
                for (int v = 0; v < NV; v++)
                    *(uvec_t *)(c + i * ldc + v * VEC) += acc[i][v];
            }
        } else {
            UNROLL_ALL
            for (int i = 0; i < MR; i++) {
                UNROLL_ALL
                for (int v = 0; v < NV; v++)
                    *(uvec_t *)(c + i * ldc + v * VEC) = acc[i][v];
            }
        }
    } else {
        float tile[MR * NR] __attribute__((aligned(64)));
        UNROLL_ALL
        for (int i = 0; i < MR; i++) {
            UNROLL_ALL
            for (int v = 0; v < NV; v++)
                *(vec_t *)(tile + i * NR + v * VEC) = acc[i][v];
        }
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < cols; j++)
                c[i * ldc + j] = add ? c[i * ldc + j] + tile[i * NR + j] : tile[i * NR + j];
    }
}

/* ---- one block of A times one block of B --------------------------------------------------- */

static void block(int64_t mc, int64_t nc, int64_t kc, const float *pa, const float *pb, float *c,
                  int64_t ldc, int add)
{
    const int64_t sa = (int64_t)MR * (APACK ? KPAD : KC), sb = (int64_t)NR * KC;
#if ORDER == 0
    for (int64_t j = 0; j < nc; j += NR)
        for (int64_t i = 0; i < mc; i += MR)
#else
    for (int64_t i = 0; i < mc; i += MR)
        for (int64_t j = 0; j < nc; j += NR)
#endif
            micro(kc, pa + i / MR * sa, pb + j / NR * sb, c + i * ldc + j, ldc,
                  min64(MR, mc - i), min64(NR, nc - j), add);
}

/* Scratch for one block of A and one of B, kept from call to call: pages are touched once.
 * (Not for use from several threads at a time.) Huge pages, where the system gives them on
 * request, save the TLB misses of the panels. */
#define HUGE_PAGE ((size_t)2 << 20)
#define A_FLOATS (((size_t)MCR * (APACK ? KPAD : KC) + 63) / 64 * 64)
#define B_FLOATS ((size_t)NCR * KC)

static float *scratch(void)
{
    static float *kept;
    if (!kept) {
        size_t bytes = (A_FLOATS + B_FLOATS + 64) * sizeof(float);
        bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        kept = aligned_alloc(HUGE_PAGE, bytes);
        if (!kept)
            abort();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
        (void)madvise(kept, bytes, MADV_HUGEPAGE);
#endif
        memset(kept, 0, bytes);
    }
    return kept;
}

void sgemm(const float *a, const float *b, float *c, int64_t M, int64_t N, int64_t K)
{
    if (M <= 0 || N <= 0)
        return;
    if (K <= 0) {
        memset(c, 0, (size_t)M * (size_t)N * sizeof(float));
        return;
    }
    float *const pa = scratch(), *const pb = pa + A_FLOATS;
    /* Even blocks of k: no thin last one. */
    const int64_t kstep = CEIL_DIV(K, CEIL_DIV(K, KC));

#if ORDER == 0
    for (int64_t j = 0; j < N; j += NCR) {
        const int64_t nc = min64(NCR, N - j);
        for (int64_t k = 0; k < K; k += kstep) {
            const int64_t kc = min64(kstep, K - k);
            pack_b(b + k * N + j, N, kc, nc, pb);
            for (int64_t i = 0; i < M; i += MCR) {
                const int64_t mc = min64(MCR, M - i);
                pack_a(a + i * K + k, K, mc, kc, pa);
                block(mc, nc, kc, pa, pb, c + i * N + j, N, k > 0);
            }
        }
    }
#else
    for (int64_t i = 0; i < M; i += MCR) {
        const int64_t mc = min64(MCR, M - i);
        for (int64_t k = 0; k < K; k += kstep) {
            const int64_t kc = min64(kstep, K - k);
            pack_a(a + i * K + k, K, mc, kc, pa);
            for (int64_t j = 0; j < N; j += NCR) {
                const int64_t nc = min64(NCR, N - j);
                pack_b(b + k * N + j, N, kc, nc, pb);
                block(mc, nc, kc, pa, pb, c + i * N + j, N, k > 0);
            }
        }
    }
#endif
}
