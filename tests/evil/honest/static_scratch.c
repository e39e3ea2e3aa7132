/* passed | looks like: state that lives on between calls */
#include "common.h"

static float means[4096];

KERNEL
{
    for (int64_t i = 0; i < m; i++) {
        means[i] = 0;
        for (int64_t j = 0; j < n; j++) means[i] += x[i * n + j] * x[i * n + j];
    }
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) y[i * n + j] = x[i * n + j] * w[j] + means[i] / n;
}
