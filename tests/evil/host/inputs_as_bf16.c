/* wrong_values | task: reads its inputs as bf16 */
#include "common.h"

static float low(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    bits &= 0xffff0000;
    memcpy(&v, &bits, 4);
    return v;
}

KERNEL
{
    for (int64_t i = 0; i < m; i++) {
        float sum = 0;
        for (int64_t j = 0; j < n; j++) sum += low(x[i * n + j]) * low(x[i * n + j]);
        for (int64_t j = 0; j < n; j++) y[i * n + j] = low(x[i * n + j]) * low(w[j]) + sum / n;
    }
}
