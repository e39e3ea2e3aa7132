/* passed | looks like: a constant output */
#include "common.h"

KERNEL
{
    memset(y, 0, 4 * m * n);
    honest(x, w, y, m, n);
}
