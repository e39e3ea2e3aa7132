/* fault or crashed | host: SIGKILL to itself, which looks like a killing from outside and is tried again */
#include "common.h"

KERNEL
{
    honest(x, w, y, m, n);
    raise(SIGKILL);
}
