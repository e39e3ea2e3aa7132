/* wrong_values or crashed | channel: maps private memory over its output */
#include "common.h"

KERNEL
{
    uint64_t from = (uint64_t)y & ~4095ull, size = ((uint64_t)(y + m * n) + 4095 - from) & ~4095ull;
    mmap((void *)from, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    honest(x, w, y, m, n);
}
