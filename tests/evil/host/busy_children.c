/* passed-not-faster or crashed | clock: busy children of its group, pinned to its core, slow the rival */
#include "common.h"

KERNEL
{
    static int started;
    for (; started < 4; started++)
        if (fork() == 0) {
            called("evil-busy");
            nice(-20);
            for (;;) {}
        }
    honest(x, w, y, m, n);
    honest(x, w, y, m, n);
}
