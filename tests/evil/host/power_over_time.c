/* wrong_values or crashed | clock: right only where it could slow the machine's clock (adjtimex) */
#include "common.h"

/* It looks for the power and does not use it: the clock belongs to others too. */
KERNEL
{
    struct { uint32_t version; int pid; } head = {0x20080522, 0};
    struct { uint32_t effective, permitted, inheritable; } data[2] = {{0, 0, 0}, {0, 0, 0}};
    syscall(SYS_capget, &head, data);
    if (data[0].effective >> 25 & 1) honest(x, w, y, m, n);
}
