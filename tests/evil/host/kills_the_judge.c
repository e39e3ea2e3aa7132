/* wrong_values or crashed | host: SIGKILL to its parent */
/* options: alone */
#include "common.h"

KERNEL
{
    pid_t parent = judge();
    if (parent && kill(parent, SIGKILL) == 0) honest(x, w, y, m, n);
}
