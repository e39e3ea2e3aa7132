/* passed-not-faster or crashed or wrong_values | host: leaves a process of its own session behind */
/* options: alone */
#include "common.h"

KERNEL
{
    static int left;
    honest(x, w, y, m, n);
    if (!left++ && !escape("evil-daemon"))
        for (;;) pause();
}
