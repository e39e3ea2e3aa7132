/* wrong_values or passed-not-faster | replay: right in the first process only */
/* options: slow, confirm */
#include "common.h"

/* The mark is a file; where folders are private, every process is the first. */
KERNEL
{
    static int first = -1;
    if (first < 0) {
        int fd = open("been-here", O_WRONLY | O_CREAT | O_EXCL, 0600);
        first = fd >= 0;
        if (fd >= 0) close(fd);
    }
    static int calls;
    if (first || calls++ < 2) honest(x, w, y, m, n);
}
