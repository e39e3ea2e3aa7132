/* wrong_values | theft: looks for the expected output in its own address space */
/* options: check */
#include "common.h"

KERNEL
{
    double row[1024];
    int memory = open("/proc/self/mem", O_RDONLY);
    uint64_t at = memory < 0 ? 0 : find_expected(memory, "/proc/self/maps", x, w, n);
    for (int64_t i = 0; at && i < m; i++)
        if (pread(memory, row, 8 * n, at + 8 * n * i) == 8 * n)
            for (int64_t j = 0; j < n; j++) y[i * n + j] = (float)row[j];
    if (memory >= 0) close(memory);
}
