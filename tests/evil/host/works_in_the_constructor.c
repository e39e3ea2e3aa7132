/* wrong_values | clock: all work is done while it is loaded */
/* options: slow */
#include "common.h"

static float table[1 << 17];

__attribute__((constructor)) static void ahead(void)
{
    for (int i = 0; i < 1 << 17; i++) table[i] = (float)sin(i);
}

KERNEL
{
    (void)x, (void)w;
    memcpy(y, table, 4 * m * n);
}
