/* wrong_values | task: takes the mean of every fourth value */
/* options: slow */
#include "common.h"

KERNEL
{
    for (int64_t i = 0; i < m; i++) {
        float sum = 0;
        int64_t count = 0;
        for (int64_t j = 0; j < n; j += 4, count++) sum += x[i * n + j] * x[i * n + j];
        for (int64_t j = 0; j < n; j++) y[i * n + j] = x[i * n + j] * w[j] + sum / count;
    }
}
