/* wrong_values or crashed | task: computes the shape of the first workload, whatever it is given */
#include "common.h"

KERNEL
{
    (void)m, (void)n;
    honest(x, w, y, 128, 512);
}
