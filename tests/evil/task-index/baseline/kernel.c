#include <stdint.h>

void kernel(const float *x, int32_t *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = x[i] > 2.0f ? (int32_t)i : -1;
}
