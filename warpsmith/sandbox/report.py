"""What can be done in here: run in the sandbox by the probe, prints its findings as JSON. Standard library only.

``report.py HOST_PID MARKER PORT``: a process and a file outside, and a server that listens on loopback.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Callable
from typing import Any


def refused(function: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """The name of the error that a call gives; empty where it works."""
    try:
        function(*arguments, **named)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ""


def capabilities() -> list[int]:
    """Effective, permitted and inheritable, two words each."""
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capget(ctypes.byref(header), ctypes.byref(data))
    return list(data)


def group() -> str:
    """The control group of this process, as far as it can be seen from here."""
    with contextlib.suppress(OSError), open("/proc/self/cgroup") as file:
        return next((line.strip()[3:] for line in file if line.startswith("0::")), "")
    return ""


def main() -> None:
    """Try everything once."""
    host, marker, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    libc = ctypes.CDLL(None, use_errno=True)
    found = {
        "uid": os.getuid(),
        "capabilities": capabilities(),
        "no_new_privs": libc.prctl(39, 0, 0, 0, 0),
        "ptrace": libc.ptrace(0, 0, 0, 0),
        "unshare": libc.unshare(0x10000000),
        "marker": os.path.exists(marker),
        "root": refused(open, "/warpsmith-probe", "x"),
        "tmp": refused(tempfile.TemporaryFile),
        "signal": refused(os.kill, host, 0),
        "connect": refused(socket.create_connection, ("127.0.0.1", port), timeout=2.0),
        "host": os.uname().nodename,
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "proc": os.path.exists("/proc/self/status") and not os.path.exists(f"/proc/{host}/status"),
        "group": group(),
        "namespaces": {},
    }
    for name in ("user", "ipc", "pid", "mnt", "net", "uts"):
        with contextlib.suppress(OSError):
            found["namespaces"][name] = os.readlink(f"/proc/self/ns/{name}")
    sys.stdout.write(json.dumps(found))


main()
