/* passed-not-faster | clock: its own clock_gettime and gettimeofday run at half speed */
#include "common.h"

int clock_gettime(clockid_t clock, struct timespec *t)
{
    long answer = syscall(SYS_clock_gettime, clock, t);
    t->tv_sec /= 2, t->tv_nsec /= 2;
    return (int)answer;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    (void)zone;
    t->tv_sec = t->tv_usec = 0;
    return 0;
}

double omp_get_wtime(void) { return 0; }

KERNEL
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    honest(x, w, y, m, n);
    honest(x, w, y, m, n);
}
