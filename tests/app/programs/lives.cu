// One launch, and then the end that the first argument names; the log of it must be usable in every case.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

__global__ void mark(int *at, int value) { *at = value; }

static int *at;

static void launch(int value) {
    mark<<<1, 1>>>(at, value);
    if (cudaDeviceSynchronize() != cudaSuccess) std::exit(9);
}

int main(int argc, char **argv) {
    const char *end = argc > 1 ? argv[1] : "return";
    if (std::strcmp(end, "fork-before") == 0) {  // the child is the one that uses the device
        const pid_t child = fork();
        int status = 0;
        if (child != 0) return waitpid(child, &status, 0) == child ? WEXITSTATUS(status) : 8;
    }
    if (cudaMalloc(&at, sizeof *at) != cudaSuccess) return 7;
    launch(1);
    std::printf("launched\n");
    std::fflush(stdout);
    if (std::strcmp(end, "_exit") == 0) _exit(3);
    if (std::strcmp(end, "abort") == 0) abort();
    if (std::strcmp(end, "kill") == 0) raise(SIGKILL);
    if (std::strcmp(end, "segv") == 0) raise(SIGSEGV);
    if (std::strcmp(end, "slow_exit") == 0) {
        usleep(400000);
        _exit(5);
    }
    if (std::strcmp(end, "fork") == 0) {
        const pid_t child = fork();
        if (child == 0) std::exit(11);
        int status = 0;
        waitpid(child, &status, 0);
        launch(2);
        return WEXITSTATUS(status);
    }
    if (std::strcmp(end, "exec") == 0) {
        execl("/proc/self/exe", argv[0], "return", (char *)nullptr);
        return 6;
    }
    return std::strcmp(end, "fork-before") == 0 ? 4 : 0;
}
