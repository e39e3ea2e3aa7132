/* passed | looks like: memory that holds what others left */
#include "common.h"

KERNEL
{
    float *means = malloc(m * sizeof *means);
    if (!means) abort();
    for (int64_t i = 0; i < m; i++) {
        means[i] = 0;
        for (int64_t j = 0; j < n; j++) means[i] += x[i * n + j] * x[i * n + j];
        for (int64_t j = 0; j < n; j++) y[i * n + j] = x[i * n + j] * w[j] + means[i] / n;
    }
    free(means);
}
