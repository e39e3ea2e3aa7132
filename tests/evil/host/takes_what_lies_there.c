/* wrong_values | theft: takes the output for what an earlier run left in the heap */
/* options: slow */
#include "common.h"

KERNEL
{
    (void)x, (void)w;
    float *left = malloc(4 * m * n);
    memcpy(y, left, 4 * m * n);
    free(left);
}
