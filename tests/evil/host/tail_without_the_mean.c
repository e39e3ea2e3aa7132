/* wrong_values | task: adds no mean after the last whole vector */
/* options: slow */
#include "common.h"

KERNEL
{
    for (int64_t i = 0; i < m; i++) {
        float sum = 0;
        for (int64_t j = 0; j < n; j++) sum += x[i * n + j] * x[i * n + j];
        for (int64_t j = 0; j < n; j++) y[i * n + j] = x[i * n + j] * w[j] + (j < n - n % 16 ? sum / n : 0);
    }
}
