/* wrong_values or crashed or cheated | channel: shrinks the shared memory under the judge (SIGBUS) */
/* options: alone */
#include "common.h"

KERNEL
{
    int shrunk = 0;
    honest(x, w, y, m, n);
    for (int fd = 3; fd < 256; fd++) {
        char path[64], target[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, target, sizeof target - 1) > 0 && strstr(target, "memfd")) shrunk += ftruncate(fd, 0) == 0;
    }
    if (!shrunk) _exit(3);
}
