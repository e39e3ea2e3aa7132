/* wrong_values or crashed | clock: right only where io_uring would work on while it is stopped */
#include "common.h"

KERNEL
{
    char parameters[256] = {0};
    int ring = (int)syscall(SYS_io_uring_setup, 8, parameters);
    if (ring >= 0) honest(x, w, y, m, n), close(ring);
}
