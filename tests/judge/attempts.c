/* Everything that a candidate might try from inside the sandbox: y[i] = 1 where attempt i worked, 0 where not.
 * The names in upper case are put in by the test. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int reads(const char *path)
{
    char byte;
    int file = open(path, O_RDONLY);
    int got = file >= 0 && read(file, &byte, 1) == 1;
    if (file >= 0)
        close(file);
    return got;
}

static int writes(const char *path)
{
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int put = file >= 0 && write(file, "x", 1) == 1;
    if (file >= 0)
        close(file);
    return put;
}

static int connects(int kind, const char *address, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address, &to.sin_addr);
    int s = socket(AF_INET, kind, 0);
    int done = s >= 0 && connect(s, (struct sockaddr *)&to, sizeof to) == 0 && send(s, "x", 1, 0) == 1;
    if (s >= 0)
        close(s);
    return done;
}

static int connects_unix(const char *name)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path + 1, name, strlen(name));
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    int done = s >= 0 && connect(s, (struct sockaddr *)&to, sizeof(sa_family_t) + 1 + strlen(name)) == 0;
    if (s >= 0)
        close(s);
    return done;
}

static int resolves(void)
{
    struct addrinfo *found;
    return getaddrinfo("example.com", "80", NULL, &found) == 0;
}

static int peeks(pid_t process)
{
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)0x400000, 1};
    return process_vm_readv(process, &here, 1, &there, 1, 0) == 1 || errno == EFAULT;
}

static int truncates(void)
{
    int done = 0;
    struct stat said;
    for (int file = 3; file < 64; file++)
        if (fstat(file, &said) == 0 && S_ISREG(said.st_mode) && said.st_size > 0)
            done += ftruncate(file, 0) == 0 || ftruncate(file, said.st_size * 2) == 0;
    return done > 0;
}

static int sees_processes(void)
{
    int count = 0;
    DIR *folder = opendir("/proc");
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        count += entry->d_name[0] >= '0' && entry->d_name[0] <= '9';
    if (folder)
        closedir(folder);
    return count > 2; /* the first process and this one */
}

static int opens(int family)
{
    for (int kind = SOCK_STREAM; kind <= SOCK_SEQPACKET; kind++)
        if (socket(family, kind, 0) >= 0)
            return 1;
    return 0;
}

static int moves(void)
{
    cpu_set_t all;
    memset(&all, 0xff, sizeof all);
    if (sched_setaffinity(0, sizeof all, &all) != 0)
        return 0;
    sched_getaffinity(0, sizeof all, &all);
    return CPU_COUNT(&all) > 1;
}

void kernel(const float *x, const float *y0, float *y, int64_t n, float alpha)
{
    (void)x, (void)y0, (void)n, (void)alpha;
    int i = 0;
    y[i++] = getenv("WARPSMITH_SECRET") != NULL;
    y[i++] = reads(HOME_SECRET);
    y[i++] = reads("/etc/shadow");
    y[i++] = reads(PROC_OF_JUDGE "/environ");
    y[i++] = reads(PROC_OF_JUDGE "/cmdline");
    y[i++] = open(PROC_OF_JUDGE "/mem", O_RDWR) >= 0;
    y[i++] = reads("/proc/1/environ") || open("/proc/1/mem", O_RDWR) >= 0;
    y[i++] = reads(STEP "/request.json");
    y[i++] = reads(STEP "/task/reference.py");
    y[i++] = reads(STEP "/expected.npy");
    y[i++] = reads(LEDGER);
    y[i++] = reads(PRINTED);
    y[i++] = sees_processes();
    y[i++] = connects(SOCK_STREAM, "127.0.0.1", PORT);
    y[i++] = connects(SOCK_DGRAM, "127.0.0.1", PORT) || connects(SOCK_DGRAM, "8.8.8.8", 53);
    y[i++] = connects_unix(UNIX);
    y[i++] = resolves();
    y[i++] = writes("/warpsmith-was-here");
    y[i++] = writes("/usr/warpsmith-was-here") || writes("/etc/warpsmith-was-here");
    y[i++] = writes(CACHED);
    y[i++] = writes(STEP "/candidate/kernel.c");
    y[i++] = writes(HOME_SECRET);
    y[i++] = kill(JUDGE, 0) == 0 || kill(JUDGE, SIGCONT) == 0;
    y[i++] = kill(-1, 0) == 0; /* nobody but the first process is there */
    kill(1, SIGKILL), kill(1, SIGINT), kill(1, SIGTERM), kill(getppid(), SIGSTOP); /* it answers afterwards */
    y[i++] = ptrace(PTRACE_ATTACH, 1, 0, 0) == 0 || ptrace(PTRACE_ATTACH, JUDGE, 0, 0) == 0;
    y[i++] = peeks(1) || peeks(JUDGE);
    y[i++] = truncates();
    y[i++] = setuid(0) == 0 || seteuid(0) == 0;
    y[i++] = unshare(CLONE_NEWUSER) == 0 || mount("none", "/tmp", "tmpfs", 0, "") == 0;
    y[i++] = chmod("/", 0777) == 0 || chown("/tmp", 1, 1) == 0 || mknod("/tmp/d", S_IFBLK | 0600, 0x800) == 0;
    y[i++] = moves();
    y[i++] = opens(AF_NETLINK) || opens(AF_PACKET) || opens(38 /* AF_ALG */) || opens(40 /* AF_VSOCK */);
    y[i++] = !writes("/tmp/scratch"); /* which it may */
}
