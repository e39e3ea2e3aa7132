"""The fork-server: a trusted process that has the heavy libraries loaded and becomes a sandboxed worker on request.

Started as a program of its own by forking.py; it runs no code of candidates, has no CUDA context, and is alone in its
process (one thread) whenever it forks. The fork enters the sandbox (sandbox/outer.py) and then calls the function
``main(arguments, descriptors)`` of the program that the configuration names.

    forkserver.py SOCKET PARENT    a SOCK_SEQPACKET socket; one message of configuration, then requests, each answered

    {"paths", "preload", "program"}                      ->  {"ready": true, "lacking": why by module}
    {"fork": environment} with descriptors               ->  {"pid": process} or {"error": why}
    {"reap": process}                                    ->  {"status": as subprocess says it}

Descriptors that go with a fork: plan, report, control, output, and then what the worker is given.
"""

import array
import gc
import importlib
import importlib.util
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from warpsmith.sandbox import inside, linux, outer

MESSAGE = 1 << 16
DESCRIPTORS = 32


def receive(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message and its descriptors; None at the end."""
    room = socket.CMSG_SPACE(DESCRIPTORS * array.array("i").itemsize)
    content, ancillary, _, _ = channel.recvmsg(MESSAGE, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return (json.loads(content) if content else None), list(descriptors)


def preload(names: list[str]) -> dict[str, str]:
    """Import modules; why others could not be."""
    lacking = {}
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever a package raises that is not at home here
            lacking[name] = f"{type(error).__name__}: {error}"[:200]
    return lacking


def load(path: str) -> Callable[[tuple[str, ...], tuple[int, ...]], None]:
    """The function ``main`` of a file."""
    spec = importlib.util.spec_from_file_location("warpsmith_worker", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[[tuple[str, ...], tuple[int, ...]], None] = module.main
    return main


def become(function: Callable[..., None], environment: dict[str, str], descriptors: list[int]) -> NoReturn:
    """In the fork: be the outer process of a sandbox whose worker calls ``function``."""
    try:
        os.setsid()
        os.chdir("/")
        plan, report, control, output, *keep = descriptors
        null = os.open("/dev/null", os.O_RDONLY)
        for source, number in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, number)
        for source in (null, output):
            os.close(source)
        os.environ.clear()
        os.environ.update(environment)
        said = json.loads(os.pread(plan, os.fstat(plan).st_size, 0))
        said.update(parent=os.getppid(), report=report, control=control, keep=keep, descriptor=plan, function=function)
        outer.outer(said)
    except BaseException as error:  # the edge of a process that must never return to the server's loop
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(inside.FAILED)


def serve(channel: socket.socket, function: Callable[..., None]) -> None:
    """Answer requests until the judge closes the socket."""
    while True:
        message, descriptors = receive(channel)
        if message is None:
            return
        if "reap" in message:
            _, status = os.waitpid(message["reap"], 0)
            channel.send(json.dumps({"status": os.waitstatus_to_exitcode(status)}).encode())
            continue
        threads = len(os.listdir("/proc/self/task"))
        if threads != 1:
            answer: dict[str, Any] = {"error": f"the fork-server has {threads} threads"}
        else:
            pid = os.fork()
            if pid == 0:
                channel.close()
                become(function, message["fork"], descriptors)
            answer = {"pid": pid}
        for descriptor in descriptors:
            os.close(descriptor)
        channel.send(json.dumps(answer).encode())


def main() -> None:
    """Load everything, then serve."""
    linux.die_with(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    channel = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(channel.fileno(), False)
    config, _ = receive(channel)
    assert config is not None
    sys.path.extend(p for p in config["paths"] if p not in sys.path)
    lacking = preload(config["preload"])
    function = load(config["program"])
    gc.collect()
    gc.freeze()  # a collection in a fork must not touch, and so copy, what all forks share
    channel.send(json.dumps({"ready": True, "lacking": lacking}).encode())
    serve(channel, function)


main()
