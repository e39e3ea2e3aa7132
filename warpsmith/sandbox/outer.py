"""The sandbox's process that stays outside: it makes the first one, dies with the parent, ends the tree on SIGTERM, and
ends as the worker ended. Standard library only.

To the descriptor ``report`` go ``pid N`` (of the worker, as the parent sees it) and ``error WHY`` where the sandbox
could not be made, beside what the first process answers there (``inside.py``).
"""

import contextlib
import json
import os
import resource
import signal
import sys
import time
from typing import Any, NoReturn

from warpsmith.sandbox import linux
from warpsmith.sandbox.inside import FAILED, first

LOOK_S = 0.001
"""Between two looks at whether everything has ended."""


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
    """Carry messages of the first process out until it ended, then everything else, and end as the worker did.

    Whoever is asked to end before all was made leaves a first process that hears no answer: no fault of the sandbox.
    """
    asked = False

    def end(*_: object) -> None:
        nonlocal asked
        asked = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
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
                if asked:
                    continue
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
        for orphan in linux.children(process) if gone else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)


def youngest(process: int) -> int:
    """The end of the line of only children that begins at ``process``. Raises OSError."""
    while below := linux.children(process):
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
