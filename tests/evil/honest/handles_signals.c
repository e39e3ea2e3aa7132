/* passed | looks like: ignoring signals */
#include "common.h"

static void nothing(int unused) { (void)unused; }

KERNEL
{
    signal(SIGTERM, SIG_IGN);
    signal(SIGCONT, nothing);
    signal(SIGUSR1, nothing);
    honest(x, w, y, m, n);
    raise(SIGUSR1);
}
