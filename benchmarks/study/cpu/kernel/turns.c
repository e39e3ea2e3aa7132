#include <stdint.h>

#define LANES 8
#define CHAINS 8
typedef float vector __attribute__((vector_size(LANES * 4), aligned(4)));

void turns(const float *x, float *y, int64_t n)
{
    for (int64_t i = 0; i + CHAINS * LANES <= n; i += CHAINS * LANES) {
        vector a[CHAINS], q[CHAINS];
        for (int c = 0; c < CHAINS; c++) {
            a[c] = *(const vector *)(x + i + c * LANES);
            q[c] = 0.25f * a[c];
        }
        for (int j = 0; j < TURNS; j++)
            for (int c = 0; c < CHAINS; c++)
                a[c] = a[c] * 0.5f + q[c];
        for (int c = 0; c < CHAINS; c++)
            *(vector *)(y + i + c * LANES) = a[c];
    }
}
