"""What lives inside the sandbox: its first process and the worker. Standard library only.

The *first* process is number 1 of the new pid namespace: it builds the view of files, gives every privilege up, and
stops what lives in there when it is asked to. The *worker* is limited, filtered and replaced by the program that is to
run; where the plan holds a function, as of a fork-server, the worker calls that instead, and keeps what is loaded.

The first process answers each byte from ``control`` on the descriptor ``report`` with an ``S`` (all stopped) or an
``R`` (something still runs); what the outer process must know (``outer.py``) goes to a pipe between the two.
"""

import contextlib
import itertools
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from warpsmith.sandbox import linux

FAILED = 125
"""Exit status of this sandbox's processes where it could not be made; ``report`` says why."""
STOP_S = 5.0
"""Longest time for everything to stand still."""
Function = Callable[[tuple[str, ...], tuple[int, ...]], None]
"""What a worker without a program of its own calls, with its arguments and the descriptors that it was given."""


def first(plan: dict[str, Any], told: int, go: int) -> NoReturn:
    """Build the sandbox, start the worker, answer until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    worker = 0
    try:
        with contextlib.suppress(PermissionError):  # it leads a session already
            os.setsid()
        if plan["mechanism"] == "own":
            own_layers(plan, told, go)
        if "privileges" in plan["layers"]:
            linux.give_up()
        linux.libc.prctl(linux.PR_SET_DUMPABLE, 0, 0, 0, 0)
        linux.libc.prctl(linux.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        os.chdir(plan["cwd"])
        me = os.getpid()
        worker = os.fork()
        if worker == 0:
            if os.read(go, 1) == b"1":
                become_worker(plan, me)
            os._exit(0)
    except Exception as error:  # a process edge: the parent learns it from the status pipe
        os.write(told, f"error {error}".replace("\n", " ").encode() + b"\n")
        os._exit(FAILED)
    for descriptor in (*plan["keep"], 0, 1, 2, go, plan["descriptor"]):
        os.close(descriptor)
    os.write(told, b"made\n")
    serve(plan, worker, told)


def own_layers(plan: dict[str, Any], told: int, go: int) -> None:
    """The namespaces that a first process enters itself, its files, and another user. Raises OSError."""
    layers = plan["layers"]
    flags = sum(flag for layer, flag in linux.CLONE.items() if layer in layers)
    if flags:
        linux.call("namespaces", linux.libc.unshare(flags))
    if "hostname" in layers:
        linux.call("sethostname", linux.libc.sethostname(b"sandbox", 7))
    if "files" in layers:
        linux.View(plan["mounts"]).enter()
    if plan["user_first"]:
        return
    if "uid" in layers:
        os.setgroups([])
    if "user" in layers:
        linux.call("user namespace", linux.libc.unshare(linux.CLONE_NEWUSER))
        os.write(told, b"map\n")
        os.read(go, 1)
    if "uid" in layers:
        linux.become(plan["uid"])
    linux.libc.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # a change of user clears it


def become_worker(plan: dict[str, Any], parent: int) -> NoReturn:
    """Limits, filter and the program. Raises OSError."""
    linux.die_with(parent)
    os.setsid()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if plan["core"] is not None:
        os.sched_setaffinity(0, {plan["core"]})
    for name, value in plan["limits"].items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))
    linux.libc.prctl(linux.PR_SET_DUMPABLE, 1, 0, 0, 0)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # where memory ends, the kernel ends this before the judge
    for descriptor in plan["keep"]:
        os.set_inheritable(descriptor, True)
    for descriptor in {d for d in (plan["control"], plan["report"], plan["descriptor"]) if d >= 0}:
        os.set_inheritable(descriptor, False)
    function: Function | None = plan.get("function")
    if function is not None:
        close_all_but(plan["keep"])
    if "syscalls" in plan["layers"]:
        linux.install(bytes.fromhex(plan["filter"]))
    if function is not None:
        become_function(function, plan)
    os.execvp(plan["argv"][0], plan["argv"])


def close_all_but(kept: Sequence[int]) -> None:
    """Close every descriptor beside the standard ones and these, as exec does with those that are not inherited."""
    edges = [2, *sorted(kept), 1 << 20]
    for below, above in itertools.pairwise(edges):
        os.closerange(below + 1, above)


def become_function(function: Function, plan: dict[str, Any]) -> NoReturn:
    """Call what was loaded before the fork, and end; nothing of this file's frames is left to be looked at."""
    argv, keep = tuple(plan["argv"]), tuple(plan["keep"])
    plan.clear()
    try:
        function(argv, keep)
    except SystemExit as left:
        os._exit(left.code & 0xFF if isinstance(left.code, int) else left.code is not None)
    except BaseException:  # the worker's own edge: what it raised is printed, as an interpreter would
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def serve(plan: dict[str, Any], worker: int, told: int) -> NoReturn:
    """Stop everything when asked, end everything when the worker ended or nobody asks any more."""
    control = plan["control"]
    watched = [os.pidfd_open(worker), *([control] if control >= 0 else [])]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if watched[0] in ready:
            break
        if not os.read(control, 1):
            os._exit(0)
        if (answer := stop(plan, worker)) is None:
            break
        os.write(plan["report"], answer)
    state = os.waitid(os.P_PID, worker, os.WEXITED)
    assert state is not None
    ended = state.si_status if state.si_code == os.CLD_EXITED else -state.si_status
    os.write(told, f"ended {ended}\n".encode())
    os._exit(0)


def stop(plan: dict[str, Any], worker: int) -> bytes | None:
    """SIGSTOP to everything, and wait until it stands still; None where the worker ended."""
    deadline = time.monotonic() + STOP_S
    whole = "processes" in plan["layers"]
    while True:
        others = [p for p in inhabitants(plan) if p != worker]
        try:
            if whole:
                os.kill(-1, signal.SIGSTOP)  # one step for the kernel: no fork escapes it
            else:
                for process in (worker, *others):
                    os.kill(process, signal.SIGSTOP)
        except ProcessLookupError:
            pass
        state = os.waitid(os.P_PID, worker, os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if state is not None and state.si_code != os.CLD_STOPPED:
            return None
        if state is not None and all(still(p) for p in others) and set(inhabitants(plan)) <= {worker, *others}:
            return b"S\n"  # the list is whole only once everything on it stands still
        if time.monotonic() > deadline:
            return b"R\n"
        os.sched_yield()


def inhabitants(plan: dict[str, Any]) -> list[int]:
    """Everything in here beside this process; without a pid namespace, all that descends from it."""
    if "processes" in plan["layers"]:
        try:
            return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
        except OSError:
            return []
    found, left = [], [os.getpid()]
    while left:
        try:
            below = linux.children(left.pop())
        except OSError:
            continue
        found += below
        left += below
    return found


def still(process: int) -> bool:
    """Whether no thread of it runs or can run by itself."""
    try:
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] not in "TtZX":
                    return False
    except OSError:  # it is gone
        return True
    return True
