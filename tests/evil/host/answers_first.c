/* wrong_values or nondeterministic or cheated | channel: writes the answer into the pipe before it computes */
#include "common.h"

KERNEL
{
    answer(1);
    usleep(3000);
    honest(x, w, y, m, n);
}
