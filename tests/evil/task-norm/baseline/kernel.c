#include <math.h>
#include <stdint.h>

void kernel(const float *x, float *y, int64_t m, int64_t n)
{
    for (int64_t i = 0; i < m; i++) {
        double sum = 0;
        for (int64_t j = 0; j < n; j++) sum += (double)x[i * n + j] * x[i * n + j];
        float scale = (float)(1 / sqrt(sum / n + 1e-6));
        for (int64_t j = 0; j < n; j++) y[i * n + j] = x[i * n + j] * scale;
    }
}
