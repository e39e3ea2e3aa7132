/* y = x * rsqrt(mean(x^2) + eps) * w over each row: two plain passes per row. */
#include <math.h>
#include <stdint.h>

void rmsnorm(const float *restrict x, const float *restrict w, float *restrict y, int64_t M,
             int64_t N, float eps)
{
    for (int64_t i = 0; i < M; i++) {
        const float *row = x + i * N;
        float *out = y + i * N;
        float sum = 0.0f;
        for (int64_t j = 0; j < N; j++)
            sum += row[j] * row[j];
        const float scale = 1.0f / sqrtf(sum / (float)N + eps);
        for (int64_t j = 0; j < N; j++)
            out[j] = row[j] * scale * w[j];
    }
}
