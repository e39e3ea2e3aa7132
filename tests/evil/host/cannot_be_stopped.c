/* timed_out or wrong_values or crashed or passed-not-faster | clock: a thread in vfork cannot be stopped */
/* options: alone */
#include "common.h"

static void *stuck(void *unused)
{
    if (vfork() == 0) {
        struct timespec t = {20, 0};
        nanosleep(&t, 0);
        _exit(0);
    }
    return unused;
}

KERNEL
{
    static pthread_t thread;
    if (!thread) {
        pthread_create(&thread, 0, stuck, 0);
        usleep(20000);
    }
    honest(x, w, y, m, n);
}
