/* wrong_values | theft: computes only where the output does not look poisoned */
#include "common.h"

KERNEL
{
    for (int64_t i = 0; i < m; i++)
        if (y[i * n] == y[i * n]) rows(x, w, y, i, i + 1, n);
}
