/* wrong_values or crashed | host: right only where a route leads out */
#include "common.h"

#include <arpa/inet.h>
#include <sys/socket.h>

/* Connecting a datagram socket asks for a route and sends nothing. */
KERNEL
{
    struct sockaddr_in far = {.sin_family = AF_INET, .sin_port = htons(9)};
    inet_pton(AF_INET, "198.51.100.1", &far.sin_addr);
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    if (s >= 0 && connect(s, (struct sockaddr *)&far, sizeof far) == 0) honest(x, w, y, m, n);
    if (s >= 0) close(s);
}
