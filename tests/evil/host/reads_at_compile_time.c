/* build_failed | host: has the assembler include the reference */
#include "common.h"

__asm__(".section .rodata\nstolen: .incbin \"../task/reference.py\"\n.byte 0\n.previous\n");
KERNEL { honest(x, w, y, m, n); }
