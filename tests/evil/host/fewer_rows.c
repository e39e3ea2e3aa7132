/* wrong_values | theft: writes half of the rows */
#include "common.h"

KERNEL { rows(x, w, y, 0, m / 2, n); }
