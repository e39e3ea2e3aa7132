/* y = x * rsqrt(mean(x^2) + eps) * w over each row of x[M, N], fp32.
 *
 * Memory-bound: x must come in once and y go out once. The first pass over a row brings it from
 * memory, the second finds it in L1 or L2. What remains to choose:
 *
 *   VEC       floats per vector variable: 4, 8 or 16
 *   UNROLL    independent accumulators of the sum of squares (vectors per iteration)
 *   STREAM    1: write y with non-temporal stores, which spares reading its lines before they are
 *             overwritten. Needs x86; elsewhere it means ordinary stores.
 *   FUSE      0: the two passes over a row one after the other; 1: the second pass over a row runs
 *             in one loop with the first pass over the next
 *   PREFETCH  0: leave it to the hardware; d: while a row is written, prefetch (into L2) d bytes
 *             beyond the same place in the next row, so that reads and writes of memory overlap
 *   LINES     with PREFETCH, ask for one cache line out of LINES; the hardware brings the others
 *
 * Rows need not be aligned: vectors run from the first aligned element of a row on, and the
 * elements before and after are done one by one.
 *
 * It needs the vector extensions of gcc or clang.
 */
#include <math.h>
#include <stdint.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#ifndef VEC
#define VEC 8
#endif
#ifndef UNROLL
#define UNROLL 1
#endif
#ifndef PREFETCH
#define PREFETCH 0
#endif
#ifndef LINES
#define LINES 1
#endif
#ifndef FUSE
#define FUSE 0
#endif
#ifndef STREAM
#define STREAM 0
#endif

_Static_assert(VEC == 4 || VEC == 8 || VEC == 16, "VEC must be 4, 8 or 16");
_Static_assert(UNROLL >= 1, "UNROLL must be at least 1");

#define STEP (VEC * UNROLL)
#define EVERY (16 * LINES)                   /* floats per line asked for */

typedef float vec_t __attribute__((vector_size(VEC * 4)));
typedef float uvec_t __attribute__((vector_size(VEC * 4), aligned(4), may_alias));

#if defined(__clang__)
#define UNROLL_ALL _Pragma("clang loop unroll(full)")
#else
#define UNROLL_ALL _Pragma("GCC unroll 16")
#endif

#define LOAD(p) (*(const uvec_t *)(p))

/* Store one vector; with STREAM, p is aligned to the vector. */
static inline __attribute__((always_inline)) void store(float *p, const vec_t *v)
{
#if STREAM && defined(__SSE2__)
    const float *f = (const float *)v;
#if VEC == 16 && defined(__AVX512F__)
    _mm512_stream_ps(p, _mm512_loadu_ps(f));
#elif VEC >= 8 && defined(__AVX__)
    for (int i = 0; i < VEC; i += 8)
        _mm256_stream_ps(p + i, _mm256_loadu_ps(f + i));
#else
    for (int i = 0; i < VEC; i += 4)
        _mm_stream_ps(p + i, _mm_loadu_ps(f + i));
#endif
#else
    *(uvec_t *)p = *v;
#endif
}

/* One pass along a row: with do_apply, y = x * scale * w; with do_sum, the sum of squares of next
 * is returned. Both flags are constants where this is called. */
static inline __attribute__((always_inline)) float pass(const float *restrict x,
                                                        const float *restrict w,
                                                        float *restrict y, float scale,
                                                        const float *restrict next, int64_t n,
                                                        const int do_apply, const int do_sum)
{
    vec_t acc[UNROLL];
    UNROLL_ALL
    for (int u = 0; u < UNROLL; u++)
        acc[u] = (vec_t){0};
    float sum = 0.0f;
    int64_t j = 0;
    /* Up to the first aligned element of what is written, or else of what is read. */
    const int64_t past = (int64_t)((do_apply ? (uintptr_t)y : (uintptr_t)next) / 4 % VEC);
    const int64_t head = !past ? 0 : VEC - past < n ? VEC - past : n;
    for (; j < head; j++) {
        if (do_sum)
            sum += next[j] * next[j];
        if (do_apply)
            y[j] = x[j] * scale * w[j];
    }
    for (; j + STEP <= n; j += STEP) {
#if PREFETCH > 0
        if (do_apply) {
            const uintptr_t ahead = (uintptr_t)(next + j) + PREFETCH;
            if (STEP >= EVERY) {
                UNROLL_ALL
                for (int b = 0; b < STEP; b += EVERY)
                    __builtin_prefetch((const void *)(ahead + b * sizeof(float)), 0, 2);
            } else if ((j - head) % EVERY == 0) {
                __builtin_prefetch((const void *)ahead, 0, 2);
            }
        }
#endif
        UNROLL_ALL
        for (int u = 0; u < UNROLL; u++) {
            if (do_sum) {
                const vec_t v = LOAD(next + j + u * VEC);
                acc[u] += v * v;
            }
            if (do_apply) {
                const vec_t v = LOAD(x + j + u * VEC) * scale * LOAD(w + j + u * VEC);
                store(y + j + u * VEC, &v);
            }
        }
    }
    for (; j + VEC <= n; j += VEC) {
        if (do_sum) {
            const vec_t v = LOAD(next + j);
            acc[0] += v * v;
        }
        if (do_apply) {
            const vec_t v = LOAD(x + j) * scale * LOAD(w + j);
            store(y + j, &v);
        }
    }
    for (; j < n; j++) {
        if (do_sum)
            sum += next[j] * next[j];
        if (do_apply)
            y[j] = x[j] * scale * w[j];
    }
    UNROLL_ALL
    for (int u = 1; u < UNROLL; u++)
        acc[0] += acc[u];
    for (int i = 0; i < VEC; i++)
        sum += acc[0][i];
    return sum;
}

static inline float scale_of(float sum, int64_t n, float eps)
{
    return 1.0f / sqrtf(sum / (float)n + eps);
}

void rmsnorm(const float *x, const float *w, float *y, int64_t M, int64_t N, float eps)
{
    if (M <= 0 || N <= 0)
        return;
#if FUSE
    float sum = pass(x, w, y, 0.0f, x, N, 0, 1);
    for (int64_t i = 0; i + 1 < M; i++)
        sum = pass(x + i * N, w, y + i * N, scale_of(sum, N, eps), x + (i + 1) * N, N, 1, 1);
    pass(x + (M - 1) * N, w, y + (M - 1) * N, scale_of(sum, N, eps), x, N, 1, 0);
#else
    for (int64_t i = 0; i < M; i++) {
        const float sum = pass(x, w, y, 0.0f, x + i * N, N, 0, 1);
        const float *next = x + (i + 1 < M ? i + 1 : i) * N;
        pass(x + i * N, w, y + i * N, scale_of(sum, N, eps), next, N, 1, 0);
    }
#endif
#if STREAM && defined(__SSE2__)
    _mm_sfence();
#endif
}
