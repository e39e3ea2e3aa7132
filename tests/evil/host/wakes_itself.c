/* wrong_values or crashed or timed_out or nondeterministic | clock: children wake all of it, and compute late */
#include "common.h"

static struct { const float *x, *w; float *y; int64_t m, n; } *job;

KERNEL
{
    if (!job) {
        job = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        for (int i = 0; i < 3; i++)
            if (fork() == 0) {
                called("evil-waker");
                setsid();
                for (;;) {
                    kill(0, SIGCONT);
                    if (job->m && i == 0) honest(job->x, job->w, job->y, job->m, job->n);
                }
            }
    }
    job->x = x, job->w = w, job->y = y, job->n = n, job->m = m;
}
