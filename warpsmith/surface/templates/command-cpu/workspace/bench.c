// The harness: no candidate can change it. Times transpose() and prints one JSON document.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void transpose(const float *x, float *y, long n, long block);

enum { ROUNDS = 15 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    const char *said = getenv("BLOCK");
    long n = argc > 1 ? atol(argv[1]) : 0, block = said ? atol(said) : 0;
    if (n < 1 || block < 1) {
        fprintf(stderr, "usage: BLOCK=64 %s N\n", argv[0]);
        return 2;
    }
    float *x = malloc(n * n * sizeof *x), *y = malloc(n * n * sizeof *y);
    double seconds[ROUNDS];
    long wrong = 0;
    if (!x || !y) return 3;
    for (int round = 0; round < ROUNDS; round++) {
        unsigned state = 12345u + round;  // other contents each time: what is kept from a round is wrong in the next
        for (long i = 0; i < n * n; i++) {
            state = state * 1664525u + 1013904223u;
            x[i] = state >> 8;
            y[i] = -1;
        }
        double begin = now();
        transpose(x, y, n, block);
        seconds[round] = now() - begin;
        for (long i = 0; i < n; i++)
            for (long j = 0; j < n; j++) wrong += y[j * n + i] != x[i * n + j];
    }
    qsort(seconds, ROUNDS, sizeof *seconds, by_size);
    double median = seconds[ROUNDS / 2];
    printf("transposed %ld x %ld in tiles of %ld\n", n, n, block);
    printf("{\"gb_s\": %.6f, \"median\": {\"seconds\": %.9f}, \"wrong\": %ld}\n", 8e-9 * n * n / median, median, wrong);
    return 0;
}
