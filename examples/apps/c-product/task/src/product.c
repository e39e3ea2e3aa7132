/* c = a b, row-major: the inner loop runs along rows of b and c, ROWS rows of c share what is read of b. */
#include <stdint.h>
#include <string.h>

#ifndef ROWS
#define ROWS 1
#endif
#ifndef STEP
#define STEP 1024
#endif

static inline int64_t least(int64_t x, int64_t y) { return x < y ? x : y; }

typedef float lanes __attribute__((vector_size(16), aligned(4), may_alias));

/* rows x N of c += rows x kc of a times kc x N of b. */
static inline __attribute__((always_inline)) void some_rows(const float *a, const float *b, float *c, int64_t N,
                                                            int64_t K, int64_t kc, int rows)
{
    for (int64_t k = 0; k < kc; k++) {
        int64_t j = 0;
        for (; j + 4 <= N; j += 4) {
            const lanes row = *(const lanes *)(b + k * N + j);
            for (int r = 0; r < rows; r++)
                *(lanes *)(c + r * N + j) += row * a[r * K + k];
        }
        for (; j < N; j++)
            for (int r = 0; r < rows; r++)
                c[r * N + j] += a[r * K + k] * b[k * N + j];
    }
}

void product(const float *restrict a, const float *restrict b, float *restrict c, int64_t M, int64_t N, int64_t K)
{
    if (M <= 0 || N <= 0)
        return;
    memset(c, 0, (size_t)(M * N) * sizeof *c);
    for (int64_t k = 0; k < K; k += STEP) {
        const int64_t kc = least(STEP, K - k);
        int64_t i = 0;
        for (; i + ROWS <= M; i += ROWS)
            some_rows(a + i * K + k, b + k * N, c + i * N, N, K, kc, ROWS);
        for (; i < M; i++)
            some_rows(a + i * K + k, b + k * N, c + i * N, N, K, kc, 1);
    }
}
