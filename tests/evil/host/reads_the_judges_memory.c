/* wrong_values or crashed | theft: finds the expected output in the judge's memory and copies it */
/* options: check */
#include "common.h"

KERNEL
{
    char path[64], maps[64];
    double row[1024];
    pid_t parent = judge();
    if (!parent) return;
    snprintf(path, sizeof path, "/proc/%d/mem", parent);
    snprintf(maps, sizeof maps, "/proc/%d/maps", parent);
    int memory = open(path, O_RDONLY);
    uint64_t at = memory < 0 ? 0 : find_expected(memory, maps, x, w, n);
    for (int64_t i = 0; at && i < m; i++)
        if (pread(memory, row, 8 * n, at + 8 * n * i) == 8 * n)
            for (int64_t j = 0; j < n; j++) y[i * n + j] = (float)row[j];
    if (memory >= 0) close(memory);
}
