"""Which layers hold on this machine: tried together once per process, and one by one where that fails.

A layer holds where it can be made *and* what it forbids is refused inside: report.py tries.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from warpsmith.sandbox import cgroup
from warpsmith.sandbox.cell import UID, Cell, Mechanism
from warpsmith.sandbox.filter import program
from warpsmith.sandbox.process import SandboxFailed, start

PROBE_S = 20.0
WHAT = {
    "limits": "limits of memory, processes, files and file size",
    "memory": "a control group: a limit of memory and of processes for all together",
    "privileges": "no capabilities, no new privileges",
    "syscalls": "a filter of system calls",
    "user": "a user namespace",
    "files": "an allow-list of files, read-only, with a private tmp",
    "processes": "a pid namespace, which ends as a whole",
    "proc": "a /proc of its own",
    "ipc": "an ipc namespace",
    "network": "a network namespace without a network",
    "hostname": "a host name of its own",
    "uid": f"user {UID}, which owns nothing",
}
"""Every layer, in the order in which they are tried where not all hold together."""
_REMEDY = {
    "limits": "",
    "memory": (
        "Run as root with control groups of version 2, or under systemd-run --user --scope --property=Delegate=yes."
    ),
    "privileges": "",
    "syscalls": "Use a kernel with CONFIG_SECCOMP_FILTER on x86_64 or aarch64.",
    "uid": "Run as root, or as a user who is not root with user namespaces allowed.",
}
_NEEDS = {"proc": "processes", "uid": "files"}
"""A /proc shows a pid namespace; another user can read a step's files in a view of its own only."""
_NAMESPACE_REMEDY = (
    "Allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns),"
    " run with CAP_SYS_ADMIN, or install bubblewrap."
)


@dataclass(frozen=True)
class Layers:
    """Which layers hold here, and why the others do not."""

    how: Mechanism
    lacking: dict[str, str]
    """Reason by layer."""

    @property
    def holding(self) -> tuple[str, ...]:
        """In the order of ``WHAT``."""
        return tuple(name for name in WHAT if name in self.how.layers)

    @property
    def said(self) -> str:
        """For evidence: the layers that hold and those that lack."""
        by = "bubblewrap" if self.how.bubblewrap else "unshare"
        reasons: dict[str, list[str]] = {}
        for name, reason in self.lacking.items():
            reasons.setdefault(reason, []).append(name)
        lacking = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
        return f"{by}: {', '.join(self.holding) or 'none'}" + (f"; LACKING: {lacking}" if lacking else "")

    def remedy(self, layer: str) -> str:
        """What would make a lacking layer hold."""
        return _REMEDY.get(layer, _NAMESPACE_REMEDY) if layer in self.lacking else ""


@lru_cache(maxsize=1)
def found() -> Layers:
    """The best that this machine has: tried once per process."""
    if sys.platform != "linux":
        return Layers(Mechanism(frozenset()), dict.fromkeys(WHAT, "not Linux"))
    bwrap = shutil.which("bwrap") or ""
    own = try_all("")
    if not own.lacking or not bwrap or not own.how.user_first:
        return own
    other = try_all(bwrap)
    return other if len(other.lacking) < len(own.lacking) else own


def try_all(bubblewrap: str) -> Layers:
    """What holds with one mechanism: bubblewrap of that path, or our own where it is empty."""
    known = {"memory": why} if (why := cgroup.lacking()) else {}
    everything = Mechanism(frozenset(WHAT) - set(known), bubblewrap)
    lacking = tried(everything)
    if not lacking:
        return Layers(everything, known)
    kept: frozenset[str] = frozenset({"user", "files", "processes", "proc"} if bubblewrap else ())
    reasons = dict(known)
    if bubblewrap and (failed := tried(Mechanism(kept, bubblewrap))):
        return Layers(Mechanism(frozenset()), dict.fromkeys(WHAT, next(iter(failed.values()))))
    for layer in (name for name in WHAT if name not in kept and name not in known):
        if (needed := _NEEDS.get(layer)) and needed not in kept:
            reasons[layer] = f"it needs the layer {needed!r}"
            continue
        failed = tried(Mechanism(kept | {layer}, bubblewrap))
        if layer in failed or "" in failed:
            reasons[layer] = failed.get(layer) or failed[""]
        else:
            kept |= {layer}
    return Layers(Mechanism(kept, bubblewrap), reasons)


def tried(how: Mechanism) -> dict[str, str]:
    """Why layers of ``how`` do not hold; under the empty name why nothing could be started."""
    with (
        tempfile.NamedTemporaryFile(prefix="warpsmith-marker-") as marker,
        socket.create_server(("127.0.0.1", 0)) as server,
        tempfile.TemporaryFile() as printed,
    ):
        script = Path(__file__).with_name("report.py")
        asked = (str(os.getpid()), marker.name, str(server.getsockname()[1]))
        cell = Cell(
            argv=(sys.executable, "-I", "-S", str(script), *asked),
            environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            reads=(script,),
        )
        process = start(cell, how, stdout=printed, stderr=subprocess.STDOUT)
        try:
            status = process.wait(PROBE_S)
        except SandboxFailed as error:
            return {"": error.message.removeprefix("the sandbox could not be made: ").rstrip(".")}
        finally:
            process.end()
        printed.seek(0)
        said = printed.read().decode(errors="replace")
    try:
        facts = json.loads(said)
    except ValueError:
        return {"": f"the probe ended with {status}: {said.strip()[-200:]}"}
    return {name: why for name in WHAT if name in how.layers and (why := _wrong(name, how, facts))}


def _wrong(layer: str, how: Mechanism, facts: dict[str, Any]) -> str:
    """What the probe could do in spite of a layer; empty where it holds."""
    checks: dict[str, Callable[[], str]] = {
        "limits": lambda: "" if facts["core"] == 0 else "limits do not hold",
        "memory": lambda: "" if facts["group"].rpartition("/")[2].startswith(cgroup.PREFIX) else "it is in no group",
        "privileges": lambda: "" if facts["no_new_privs"] == 1 and not any(facts["capabilities"]) else "it has some",
        "syscalls": lambda: "" if program() and (facts["ptrace"], facts["unshare"]) == (-1, -1) else "no filter",
        "user": lambda: _same(facts, "user"),
        "files": lambda: "" if facts["root"] and not facts["tmp"] and not facts["marker"] else "files are seen",
        "processes": lambda: _same(facts, "pid") or ("" if facts["signal"] else "other processes can be signalled"),
        "proc": lambda: "" if facts["proc"] else "other processes are seen in it",
        "ipc": lambda: _same(facts, "ipc"),
        "network": lambda: _same(facts, "net") or ("" if facts["connect"] else "a connection was made"),
        "hostname": lambda: _same(facts, "uts"),
        "uid": lambda: _wrong_user(how, facts["uid"]),
    }
    return checks[layer]()


def _wrong_user(how: Mechanism, uid: int) -> str:
    if how.user_first and os.geteuid() == 0:
        return f"user {uid} inside is root outside"
    return "" if uid == UID or (uid != 0 and how.user_first) else f"it runs as user {uid}"


def _same(facts: dict[str, Any], namespace: str) -> str:
    mine = os.readlink(f"/proc/self/ns/{namespace}")
    return "it is this process's own" if facts["namespaces"].get(namespace) == mine else ""
