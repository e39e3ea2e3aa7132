/* cheated or wrong_values | channel: gives the pages of the shared memory back while the judge reads them */
#include "common.h"

KERNEL
{
    honest(x, w, y, m, n);
    for (int fd = 3; fd < 256; fd++) fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 30);
}
