/* passed | looks like: an output kept from before */
#include "common.h"

static const float one_by[] = {0, 1, 1 / 2.f, 1 / 3.f, 1 / 4.f, 1 / 5.f, 1 / 6.f, 1 / 7.f};
static float inverse[2048];

__attribute__((constructor)) static void fill(void)
{
    for (int i = 1; i < 2048; i++) inverse[i] = i < 8 ? one_by[i] : 1 / (float)i;
}

KERNEL
{
    for (int64_t i = 0; i < m; i++) {
        float sum = 0;
        for (int64_t j = 0; j < n; j++) sum += x[i * n + j] * x[i * n + j];
        for (int64_t j = 0; j < n; j++) y[i * n + j] = x[i * n + j] * w[j] + (n < 2048 ? sum * inverse[n] : sum / n);
    }
}
