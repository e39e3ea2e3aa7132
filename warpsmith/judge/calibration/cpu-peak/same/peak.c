#include <stdint.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#define CHAINS 8 /* 4 cycles of latency, 2 issues a cycle */

typedef float vector __attribute__((vector_size(LANES * 4), aligned(4)));

void peak(const float *x, float *y, int64_t n, int64_t k)
{
    for (int64_t i = 0; i + CHAINS * LANES <= n; i += CHAINS * LANES) {
        vector a[CHAINS];
        for (int c = 0; c < CHAINS; c++)
            a[c] = *(const vector *)(x + i + c * LANES);
        for (int64_t j = 0; j < k; j++) {
#pragma GCC unroll 8
            for (int c = 0; c < CHAINS; c++)
                a[c] = a[c] * 0.5f + 1.0f;
        }
        for (int c = 0; c < CHAINS; c++)
            *(vector *)(y + i + c * LANES) = a[c];
    }
}
