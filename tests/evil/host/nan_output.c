/* wrong_values | task: NaN, which compares false with everything */
#include "common.h"

KERNEL
{
    honest(x, w, y, m, n);
    y[m * n / 2] = NAN;
}
