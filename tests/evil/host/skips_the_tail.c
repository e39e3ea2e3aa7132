/* wrong_values | task: leaves the columns after the last whole vector */
#include "common.h"

KERNEL
{
    for (int64_t i = 0; i < m; i++) {
        float sum = 0;
        for (int64_t j = 0; j < n; j++) sum += x[i * n + j] * x[i * n + j];
        for (int64_t j = 0; j < n - n % 8; j++) y[i * n + j] = x[i * n + j] * w[j] + sum / n;
    }
}
