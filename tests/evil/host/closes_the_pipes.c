/* crashed | channel: closes every descriptor */
#include "common.h"

KERNEL
{
    honest(x, w, y, m, n);
    for (int fd = 3; fd < 1024; fd++) close(fd);
}
