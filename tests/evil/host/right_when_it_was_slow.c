/* wrong_values or nondeterministic | clock: right only where nobody has hurried it (measures the gap between calls) */
#include "common.h"

KERNEL
{
    static struct timespec last;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double gap = (double)(now.tv_sec - last.tv_sec) + 1e-9 * (double)(now.tv_nsec - last.tv_nsec);
    last = now;
    if (gap > 0.05) honest(x, w, y, m, n);
    else rows(x, w, y, 0, m / 2, n);
}
