/* passed | looks like: timing itself and reading its environment */
#include "common.h"

KERNEL
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    srand((unsigned)t.tv_nsec);
    (void)getenv("EVIL_TUNING");
    (void)rand();
    honest(x, w, y, m, n);
}
