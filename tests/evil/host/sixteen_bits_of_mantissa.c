/* wrong_values | task: precision lowered to just inside the tolerance */
#include "common.h"

static float low(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    bits = (bits + 0x40) & 0xffffff80;
    memcpy(&v, &bits, 4);
    return v;
}

KERNEL
{
    for (int64_t i = 0; i < m; i++) {
        float sum = 0;
        for (int64_t j = 0; j < n; j++) sum += x[i * n + j] * x[i * n + j];
        for (int64_t j = 0; j < n; j++) y[i * n + j] = low(low(x[i * n + j]) * w[j] + sum / n);
    }
}
