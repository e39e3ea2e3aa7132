/* wrong_values or crashed | host: right only where it finds a secret in its parent's environment */
#include "common.h"

KERNEL
{
    static char text[1 << 18];
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", getppid());
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (got > 0 && memmem(text, got, "EVIL_SECRET=", 12)) honest(x, w, y, m, n);
}
