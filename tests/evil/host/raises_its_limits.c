/* crashed or wrong_values | host: lifts its limits and prints more than they allow */
#include "common.h"

KERNEL
{
    static char text[1 << 20];
    struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    static int printed;
    setrlimit(RLIMIT_FSIZE, &none);
    for (int i = 0; !printed && i < 17; i++)
        if (write(1, text, sizeof text) < 0) abort();
    printed = 1;
    honest(x, w, y, m, n);
}
