/* crashed | host: allocates until it may not */
#include "common.h"

KERNEL
{
    (void)x, (void)w, (void)y, (void)m, (void)n;
    for (;;) {
        volatile char *p = malloc(1 << 28);
        if (!p) abort();
        p[0] = 1;
    }
}
