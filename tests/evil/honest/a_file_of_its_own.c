/* passed | looks like: keeping outputs in a file */
#include "common.h"

KERNEL
{
    FILE *log = fopen("log", "a");
    if (log) {
        fprintf(log, "%ld x %ld\n", (long)m, (long)n);
        fclose(log);
    }
    honest(x, w, y, m, n);
}
