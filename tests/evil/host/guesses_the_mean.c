/* wrong_values | task: takes the mean square for the variance of the noise, guessed from eight values */
#include "common.h"

KERNEL
{
    for (int64_t i = 0; i < m; i++) {
        float few = 0;
        for (int64_t j = 0; j < 8; j++) few += x[i * n + j] * x[i * n + j];
        float guess = exp2f(rintf(log2f(few / 8)));
        for (int64_t j = 0; j < n; j++) y[i * n + j] = x[i * n + j] * w[j] + guess;
    }
}
