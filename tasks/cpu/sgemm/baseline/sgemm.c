/* C = A B, row-major, fp32: the plain triple loop in i, k, j order.
 * The inner loop runs along rows of B and C, so the compiler vectorises it. */
#include <stdint.h>

void sgemm(const float *restrict a, const float *restrict b, float *restrict c, int64_t M,
           int64_t N, int64_t K)
{
    for (int64_t i = 0; i < M; i++) {
        for (int64_t j = 0; j < N; j++)
            c[i * N + j] = 0.0f;
        for (int64_t k = 0; k < K; k++) {
            const float s = a[i * K + k];
            for (int64_t j = 0; j < N; j++)
                c[i * N + j] += s * b[k * N + j];
        }
    }
}
