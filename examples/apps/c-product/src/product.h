#ifndef PRODUCT_H
#define PRODUCT_H

#include <stdint.h>

/* c (M x N) = a (M x K) times b (K x N), all row-major. */
void product(const float *a, const float *b, float *c, int64_t M, int64_t N, int64_t K);

#endif
