/* wrong_values | theft: gives the input as the output */
#include "common.h"

KERNEL
{
    (void)w;
    memcpy(y, x, 4 * m * n);
}
