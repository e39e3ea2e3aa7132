/* build_failed | host: a macro of the assembler that calls itself twice, sixty levels deep */
/* options: slow, alone, patient */
#include "common.h"

__asm__(".macro again n\n.if \\n\nagain \\n-1\nagain \\n-1\n.endif\n.endm\nagain 60\n");
KERNEL { honest(x, w, y, m, n); }
