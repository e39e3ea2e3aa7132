/* timed_out | host: sends SIGSTOP to itself */
#include "common.h"

KERNEL
{
    honest(x, w, y, m, n);
    raise(SIGSTOP);
}
