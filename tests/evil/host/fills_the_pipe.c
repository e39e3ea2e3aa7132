/* wrong_values or nondeterministic or cheated | channel: fills the pipe with answers to all later calls */
#include "common.h"

KERNEL
{
    static int filled;
    if (!filled++) {
        honest(x, w, y, m, n);
        answer(200);
        return;
    }
    usleep(1000);
    honest(x, w, y, m, n);
}
