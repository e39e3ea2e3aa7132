/* wrong_values | task: writes nothing */
#include "common.h"

KERNEL { (void)x, (void)w, (void)y, (void)m, (void)n; }
