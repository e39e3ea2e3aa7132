/* A management library that tells of the machine which the file named by FAKE_MACHINE describes: a line per GPU,
 * "gpu|UUID|name|total|free|mode|pid,pid", and behind it one per slice, "slice|UUID|name|total|free||pid". Mode 0: it
 * could be divided, 1: it is, -: it cannot. A GPU without a UUID does not answer. "pid=bytes" says how much a process
 * holds, "pid=?" that this is not told; "?" for the processes that nobody may know them. What the file says of memory
 * and processes is read anew with each question.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15, MOST = 64 };

typedef struct {
    int slice;
    char uuid[96], name[96], mode;
    unsigned long long total, free;
    unsigned pids[MOST], count;
    unsigned long long held[MOST];
    int hidden;
} device;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned pid; unsigned long long bytes; unsigned instance, compute_instance; } process;

static device devices[MOST];
static int known;

static void read_line(char *line) {
    device *d = &devices[known++];
    char *fields[7] = {0};
    for (int i = 0; i < 7; i++) fields[i] = strsep(&line, "|\n");
    d->slice = strcmp(fields[0], "slice") == 0;
    snprintf(d->uuid, 96, "%s", fields[1]);
    snprintf(d->name, 96, "%s", fields[2]);
    d->total = strtoull(fields[3], NULL, 10);
    d->free = strtoull(fields[4], NULL, 10);
    d->mode = fields[5][0];
    if (fields[6] && fields[6][0] == '?') { d->hidden = 1; return; }
    for (char *pid; fields[6] && (pid = strsep(&fields[6], ",")) && *pid;) {
        char *held = strchr(pid, '=');
        d->held[d->count] = !held ? 1 << 30 : held[1] == '?' ? ~0ull : strtoull(held + 1, NULL, 10);
        d->pids[d->count++] = strtoul(pid, NULL, 10);
    }
}

static int read_file(void) {
    FILE *file = fopen(getenv("FAKE_MACHINE"), "r");
    char line[512];
    if (!file) return 9;
    for (known = 0, memset(devices, 0, sizeof devices); fgets(line, sizeof line, file);) read_line(line);
    fclose(file);
    return OK;
}

int nvmlInit_v2(void) { return read_file(); }

int nvmlShutdown(void) { return OK; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = 0;
    for (int i = 0; i < known; i++) *count += !devices[i].slice;
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **found) {
    for (device *d = devices; d < devices + known; d++)
        if (!d->slice && index-- == 0) return *found = d, d->uuid[0] ? OK : GPU_IS_LOST;
    return NOT_FOUND;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, device **found) {
    for (device *d = devices; d < devices + known; d++)
        if (strcmp(d->uuid, uuid) == 0) return *found = d, OK;
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(device *d, char *said, unsigned room) { return snprintf(said, room, "%s", d->uuid), OK; }
int nvmlDeviceGetName(device *d, char *said, unsigned room) { return snprintf(said, room, "%s", d->name), OK; }

int nvmlDeviceGetMemoryInfo(device *d, memory *said) {
    if (read_file()) return NOT_FOUND;
    if (d->hidden && !d->free) return NOT_SUPPORTED;
    *said = (memory){d->total, d->free, d->total - d->free};
    return OK;
}

int nvmlDeviceGetMigMode(device *d, unsigned *now, unsigned *pending) {
    *now = *pending = d->mode == '1';
    return d->mode == '-' ? NOT_SUPPORTED : OK;
}

int nvmlDeviceGetMaxMigDeviceCount(device *d, unsigned *count) { return (void)d, *count = 7, OK; }

int nvmlDeviceGetMigDeviceHandleByIndex(device *d, unsigned index, device **found) {
    *found = d + 1 + index;
    return *found < devices + known && (*found)->slice ? OK : NOT_FOUND;
}

int nvmlDeviceGetComputeRunningProcesses_v3(device *d, unsigned *count, process *found) {
    unsigned room = *count;
    if (read_file()) return NOT_FOUND;
    if (d->hidden) return NOT_SUPPORTED;
    *count = d->count;
    if (room < d->count) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < d->count; i++) found[i] = (process){d->pids[i], d->held[i], ~0u, ~0u};
    return OK;
}
