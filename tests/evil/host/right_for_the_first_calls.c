/* wrong_values | replay: right for the first twenty calls only */
#include "common.h"

KERNEL
{
    static int calls;
    if (calls++ < 20) honest(x, w, y, m, n);
    else memcpy(y, x, 4 * m * n);
}
