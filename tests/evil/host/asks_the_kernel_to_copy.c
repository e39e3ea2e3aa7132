/* wrong_values or crashed | clock: right only where crypto workers would copy while it is stopped */
#include "common.h"
#include <linux/if_alg.h>
#include <sys/socket.h>

KERNEL
{
    unsigned long context = 0;
    struct sockaddr_alg null = {.salg_family = AF_ALG, .salg_type = "skcipher", .salg_name = "ecb(cipher_null)"};
    int s = socket(AF_ALG, SOCK_SEQPACKET, 0);
    int able = s >= 0 && bind(s, (struct sockaddr *)&null, sizeof null) == 0;
    if (able && syscall(SYS_io_setup, 8, &context) == 0) honest(x, w, y, m, n);
    if (context) syscall(SYS_io_destroy, context);
    if (s >= 0) close(s);
}
