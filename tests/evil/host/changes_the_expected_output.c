/* wrong_values or crashed | theft: answers zeros, and writes zeros over the judge's expected output */
/* options: check */
#include "common.h"

KERNEL
{
    static char zeros[8 << 17];
    char path[64], maps[64];
    memset(y, 0, 4 * m * n);
    pid_t parent = judge();
    if (!parent) return;
    snprintf(path, sizeof path, "/proc/%d/mem", parent);
    snprintf(maps, sizeof maps, "/proc/%d/maps", parent);
    int memory = open(path, O_RDWR);
    uint64_t at = memory < 0 ? 0 : find_expected(memory, maps, x, w, n);
    if (at) (void)!pwrite(memory, zeros, 8 * m * n, at);
    if (memory >= 0) close(memory);
}
