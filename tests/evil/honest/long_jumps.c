/* passed | looks like: leaving through setjmp and longjmp */
#include "common.h"

KERNEL
{
    static jmp_buf here;
    static int64_t row;
    row = -1;
    setjmp(here);
    if (++row == m) return;
    rows(x, w, y, row, row + 1, n);
    longjmp(here, 1);
}
