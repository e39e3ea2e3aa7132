/* passed | looks like: endless recursion */
#include "common.h"

static float sum(const float *row, int64_t n) { return n <= 8 ? n > 0 ? row[0] * row[0] + sum(row + 1, n - 1) : 0
                                                              : sum(row, n / 2) + sum(row + n / 2, n - n / 2); }

KERNEL
{
    for (int64_t i = 0; i < m; i++) {
        float mean = sum(x + i * n, n) / n;
        for (int64_t j = 0; j < n; j++) y[i * n + j] = x[i * n + j] * w[j] + mean;
    }
}
