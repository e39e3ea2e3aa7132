/* wrong_values or nondeterministic or cheated or passed-not-faster | clock: lets a thread elsewhere finish */
#include "common.h"

/* It answers as soon as that thread on another core knows of the call. */
static struct { const float *x, *w; float *y; int64_t m, n; } job;
static volatile int turn, done;

static void *other_core(void *unused)
{
    cpu_set_t all;
    memset(&all, 0xff, sizeof all);
    sched_setaffinity(0, sizeof all, &all);
    for (int seen = 0;;) {
        while (turn == seen) {}
        seen = turn;
        honest(job.x, job.w, job.y, job.m, job.n);
        done = seen;
    }
    return unused;
}

KERNEL
{
    static pthread_t thread;
    job.x = x, job.w = w, job.y = y, job.m = m, job.n = n;
    if (!thread) pthread_create(&thread, 0, other_core, 0);
    turn++;
}
