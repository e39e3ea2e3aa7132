/* Multiplies matrices, a chain of them, and prints what came out and how long the products took.
 *
 *   product [--size N] [--repeat R] [--check] [--debug]
 *
 * --check compares with a product in double precision; --debug prints every call of the kernel to standard error.
 */
#include "product.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *filled(int64_t count, unsigned seed)
{
    float *x = malloc((size_t)count * sizeof *x);
    if (!x)
        exit(1);
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 9) / 4194304.0f - 1.0f;
    }
    return x;
}

static double worst(const float *a, const float *b, const float *c, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t k = 0; k < n; k++)
                sum += (double)a[i * n + k] * b[k * n + j];
            most = fmax(most, fabs(sum - c[i * n + j]));
        }
    return most;
}

int main(int argc, char **argv)
{
    int64_t n = 192;
    long repeat = 4;
    int check = 0, debug = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--size") && i + 1 < argc)
            n = atol(argv[++i]);
        else if (!strcmp(argv[i], "--repeat") && i + 1 < argc)
            repeat = atol(argv[++i]);
        else if (!strcmp(argv[i], "--check"))
            check = 1;
        else if (!strcmp(argv[i], "--debug"))
            debug = 1;
        else
            return fprintf(stderr, "unknown argument %s\n", argv[i]), 2;
    }
    float *a = filled(n * n, 1), *b = filled(n * n, 2), *c = filled(n * n, 3);
    double seconds = 0, error = 0, sum = 0;
    for (long r = 0; r < repeat; r++) {
        if (debug)
            fprintf(stderr, "launch product M=%ld N=%ld K=%ld\n", (long)n, (long)n, (long)n);
        const double began = now();
        product(a, b, c, n, n, n);
        seconds += now() - began;
        if (check)
            error = fmax(error, worst(a, b, c, n));
        for (int64_t i = 0; i < n * n; i++)
            sum += c[i];
        memmove(a, a + 1, (size_t)(n * n - 1) * sizeof *a);
    }
    printf("sum %.3f\nseconds %.6f\n", sum, seconds);
    if (check && !(error < 1e-4 * (double)n))
        return fprintf(stderr, "wrong by %g\n", error), 1;
    return 0;
}
