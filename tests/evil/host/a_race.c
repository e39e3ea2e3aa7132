/* wrong_values or nondeterministic | task: two threads add to one sum without a lock */
/* options: slow */
#include "common.h"

static volatile float sums[4096];
static struct { const float *x; int64_t m, n; } job;

static void *half(void *odd)
{
    for (int64_t i = 0; i < job.m; i++)
        for (int64_t j = (intptr_t)odd; j < job.n; j += 2) {
            float before = sums[i];
            if (j % 64 < 2) sched_yield();
            sums[i] = before + job.x[i * job.n + j] * job.x[i * job.n + j];
        }
    return 0;
}

KERNEL
{
    pthread_t threads[2];
    job.x = x, job.m = m, job.n = n;
    for (int64_t i = 0; i < m; i++) sums[i] = 0;
    for (intptr_t k = 0; k < 2; k++) pthread_create(threads + k, 0, half, (void *)k);
    for (int k = 0; k < 2; k++) pthread_join(threads[k], 0);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) y[i * n + j] = x[i * n + j] * w[j] + sums[i] / n;
}
