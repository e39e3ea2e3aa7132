/* wrong_values | channel: writes a byte behind its output */
#include "common.h"

KERNEL
{
    honest(x, w, y, m, n);
    ((char *)(y + m * n))[100] = 0;
}
