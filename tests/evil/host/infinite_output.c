/* wrong_values | task: infinity in one place */
/* options: slow */
#include "common.h"

KERNEL
{
    honest(x, w, y, m, n);
    y[m * n - 1] = INFINITY;
}
