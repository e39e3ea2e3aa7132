"""The sandbox's three processes: outer, first and worker. Standard library only.

The *outer* process stays outside: it dies with the parent, ends the tree on SIGTERM, and ends as the worker ended. The
*first* process is number 1 of the new pid namespace: it builds the view of files, gives every privilege up, and stops
what lives in there when it is asked to. The *worker* is limited, filtered and replaced by the program that is to run;
where ``outer`` was given a function, as by a fork-server, the worker calls that instead, and keeps what is loaded.

To the descriptor ``report`` go ``pid N`` (of the worker, as the parent sees it), an ``S`` (all stopped) or an ``R``
(something still runs) for each byte from ``control``, and ``error WHY`` where the sandbox could not be made.
"""

import contextlib
import itertools
import json
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
"""Exit status of the outer process where the sandbox could not be made; ``report`` says why."""
STOP_S = 5.0
"""Longest time for everything to stand still."""
LOOK_S = 0.001
"""Between two looks at whether everything has ended."""
Function = Callable[[tuple[str, ...], tuple[int, ...]], None]
"""What a worker without a program of its own calls, with its arguments and the descriptors that it was given."""


def outer(plan: dict[str, Any]) -> NoReturn:
    """Make the first process, watch it, end as the worker ended."""
    linux.die_with(plan["parent"])
    linux.libc.prctl(linux.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status, told = os.pipe()
    go, release = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        if plan["group"]:
            with open(plan["group"], "w") as file:
                file.write("0")  # this process, and so everything that it starts
        if plan["mechanism"] == "own":
            enter_namespaces(plan)
        me = os.getpid()
        child = os.fork()
    except OSError as error:
        fail(plan, str(error))
    if child == 0:
        os.close(status)
        os.close(release)
        if plan["mechanism"] == "own":
            linux.die_with(0 if "processes" in plan["layers"] else me)
            first(plan, told, go)
        for descriptor in (*plan["keep"], plan["descriptor"], plan["report"], told, go):
            os.set_inheritable(descriptor, True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        program = [sys.executable, "-I", "-S", sys.argv[0], str(plan["descriptor"]), "inside", str(told), str(go)]
        os.execv(plan["bwrap"][0], [*plan["bwrap"], "--", *program])
    os.close(told)
    os.close(go)
    for descriptor in {*plan["keep"], *(d for d in (plan["control"],) if d >= 0)}:
        os.close(descriptor)

    def end(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    watch(plan, child, status, release)


def enter_namespaces(plan: dict[str, Any]) -> None:
    """What has to be entered before the first process is made. Raises OSError."""
    if plan["user_first"] and "user" in plan["layers"]:
        outside = os.geteuid(), os.getegid()
        linux.call("user namespace", linux.libc.unshare(linux.CLONE_NEWUSER))
        linux.die_with(plan["parent"])  # a change of user clears it
        linux.write_map("self", plan["uid"], outside, deny=True)
    if "processes" in plan["layers"]:
        linux.call("pid namespace", linux.libc.unshare(linux.CLONE_NEWPID))


def watch(plan: dict[str, Any], child: int, status: int, release: int) -> NoReturn:
    """Carry messages of the first process out until it ended, then everything else, and end as the worker did."""
    said = b""
    ended = None
    while piece := os.read(status, 4096):
        said += piece
        *lines, said = said.split(b"\n")
        for line in lines:
            word, _, rest = line.decode(errors="replace").partition(" ")
            try:
                if word == "map":
                    linux.write_map(str(child), plan["uid"], (plan["uid"], plan["uid"]), deny=False)
                    os.write(release, b"1")
                elif word == "made":
                    report(plan, f"pid {youngest(child)}")
                    os.write(release, b"1")
                elif word == "ended":
                    ended = int(rest)
                else:
                    report(plan, line.decode(errors="replace"))
                    ended = FAILED
            except OSError as error:
                report(plan, f"error {error}")
                ended = FAILED
                os.kill(child, signal.SIGKILL)
    reap(child, os.getpid())
    if ended is None:
        ended = -signal.SIGKILL
    if ended < 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-ended})
        if -ended not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-ended, signal.SIG_DFL)
        os.kill(os.getpid(), -ended)
    os._exit(ended & 0xFF)


def reap(child: int, process: int) -> None:
    """Wait for the first process, then end and wait for what was left to this one.

    The kernel's list of children leaves some out while others come and go, so it is asked until there are none to wait
    for.
    """
    gone = False
    while True:
        try:
            done, _ = os.waitpid(-1, os.WNOHANG if gone else 0)
        except ChildProcessError:
            return
        gone = gone or done == child
        if gone and not done:
            time.sleep(LOOK_S)
        for orphan in children(process) if gone else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)


def children(process: int) -> list[int]:
    """The children of all threads of a process, the eldest first. Raises OSError."""
    found = []
    for thread in os.listdir(f"/proc/{process}/task"):
        with open(f"/proc/{process}/task/{thread}/children") as file:
            found += [int(x) for x in file.read().split()]
    return found


def youngest(process: int) -> int:
    """The end of the line of only children that begins at ``process``. Raises OSError."""
    while below := children(process):
        process = below[-1]
    return process


def report(plan: dict[str, Any], line: str) -> None:
    """A line to whoever started this; nobody may be there."""
    try:
        os.write(plan["report"], f"{line}\n".encode())
    except OSError:
        return


def fail(plan: dict[str, Any], why: str) -> NoReturn:
    """End, and say why the sandbox could not be made."""
    report(plan, f"error {why}")
    os._exit(FAILED)


# the first process


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
            below = children(left.pop())
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


def main(arguments: list[str]) -> None:
    """Read the plan, and be the outer or, where bubblewrap made the namespaces, the first process."""
    descriptor, *inside = (int(a) for a in arguments if a != "inside")
    with open(descriptor, "rb", closefd=False, buffering=0) as file:
        file.seek(0)
        plan = json.loads(file.read())
    plan["descriptor"] = descriptor
    if inside:
        for pipe in inside:
            os.set_inheritable(pipe, False)
        first(plan, *inside)
    outer(plan)
