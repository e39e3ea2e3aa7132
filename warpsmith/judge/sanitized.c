/* The worker of the host contract under AddressSanitizer and UndefinedBehaviorSanitizer: the same calls on the same
 * shared memory, but the candidate is given copies. Each tensor is a block of exactly its size between red zones, since
 * a sanitizer does not see where a tensor ends inside of a shared mapping.
 *
 *     sanitized CONFIG    lines: candidate, its entry, the serving library; then numbers, see read_config
 *
 * A command is the number of a workload, answered by a D as ever; PLANT makes one mistake of each kind in here, by which
 * the judge knows that the sanitizers were at work in this very process. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PLANT = 255, UNUSABLE = 3 };
struct argument { char kind; size_t at, bytes; uint64_t value; }; /* i: input, o: output, v: a value */
struct workload { unsigned char *memory; struct argument *arguments; };

static void (*once)(void *entry, const void *call);
static const size_t *fields, *call_bytes;
static size_t alignment, count;
static void *entry;

static void give_up(const char *what)
{
    fprintf(stderr, "unusable: %s: %s\n", what, dlerror() ?: "");
    _exit(UNUSABLE);
}

static void *block(size_t bytes)
{
    void *made = 0;
    if (posix_memalign(&made, alignment < sizeof(void *) ? sizeof(void *) : alignment, bytes) != 0)
        give_up("no memory for a tensor");
    return made;
}

static void call(const struct workload *w)
{
    unsigned char *frame = calloc(1, *call_bytes);
    void **copies = calloc(count, sizeof *copies);
    for (size_t i = 0; i < count; i++) {
        const struct argument *a = w->arguments + i;
        if (a->kind == 'v') {
            memcpy(frame + fields[i], &a->value, a->bytes);
            continue;
        }
        copies[i] = block(a->bytes);
        memcpy(copies[i], w->memory + a->at, a->bytes);
        memcpy(frame + fields[i], copies + i, sizeof copies[i]);
    }
    once(entry, frame);
    for (size_t i = 0; i < count; i++) {
        const struct argument *a = w->arguments + i;
        if (a->kind == 'o')
            memcpy(w->memory + a->at, copies[i], a->bytes);
        free(copies[i]);
    }
    free(copies);
    free(frame);
}

static __attribute__((noinline)) int planted_overflow(volatile int most)
{
    return most + 1;
}

static __attribute__((noinline)) int planted_over_read(const volatile int *block, size_t n)
{
    return block[n];
}

static void plant(void)
{
    int *block = malloc(sizeof *block);
    *block = planted_overflow(INT_MAX);
    *block = planted_over_read(block, 1);
    _exit(UNUSABLE); /* not reached where AddressSanitizer is at work */
}

static void *library(FILE *config, const char *what)
{
    char path[PATH_MAX];
    if (!fgets(path, sizeof path, config))
        give_up(what);
    path[strcspn(path, "\n")] = 0;
    void *made = dlopen(path, RTLD_NOW);
    if (!made)
        give_up(what);
    return made;
}

/* commands, answers, alignment, workloads, arguments; then for each workload the descriptor and size of its memory, and
 * for each argument a kind, an offset, a size and a value of so many bytes. */
static struct workload *read_config(FILE *config, int *commands, int *answers)
{
    size_t workloads, size;
    int descriptor;
    if (fscanf(config, "%d %d %zu %zu %zu", commands, answers, &alignment, &workloads, &count) != 5)
        give_up("the configuration");
    struct workload *made = calloc(workloads, sizeof *made);
    for (size_t w = 0; w < workloads; w++) {
        if (fscanf(config, "%d %zu", &descriptor, &size) != 2)
            give_up("a workload");
        made[w].memory = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
        made[w].arguments = calloc(count, sizeof *made[w].arguments);
        if (made[w].memory == MAP_FAILED)
            give_up("the shared memory");
        for (size_t i = 0; i < count; i++) {
            struct argument *a = made[w].arguments + i;
            if (fscanf(config, " %c %zu %zu %" SCNx64, &a->kind, &a->at, &a->bytes, &a->value) != 4)
                give_up("an argument");
        }
    }
    return made;
}

int main(int argc, char **argv)
{
    FILE *config = argc == 2 ? fopen(argv[1], "r") : 0;
    int commands, answers;
    char name[256];
    if (!config)
        give_up("no configuration");
    void *candidate = library(config, "the candidate");
    if (!fgets(name, sizeof name, config))
        give_up("no entry");
    name[strcspn(name, "\n")] = 0;
    void *served = library(config, "the serving library");
    entry = dlsym(candidate, name);
    once = (void (*)(void *, const void *))dlsym(served, "once");
    fields = dlsym(served, "fields");
    call_bytes = dlsym(served, "call_bytes");
    if (!entry || !once || !fields || !call_bytes)
        give_up("a symbol");
    const struct workload *workloads = read_config(config, &commands, &answers);
    fclose(config);
    unsigned char which;
    if (write(answers, "R", 1) != 1)
        return UNUSABLE;
    while (read(commands, &which, 1) == 1) {
        if (which == PLANT)
            plant();
        call(workloads + which);
        if (write(answers, "D", 1) != 1)
            return UNUSABLE;
    }
    _exit(0);
}
