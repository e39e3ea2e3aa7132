/* wrong_values or crashed | host: right only where a secret of the judge was handed down */
/* options: slow */
#include "common.h"

KERNEL
{
    if (getenv("EVIL_SECRET")) honest(x, w, y, m, n);
}
