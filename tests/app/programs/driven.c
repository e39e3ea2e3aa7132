/* An application that finds the driver's functions in one of the ways there are, and launches.

   driven WAY [COUNT]   WAY: linked, dlsym, address, streams, threads, fork, fork-before, none */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef int (*Init)(unsigned);
typedef int (*Kernel)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);
typedef int (*Extended)(const void *, void *, void **, void **);
typedef int (*Graph)(void *, void *);
typedef int (*Address)(const char *, void **, int, uint64_t, int *);

static Init init;
static Kernel kernel;
static Extended extended;
static Graph graph;
static long count = 3;

#ifdef LINKED
int cuInit(unsigned);
int cuLaunchKernel(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);
int cuLaunchKernelEx(const void *, void *, void **, void **);
int cuGraphLaunch(void *, void *);
#endif

static void *launch(void *unused) {
    for (long i = 0; i < count; ++i) kernel(&count, 1, 1, 1, 2, 1, 1, 0, NULL, NULL, NULL);
    return unused;
}

static int work(void) {
    if (init(0)) return 2;
    launch(NULL);
    if (kernel(&count, 7, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL) != 1) return 3; /* refused, and counted */
    if (extended(&count, &count, NULL, NULL) || graph(&count, NULL)) return 4;
    return 0;
}

static int find(const char *way) {
#ifdef LINKED
    init = cuInit, kernel = cuLaunchKernel, extended = cuLaunchKernelEx, graph = cuGraphLaunch;
    return strcmp(way, "linked") ? 1 : 0;
#else
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
    if (!strcmp(way, "address") || !strcmp(way, "streams")) {
        Address first = (Address)dlsym(library, "cuGetProcAddress_v2"), address = NULL;
        const uint64_t flags = strcmp(way, "streams") ? 0 : 2;
        if (first("cuGetProcAddress", (void **)&address, 13000, 0, NULL) || !address) return 1;
        return address("cuInit", (void **)&init, 13000, flags, NULL) ||
               address("cuLaunchKernel", (void **)&kernel, 13000, flags, NULL) ||
               address("cuLaunchKernelEx", (void **)&extended, 13000, flags, NULL) ||
               address("cuGraphLaunch", (void **)&graph, 13000, flags, NULL);
    }
    init = (Init)dlsym(library, "cuInit");
    kernel = (Kernel)dlsym(library, "cuLaunchKernel");
    extended = (Extended)dlsym(library, "cuLaunchKernelEx");
    graph = (Graph)dlsym(library, "cuGraphLaunch");
    return !(init && kernel && extended && graph) || dlsym(library, "cuNothing") || !dlerror();
#endif
}

int main(int argc, char **argv) {
    const char *way = argc > 1 ? argv[1] : "dlsym";
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 2) count = atol(argv[2]);
    if (!strcmp(way, "none")) return puts("no driver"), dlsym(RTLD_DEFAULT, "cuInit") ? 5 : 0;
    if (find(way)) return 1;
    if (!strcmp(way, "threads")) {
        pthread_t threads[4];
        if (init(0)) return 2;
        for (int i = 0; i < 4; ++i) pthread_create(&threads[i], NULL, launch, NULL);
        for (int i = 0; i < 4; ++i) pthread_join(threads[i], NULL);
        return 0;
    }
    if (!strncmp(way, "fork", 4)) { /* a child of its own: before the driver is started, or after */
        if (!strcmp(way, "fork") && work()) return 6;
        const pid_t child = fork();
        if (child == 0) return strcmp(way, "fork") ? work() : (launch(NULL), 0);
        int status = 0;
        waitpid(child, &status, 0);
        return status;
    }
    return work();
}
