"""Keeps a server: ``python -I -S keeper.py PARENT DRAIN_S PROGRAM ARGUMENTS...``. Standard library only, a program.

It starts the program, adopts whatever that leaves behind, and ends as the program ended, once nothing is left. SIGTERM
goes on to the program, which then has ``DRAIN_S`` seconds; SIGQUIT, or the end of ``PARENT``, ends everything at once.
"""

import ctypes
import os
import signal
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
TOLD = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD)
LOOK_S = 1.0
"""Between two looks at whether the parent is there, should its signal have been missed."""
libc = ctypes.CDLL(None, use_errno=True)


def descendants(process: int) -> list[int]:
    """Every process below ``process`` that still runs."""
    below: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    said = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if said[0] != b"Z":
                below.setdefault(int(said[1]), []).append(int(name))
    found, more = [], [process]
    while more:
        children = below.get(more.pop(), [])
        found += children
        more += children
    return found


def begin(argv: list[str]) -> int:
    """Start the program in a group of its own; returns its pid."""
    keeper = os.getpid()
    if child := os.fork():
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the port is the program's alone
        return child
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != keeper:
        os._exit(0)
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
    os._exit(127)


def reap(program: int, status: "int | None") -> "int | None":
    """Take leave of those that ended; the program's status once it is among them."""
    while True:
        try:
            ended, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if not ended:
            return status
        if ended == program:
            status = how


def tell(number: int, processes: list[int]) -> None:
    """Send a signal to each that is still there."""
    for process in processes:
        try:
            os.kill(process, number)
        except OSError:
            continue


def keep(parent: int, drain_s: float, program: int) -> int:
    """Wait until the program and all that it started has ended; returns the program's wait status."""
    me = os.getpid()
    status: int | None = None
    deadline = float("inf")
    told_rest = False
    while True:
        rest = LOOK_S if deadline == float("inf") else min(LOOK_S, max(0.0, deadline - time.monotonic()))
        came = signal.sigtimedwait(TOLD, rest)
        number = came.si_signo if came else 0
        if number == signal.SIGQUIT or os.getppid() != parent:
            deadline = 0.0
        elif number in (signal.SIGTERM, signal.SIGINT) and deadline == float("inf"):
            deadline = time.monotonic() + drain_s
            tell(signal.SIGTERM, [program])
        status = reap(program, status)
        if status is not None and deadline == float("inf"):
            deadline = 0.0
        if status is not None and not told_rest and time.monotonic() < deadline:
            told_rest = True
            tell(signal.SIGTERM, descendants(me))
        if time.monotonic() >= deadline:
            while left := descendants(me):
                tell(signal.SIGKILL, left)
                time.sleep(0.002)
                status = reap(program, status)
        status = reap(program, status)
        if status is not None and not descendants(me):
            return status


def main() -> None:
    """Keep the program of the command line, and end as it ended."""
    parent, drain_s, argv = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    signal.pthread_sigmask(signal.SIG_BLOCK, TOLD)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGHUP, 0, 0, 0)  # also comes where only a thread of the parent ended
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    status = os.waitstatus_to_exitcode(keep(parent, drain_s, begin(argv)))
    if status < 0:
        libc.prctl(4, 0, 0, 0, 0)  # no core file of this process
        signal.signal(-status, signal.SIG_DFL) if -status not in (signal.SIGKILL, signal.SIGSTOP) else None
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-status])
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
