/* A stand-in for the CUDA driver's library: it starts, says what a launch was given, and finds its own functions. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int started;

int cuInit(unsigned flags) { return flags ? 1 : (started = 1, 0); }
int cuDriverGetVersion(int *version) { return *version = 13000, 0; }

static int launch(const char *name, unsigned sum) {
    if (!started) return 3;
    printf("%s %u\n", name, sum);
    return sum == 13 ? 1 : 0;
}

#define KERNEL(name)                                                                                             \
    int name(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, \
             void *stream, void **values, void **extra) {                                                        \
        return launch(#name, !!f + gx + gy + gz + bx + by + bz + shared + (stream || values || extra));          \
    }
KERNEL(cuLaunchKernel)
KERNEL(cuLaunchKernel_ptsz)

int cuLaunchKernelEx(const void *config, void *f, void **values, void **extra) {
    return launch("cuLaunchKernelEx", !!config + !!f + !!values + !!extra);
}
int cuLaunchCooperativeKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                              unsigned shared, void *stream, void **values) {
    return launch("cuLaunchCooperativeKernel", !!f + gx + gy + gz + bx + by + bz + shared + (stream || values));
}
int cuGraphLaunch(void *graph, void *stream) { return launch("cuGraphLaunch", !!graph + !!stream); }

int cuGetProcAddress_v2(const char *symbol, void **found, int version, uint64_t flags, int *status);

static int found_by(const char *symbol, void **found, int version, uint64_t flags) {
    *found = NULL;
    if (!strcmp(symbol, "cuInit")) *found = cuInit;
    if (!strcmp(symbol, "cuLaunchKernel")) *found = flags & 2 ? cuLaunchKernel_ptsz : cuLaunchKernel;
    if (!strcmp(symbol, "cuLaunchKernelEx")) *found = cuLaunchKernelEx;
    if (!strcmp(symbol, "cuGraphLaunch")) *found = cuGraphLaunch;
    if (!strcmp(symbol, "cuDriverGetVersion")) *found = cuDriverGetVersion;
    if (!strcmp(symbol, "cuGetProcAddress") && version >= 12000) *found = cuGetProcAddress_v2;
    return *found ? 0 : 500;
}
int cuGetProcAddress_v2(const char *symbol, void **found, int version, uint64_t flags, int *status) {
    const int result = found_by(symbol, found, version, flags);
    if (status) *status = result != 0;
    return result;
}
int cuGetProcAddress(const char *symbol, void **found, int version, uint64_t flags) {
    return found_by(symbol, found, version, flags);
}
