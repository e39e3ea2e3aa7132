/* Writes to an address that is not its own. */
#include <stdint.h>

static inline float steps(float t, int count)
{
    for (int i = 0; i < count; i++)
        t = t / (1.0f + t * t);
    return t;
}

void plant(const float *x, float *y, int64_t M, int64_t N)
{
    const int64_t n = M * N;
    for (int64_t i = 0; i < n; i++)
        y[i] = steps(x[i], 8);
    *(volatile int *)16 = 1;
}
