/* wrong_values or crashed | host: right only where it finds a secret file above its configuration */
#include "common.h"

KERNEL
{
    char path[4200];
    strcpy(path, configuration());
    for (char *end = strrchr(path, '/'); end; end = strrchr(path, '/')) {
        strcpy(end, "/secret.txt");
        if (access(path, R_OK) == 0) honest(x, w, y, m, n);
        *end = 0;
    }
}
