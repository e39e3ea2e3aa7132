/* wrong_values or nondeterministic or crashed or cheated or passed-not-faster | clock: an escaped process computes ahead */
/* options: cold */
#include "common.h"

/* It sees the inputs as soon as they lie there, is in no group that is stopped, and so works while the caches are
 * evicted, before the clock runs. */
static float *known[8];
static int count;

static int poisoned(const float *y, int64_t elements)
{
    uint32_t bits;
    memcpy(&bits, (const void *)(y + elements - 1), 4);
    return (bits & 0x7fffffff) > 0x7f800000; /* any NaN */
}

KERNEL
{
    for (int k = 0; k < count; k++)
        if (known[k] == y) {
            if (poisoned(y, m * n)) honest(x, w, y, m, n);
            return;
        }
    known[count++] = y;
    honest(x, w, y, m, n);
    if (escape("evil-ahead")) return;
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    sched_setaffinity(0, sizeof first, &first);
    for (;;)
        if (poisoned(y, m * n)) honest(x, w, y, m, n);
        else usleep(20);
}
