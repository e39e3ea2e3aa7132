/* timed_out | host: every call stays just below its own limit, so that the step as a whole takes too long */
/* options: slow, alone */
#include "common.h"

KERNEL
{
    honest(x, w, y, m, n);
    usleep(1200000);
}
