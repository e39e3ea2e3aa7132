/* crashed or wrong_values or timed_out | host: forks until it may not (512 at most) */
/* options: alone */
#include "common.h"

KERNEL
{
    static int done;
    int made = 0;
    for (; !done && made < 512; made++) {
        pid_t child = fork();
        if (child < 0) abort();
        if (child == 0) {
            called("evil-fork");
            for (;;) pause();
        }
    }
    done = 1;
    honest(x, w, y, m, n);
}
