/* What the candidates here share: the honest answer, and how a dishonest one finds its way about. */
#pragma once
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KERNEL void kernel(const float *x, const float *w, float *y, int64_t m, int64_t n)
#define UNUSED __attribute__((unused)) static

UNUSED void rows(const float *x, const float *w, float *y, int64_t first, int64_t last, int64_t n)
{
    for (int64_t i = first; i < last; i++) {
        float sum = 0;
        for (int64_t j = 0; j < n; j++) sum += x[i * n + j] * x[i * n + j];
        for (int64_t j = 0; j < n; j++) y[i * n + j] = x[i * n + j] * w[j] + sum / n;
    }
}

UNUSED void honest(const float *x, const float *w, float *y, int64_t m, int64_t n) { rows(x, w, y, 0, m, n); }

/* Children say so in their name: the test looks for survivors. Each ends by itself, should nobody else see to it. */
UNUSED void called(const char *name)
{
    prctl(PR_SET_NAME, name, 0, 0, 0);
    alarm(20);
}

/* A process outside of this one's group and session, with no parent; 0 in that process, 1 here. */
UNUSED int escape(const char *name)
{
    pid_t child = fork();
    if (child > 0) waitpid(child, 0, 0);
    if (child != 0) return 1;
    setsid();
    if (fork() != 0) _exit(0);
    called(name);
    return 0;
}

/* A byte into every pipe that can be written, as if a call were done. */
UNUSED void answer(int count)
{
    char bytes[256];
    memset(bytes, 'D', sizeof bytes);
    for (int fd = 3; fd < 256; fd++) {
        struct stat s;
        int flags = fcntl(fd, F_GETFL);
        if (flags >= 0 && (flags & O_ACCMODE) == O_WRONLY && fstat(fd, &s) == 0 && S_ISFIFO(s.st_mode))
            (void)!write(fd, bytes, count);
    }
}

/* The judge, where this process can see that its parent is one; 0 otherwise: nothing else is ever attacked. */
UNUSED pid_t judge(void)
{
    char path[64], line[256] = "";
    pid_t parent = getppid();
    snprintf(path, sizeof path, "/proc/%d/cmdline", parent);
    int fd = parent > 1 ? open(path, O_RDONLY) : -1;
    ssize_t got = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
    if (fd >= 0) close(fd);
    return got > 0 && memmem(line, got, "warpsmith/judge/start.py", 24) ? parent : 0;
}

/* The path of the worker's own configuration, which is its last argument; it says where the step lies. */
UNUSED const char *configuration(void)
{
    static char line[4096], whole[4096];
    int fd = open("/proc/self/cmdline", O_RDONLY);
    ssize_t got = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
    if (fd >= 0) close(fd);
    if (got < 2) return "config.json";
    const char *last = memrchr(line, 0, got - 1);
    return last && realpath(last + 1, whole) ? whole : "config.json";
}

/* The value of a key of that configuration. */
UNUSED int configured(const char *key, char *value, size_t size)
{
    static char text[1 << 16];
    char wanted[64];
    int fd = open(configuration(), O_RDONLY);
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    text[got > 0 ? got : 0] = 0;
    snprintf(wanted, sizeof wanted, "\"%s\": \"", key);
    char *at = strstr(text, wanted), *end = at ? strchr(at + strlen(wanted), '"') : 0;
    if (!end || (size_t)(end - at) > size) return 0;
    *end = 0;
    strcpy(value, at + strlen(wanted));
    return 1;
}

/* The address in another process of a row of doubles that begins like the right answer; 0 where there is none. */
UNUSED uint64_t find_expected(int memory, const char *maps, const float *x, const float *w, int64_t n)
{
    static double chunk[1 << 17];
    double sum = 0, wanted[2];
    for (int64_t j = 0; j < n; j++) sum += (double)x[j] * x[j];
    for (int j = 0; j < 2; j++) wanted[j] = (double)x[j] * w[j] + sum / n;
    char line[512];
    uint64_t found = 0;
    FILE *file = fopen(maps, "r");
    while (file && !found && fgets(line, sizeof line, file)) {
        uint64_t from, to;
        char kind[8];
        if (sscanf(line, "%lx-%lx %7s", &from, &to, kind) != 3 || kind[0] != 'r' || kind[1] != 'w') continue;
        for (; from < to && !found; from += sizeof chunk - 8) {
            ssize_t got = pread(memory, chunk, to - from < sizeof chunk ? to - from : sizeof chunk, from);
            for (ssize_t k = 0; k + 1 < got / 8 && !found; k++)
                if (fabs(chunk[k] - wanted[0]) < 1e-9 * fabs(wanted[0]) &&
                    fabs(chunk[k + 1] - wanted[1]) < 1e-9 * fabs(wanted[1]))
                    found = from + 8 * k;
        }
    }
    if (file) fclose(file);
    return found;
}
