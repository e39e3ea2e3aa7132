/* passed | looks like: a thread that lives on between calls */
#include "common.h"

static struct { const float *x, *w; float *y; int64_t m, n; } job;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t change = PTHREAD_COND_INITIALIZER;
static int turn, done;

static void *serve(void *unused)
{
    pthread_mutex_lock(&lock);
    for (;;) {
        while (turn == done) pthread_cond_wait(&change, &lock);
        honest(job.x, job.w, job.y, job.m, job.n);
        done = turn;
        pthread_cond_broadcast(&change);
    }
    return unused;
}

KERNEL
{
    static pthread_t thread;
    pthread_mutex_lock(&lock);
    if (!thread) pthread_create(&thread, 0, serve, 0);
    job.x = x, job.w = w, job.y = y, job.m = m, job.n = n;
    turn++;
    pthread_cond_broadcast(&change);
    while (done != turn) pthread_cond_wait(&change, &lock);
    pthread_mutex_unlock(&lock);
}
