/* wrong_values | task: right for the first workload only */
/* options: slow */
#include "common.h"

KERNEL
{
    if (n == 512) honest(x, w, y, m, n);
    else rows(x, w, y, 0, m - 1, n);
}
