/* wrong_values | task: does not write -1, which the poison of integers is already */
/* options: index */
#include "common.h"

void kernel(const float *x, int32_t *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] > 2.0f) y[i] = (int32_t)i;
}
