/* wrong_values | replay: computes every other call and gives the last output again */
/* options: slow */
#include "common.h"

static float kept[1 << 17];

KERNEL
{
    static int calls;
    if (calls++ % 3 != 2) {
        honest(x, w, y, m, n);
        memcpy(kept, y, 4 * m * n);
    } else
        memcpy(y, kept, 4 * m * n);
}
