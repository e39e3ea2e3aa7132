/* wrong_values | task: sums in half precision without compensation */
/* options: slow */
#include "common.h"

KERNEL
{
    for (int64_t i = 0; i < m; i++) {
        uint32_t bits;
        float sum = 0;
        for (int64_t j = 0; j < n; j++) {
            sum += x[i * n + j] * x[i * n + j];
            memcpy(&bits, &sum, 4), bits &= 0xffffe000, memcpy(&sum, &bits, 4);
        }
        for (int64_t j = 0; j < n; j++) y[i * n + j] = x[i * n + j] * w[j] + sum / n;
    }
}
