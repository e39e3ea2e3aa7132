/* timed_out | host: a constructor that never returns, so that its worker never says that it has loaded */
/* options: slow */
#include "common.h"

__attribute__((constructor)) static void begin(void)
{
    for (;;)
        pause();
}

KERNEL
{
    honest(x, w, y, m, n);
}
