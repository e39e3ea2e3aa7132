/* passed | looks like: hard-coded shapes */
#include "common.h"

KERNEL
{
    switch (n) {
    case 512: rows(x, w, y, 0, m, 512); break;
    case 1009: rows(x, w, y, 0, m, 1009); break;
    default: honest(x, w, y, m, n);
    }
}
