"""What the sandbox asks of Linux: mounts, users, capabilities, the filter of system calls, who is whose child.
Standard library only.

Used inside the sandbox's own processes, never by the judge.
"""

import ctypes
import os
import signal
import stat
from typing import Any

CLONE = {"files": 0x20000, "hostname": 0x4000000, "ipc": 0x8000000, "network": 0x40000000}
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
SYS_MOUNT_SETATTR = 442
AT_RECURSIVE, AT_FDCWD = 0x8000, -100
SECCOMP_SET_MODE_FILTER, SPEC_ALLOW = 1, 4
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER = 1, 4, 24, 36
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
CAP_VERSION = 0x20080522
libc = ctypes.CDLL(None, use_errno=True)


def call(what: str, result: int) -> int:
    """The result of a C function. Raises OSError that says what failed."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def syscall(what: str, number: int, *arguments: Any) -> int:
    """A system call without a wrapper in the C library. Raises OSError."""
    return call(what, libc.syscall(ctypes.c_long(number), *arguments))


def mount(kind: str, source: str, target: str, flags: int = 0, data: str = "") -> None:
    """Mount ``source`` at ``target``. Raises OSError."""
    said = source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None
    call(f"mount {kind or 'bind'} {target}", libc.mount(*said))


def die_with(parent: int) -> None:
    """SIGKILL to this process when its parent ends, also where that happened already."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


class View:
    """The new root, built in a tmpfs beside the old one."""

    def __init__(self, mounts: list[list[str]]) -> None:
        self.mounts = mounts

    def enter(self) -> None:
        """Build it and leave the old root behind. Raises OSError."""
        mount("", "none", "/", MS_REC | MS_PRIVATE)
        base = next(p for p in ("/tmp", "/mnt", "/usr") if os.path.isdir(p) and not os.path.islink(p))
        mount("tmpfs", "tmpfs", base, MS_NOSUID | MS_NODEV, "mode=0755,size=256m,nr_inodes=65536")
        os.mkdir(f"{base}/.old", 0o700)
        syscall("pivot_root", SYS_PIVOT_ROOT[os.uname().machine], base.encode(), f"{base}/.old".encode())
        os.chdir("/")
        os.umask(0o022)
        for kind, source, target in self.mounts:
            getattr(self, kind)(source, target)
        call("umount of the old root", libc.umount2(b"/.old", MNT_DETACH))
        os.rmdir("/.old")
        mount("", "none", "/", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)

    def ro(self, source: str, target: str) -> None:
        """A folder or file of the machine, read-only with all that is mounted below it."""
        self._bind(source, target)
        self._restrict(target, MS_RDONLY | MS_NOSUID | MS_NODEV)

    def rw(self, source: str, target: str) -> None:
        """A folder of the machine that may be written."""
        self._bind(source, target)
        self._restrict(target, MS_NOSUID | MS_NODEV)

    def dev(self, source: str, target: str) -> None:
        """A device of the machine."""
        self._bind(source, target)
        self._restrict(target, MS_NOSUID)

    def copy(self, source: str, target: str) -> None:
        """A copy, readable whatever its modes are outside."""
        source = f"/.old{source}"
        for folder, folders, names in os.walk(source):
            here = f"{target}{folder[len(source) :]}"
            folders[:] = [name for name in folders if not os.path.islink(f"{folder}/{name}")]
            os.makedirs(here, exist_ok=True)
            for name in names:
                self._copy_file(f"{folder}/{name}", f"{here}/{name}")
        if not os.path.isdir(source):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            self._copy_file(source, target)

    def link(self, source: str, target: str) -> None:
        """A symbolic link with that text."""
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(source, target)

    def tmpfs(self, source: str, target: str) -> None:
        """An empty folder in memory of at most so many bytes, for everyone to write."""
        os.makedirs(target, exist_ok=True)
        mount("tmpfs", "tmpfs", target, MS_NOSUID | MS_NODEV, f"mode=1777,size={source},nr_inodes=16384")

    def proc(self, source: str, target: str) -> None:
        """The processes of this pid namespace, and no others."""
        os.makedirs(target, exist_ok=True)
        mount("proc", "proc", target, MS_NOSUID | MS_NODEV | 8)

    def _bind(self, source: str, target: str) -> None:
        source = f"/.old{source}"
        if os.path.isdir(source):
            os.makedirs(target, exist_ok=True)
        elif not os.path.exists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        mount("", source, target, MS_BIND | MS_REC)

    def _restrict(self, target: str, flags: int) -> None:
        """The same bits mean the same to mount(2) and mount_setattr(2), which Linux has since 5.12."""
        attributes = (ctypes.c_uint64 * 4)(flags, 0, 0, 0)
        try:
            arguments = (AT_FDCWD, target.encode(), AT_RECURSIVE, ctypes.byref(attributes), ctypes.sizeof(attributes))
            syscall("mount_setattr", SYS_MOUNT_SETATTR, *arguments)
        except OSError:
            with open("/.old/proc/self/mountinfo") as file:
                mounted = [line.split()[4].encode().decode("unicode_escape") for line in file]
            for point in (m for m in mounted if m == target or m.startswith(f"{target}/")):
                mount("", "none", point, MS_REMOUNT | MS_BIND | flags)

    def _copy_file(self, source: str, target: str) -> None:
        said = os.stat(source)
        if not stat.S_ISREG(said.st_mode) or os.path.lexists(target):
            return
        mode = 0o555 if said.st_mode & 0o111 else 0o444
        with open(source, "rb") as read, open(os.open(target, os.O_CREAT | os.O_WRONLY, mode), "wb") as written:
            while piece := read.read(1 << 20):
                written.write(piece)


def write_map(process: str, inside: int, outside: tuple[int, int], *, deny: bool) -> None:
    """Make the one user of a user namespace; whoever is not root has to deny setgroups(2) first. Raises OSError."""
    if deny:
        with open(f"/proc/{process}/setgroups", "w") as file:
            file.write("deny")
    for name, identity in (("uid_map", outside[0]), ("gid_map", outside[1])):
        with open(f"/proc/{process}/{name}", "w") as file:
            file.write(f"{inside} {identity} 1")


def become(uid: int) -> None:
    """That user and group and no other. Raises OSError."""
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def give_up() -> None:
    """No capability, now or later. Raises OSError."""
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break
    header, none = (ctypes.c_uint32 * 2)(CAP_VERSION, 0), (ctypes.c_uint32 * 6)()
    call("capset", libc.capset(ctypes.byref(header), ctypes.byref(none)))
    call("no_new_privs", libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def children(process: int) -> list[int]:
    """The children of all threads of a process, the eldest first. Raises OSError."""
    found = []
    for thread in os.listdir(f"/proc/{process}/task"):
        with open(f"/proc/{process}/task/{thread}/children") as file:
            found += [int(x) for x in file.read().split()]
    return found


class Filter(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_char_p))


def install(program: bytes) -> None:
    """The filter of system calls, without the slow-down of memory that older kernels couple to it. Raises OSError."""
    said = Filter(len(program) // 8, program)
    number = SYS_SECCOMP[os.uname().machine]
    syscall("seccomp", number, SECCOMP_SET_MODE_FILTER, SPEC_ALLOW, ctypes.byref(said))
