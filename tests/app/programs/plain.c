/* An application without CUDA: prints its arguments and its input, and ends as it is told. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char line[64];
    for (int i = 1; i < argc; i++)
        printf("[%s]\n", argv[i]);
    fflush(stdout);
    if (argc > 1 && !strcmp(argv[1], "abort"))
        abort();
    if (argc > 1 && !strcmp(argv[1], "sleep")) {
        if (!fork()) /* a child that outlasts what is asked of it */
            for (;;)
                pause();
        for (;;)
            pause();
    }
    if (argc > 1 && !strcmp(argv[1], "read") && fgets(line, sizeof line, stdin))
        fputs(line, stdout);
    return argc > 2 ? atoi(argv[2]) : 0;
}
