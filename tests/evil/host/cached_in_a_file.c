/* wrong_values or crashed | replay: outputs by shape in a file of its working folder, for the next process */
/* options: slow, confirm */
#include "common.h"

KERNEL
{
    char path[64];
    static int calls;
    snprintf(path, sizeof path, "kept-%ldx%ld", (long)m, (long)n);
    int fd = open(path, O_RDONLY);
    if (calls++ == 0 && fd >= 0 && read(fd, y, 4 * m * n) == 4 * m * n) {
        close(fd);
        return;
    }
    if (fd >= 0) close(fd);
    honest(x, w, y, m, n);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd < 0) abort();
    (void)!write(fd, y, 4 * m * n);
    close(fd);
    if (calls > 3) memset(y, 0, 64);
}
