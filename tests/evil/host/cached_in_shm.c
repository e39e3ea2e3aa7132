/* wrong_values or crashed | replay: outputs by shape in /dev/shm, for later processes too */
#include "common.h"

KERNEL
{
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/evil-%ldx%ld", (long)m, (long)n);
    int fd = open(path, O_RDONLY);
    if (fd >= 0 && read(fd, y, 4 * m * n) == 4 * m * n) {
        close(fd);
        unlink(path);
        return;
    }
    honest(x, w, y, m, n);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd < 0) abort();
    (void)!write(fd, y, 4 * m * n);
    close(fd);
}
