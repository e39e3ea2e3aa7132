#include <stdint.h>

void kernel(const float *x, const float *y0, float *y, int64_t n, float alpha)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = alpha * x[i] + y0[i];
}
