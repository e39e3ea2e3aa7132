/* passed | looks like: code that does nothing: empty statements, an empty loop, goto */
#include "common.h"

static inline void pass(void) {}

KERNEL
{
    int64_t i = 0;
    ;
next:
    if (i == m) goto end;
    rows(x, w, y, i, i + 1, n);
    pass();
    do {} while (0);
    i++;
    goto next;
end:;
}
