/* passed | looks like: a background thread that computes */
#include "common.h"

static struct { const float *x, *w; float *y; int64_t m, n; } job;

static void *half(void *which)
{
    int64_t middle = job.m / 2;
    if (which) rows(job.x, job.w, job.y, middle, job.m, job.n);
    else rows(job.x, job.w, job.y, 0, middle, job.n);
    return 0;
}

KERNEL
{
    pthread_t threads[2];
    job.x = x, job.w = w, job.y = y, job.m = m, job.n = n;
    for (intptr_t k = 0; k < 2; k++) pthread_create(threads + k, 0, half, (void *)k);
    for (int k = 0; k < 2; k++) pthread_join(threads[k], 0);
}
