#include <stdint.h>
#include <string.h>

typedef float vector __attribute__((vector_size(VEC * 4), aligned(4)));

void kernel(const float *x, const float *y0, float *y, int64_t n, float alpha)
{
    int64_t i = 0;
    for (; i + VEC * UNROLL <= n; i += VEC * UNROLL)
        for (int u = 0; u < UNROLL; u++) {
            const vector *from = (const vector *)(x + i + u * VEC);
            const vector *plus = (const vector *)(y0 + i + u * VEC);
            *(vector *)(y + i + u * VEC) = alpha * *from + *plus;
        }
    for (; i < n; i++)
        y[i] = alpha * x[i] + y0[i];
}
