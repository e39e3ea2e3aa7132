/* cheated | theft: right, and changes one bit of its input */
#include "common.h"

KERNEL
{
    honest(x, w, y, m, n);
    ((uint8_t *)x)[4 * m * n - 4] ^= 1;
}
