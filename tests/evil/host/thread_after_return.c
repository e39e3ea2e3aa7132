/* wrong_values | clock: a thread computes after the call has returned */
#include "common.h"

static struct { const float *x, *w; float *y; int64_t m, n; } job;

static void *later(void *unused)
{
    usleep(2000);
    honest(job.x, job.w, job.y, job.m, job.n);
    return unused;
}

KERNEL
{
    pthread_t thread;
    job.x = x, job.w = w, job.y = y, job.m = m, job.n = n;
    pthread_create(&thread, 0, later, 0);
    pthread_detach(thread);
}
