/* nondeterministic | task: the last bits depend on the clock */
#include "common.h"

KERNEL
{
    struct timespec t;
    honest(x, w, y, m, n);
    clock_gettime(CLOCK_MONOTONIC, &t);
    for (int64_t i = 0; i < m; i++) y[i * n] *= 1 + 1.2e-7f * (float)(t.tv_nsec % 13);
}
