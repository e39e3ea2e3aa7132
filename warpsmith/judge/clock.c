/* The clock of the host contract, in the judge's process: from letting the worker go to its answer.
 * Native, because a cold Python interpreter takes 30 us to do these six system calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { SETTLE_NS = 60000 };
enum { TIMED_OUT = -1, ENDED = -2, GONE = -3, UNASKED = -4 };

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Nanoseconds that a thread has waited for a processor while it could have run, from its open /proc/.../schedstat;
 * 0 where that cannot be told. */
static int64_t waited(int schedstat)
{
    char text[96], *end;
    ssize_t got = pread(schedstat, text, sizeof text - 1, 0);
    if (got <= 0)
        return 0;
    text[got] = 0;
    strtoll(text, &end, 10);
    return strtoll(end, 0, 10);
}

/* Wait until a timer tick has just passed: one costs 15 to 60 us in a virtual machine, so calls that are shorter than
 * the time between two of them are met by it now and then. */
static void after_tick(void)
{
    struct timespec step, first, seen;
    clock_getres(CLOCK_MONOTONIC_COARSE, &step);
    clock_gettime(CLOCK_MONOTONIC_COARSE, &first);
    int64_t until = now() + 2 * (step.tv_sec * 1000000000LL + step.tv_nsec);
    do
        clock_gettime(CLOCK_MONOTONIC_COARSE, &seen);
    while (seen.tv_nsec == first.tv_nsec && now() < until);
    for (until = now() + SETTLE_NS; now() < until;) {} /* ticks of several cores are not quite simultaneous */
}

/* Takes what stands in the pipe before anybody was asked: UNASKED for an answer, GONE at its end, 0 for nothing. */
static int64_t drained(int answers)
{
    unsigned char taken[256];
    struct pollfd ready = {.fd = answers, .events = POLLIN};
    int64_t found = 0;
    while (poll(&ready, 1, 0) > 0) {
        if (read(answers, taken, sizeof taken) <= 0)
            return found ? found : GONE;
        found = UNASKED;
    }
    return found;
}

static int64_t call(int group, int commands, int answers, int which, int timeout_ms)
{
    unsigned char command = (unsigned char)which, answer;
    struct pollfd ready = {.fd = answers, .events = POLLIN};
    int64_t began = now(), until = began + timeout_ms * 1000000LL;
    if (kill(-group, SIGCONT) != 0 || write(commands, &command, 1) != 1)
        return GONE;
    for (;;) {
        int64_t left = (until - now()) / 1000000 + 1;
        int events = left > 0 ? poll(&ready, 1, (int)left) : 0;
        if (events < 0 && errno == EINTR)
            continue;
        if (events <= 0)
            return TIMED_OUT;
        ssize_t got = read(answers, &answer, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 1 && answer != 'D')
            return UNASKED;
        return got == 1 ? now() - began : ENDED;
    }
}

/* Processor time in nanoseconds of this thread (0) or of another process with all its threads. */
static int64_t ran(int process)
{
    struct timespec t;
    clockid_t clock = process ? (clockid_t)((~(unsigned)process << 3) | 2) : CLOCK_THREAD_CPUTIME_ID;
    return clock_gettime(clock, &t) ? 0 : t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* How often this thread was made to give its core up. */
static long preempted(void)
{
    struct rusage used;
    return getrusage(RUSAGE_THREAD, &used) ? 0 : used.ru_nivcsw;
}

/* Nanoseconds of one call of workload `which`, or why there are none. `waits` are two open schedstat files, the judge's
 * and the worker's. `*lost` becomes the time in which neither ran although one of them could have: others had the core.
 * It is no more than what neither used (one waits while the other runs), and no more than what they waited (both are
 * idle while the worker sleeps). The worker may take the core as soon as it is woken: a judge that had to give way waits
 * until the worker sleeps, which is no loss either. All of this is read outside of the clock. */
int64_t clocked(int group, int commands, int answers, int which, int timeout_ms, int settle, const int waits[2],
                int64_t *lost)
{
    if (settle)
        after_tick();
    long gave_way = -preempted();
    int64_t own = -waited(waits[0]), others = -waited(waits[1]), unused = -ran(0) - ran(group);
    int64_t took = drained(answers);
    if (took == 0)
        took = call(group, commands, answers, which, timeout_ms);
    unused = took - (unused + ran(0) + ran(group));
    own += waited(waits[0]), others += waited(waits[1]), gave_way += preempted();
    int64_t delay = others + (gave_way ? 0 : own);
    *lost = unused < delay ? unused : delay;
    return took;
}
