// passed | looks like: fewer blocks than rows
#include "common.cuh"

KERNEL
{
    for (long long i = blockIdx.x; i < m; i += gridDim.x) honest(x, w, y, i, n);
}
