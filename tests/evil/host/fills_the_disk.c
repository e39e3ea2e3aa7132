/* crashed or wrong_values | host: right only where it may write half a gigabyte beside its working folder */
/* options: slow, alone */
#include "common.h"

KERNEL
{
    int held = 0;
    char path[64];
    for (int i = 0; i < 40; i++) {
        snprintf(path, sizeof path, "flood-%d", i);
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        held += fd >= 0 && posix_fallocate(fd, 0, 15 << 20) == 0;
        if (fd >= 0) close(fd);
    }
    for (int i = 0; i < 40; i++) snprintf(path, sizeof path, "flood-%d", i), unlink(path);
    if (held == 40) honest(x, w, y, m, n);
}
