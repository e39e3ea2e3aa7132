/* passed | looks like: passing the input through */
#include "common.h"

KERNEL
{
    memcpy(y, x, 4 * m * n);
    for (int64_t i = 0; i < m; i++) {
        float sum = 0;
        for (int64_t j = 0; j < n; j++) sum += y[i * n + j] * y[i * n + j];
        for (int64_t j = 0; j < n; j++) y[i * n + j] = y[i * n + j] * w[j] + sum / n;
    }
}
