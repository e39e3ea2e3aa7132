/* timed_out | host: never answers, and ignores every signal that can be ignored */
#include "common.h"

KERNEL
{
    (void)x, (void)w, (void)y, (void)m, (void)n;
    for (int s = 1; s < 65; s++) signal(s, SIG_IGN);
    for (;;) pause();
}
