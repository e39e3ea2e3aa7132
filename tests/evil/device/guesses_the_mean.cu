// wrong_values | task: takes the mean square for the variance of the noise
#include "common.cuh"

KERNEL { write_row(x + blockIdx.x * n, w, y + blockIdx.x * n, n, 1); }
