"""What a sandboxed process sees of the machine: an allow-list of folders, read-only, and nothing of anybody's home.

Read-only folders are mounted where they lie outside, so that paths mean the same on both sides. What a step is given
to read is copied: a step's own files may be closed to other users, and the program inside runs as another one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime")
DEVICES = ("null", "zero", "full", "random", "urandom")
HOMES = (Path("/"), Path("/home"), Path(os.path.expanduser("~")))
"""Folders that are never shown as a whole."""
PACKAGE = Path(__file__).parent
KNOWN_GPUS = Path("/proc/driver/nvidia/gpus")
"""Where the kernel's part of the driver says of each GPU which it is."""

Mount = tuple[str, str, str]
"""Kind (a method of linux.View), source, target."""


def view(
    *,
    reads: Sequence[Path],
    writes: Sequence[tuple[Path, Path]],
    folders: Sequence[Path],
    tmp_bytes: int,
    proc: str,
    cuda: bool,
    visible: str = "",
) -> list[Mount]:
    """The mounts in order: ``reads`` as copies, ``writes`` (outside, inside) to be written, ``folders`` read-only.

    ``proc`` is "own" (of a new pid namespace), "shared" or "none"; ``cuda`` adds what the driver needs, for the
    ``visible`` GPU alone where that is said by its UUID.
    """
    seen = [p for p in SYSTEM if os.path.isdir(p)]
    made: list[Mount] = [("link", os.readlink(p), p) if os.path.islink(p) else ("ro", p, p) for p in seen]
    made += [("ro", os.path.realpath(p), p) for name in ETC if os.path.exists(p := f"/etc/{name}")]
    made += [("dev", f"/dev/{name}", f"/dev/{name}") for name in DEVICES]
    made += [("link", f"/proc/self/fd{end}", f"/dev/{name}") for name, end in _STREAMS.items()]
    made += [("tmpfs", str(tmp_bytes), p) for p in ("/tmp", "/var/tmp", "/dev/shm")]
    if proc != "none":
        made.append(("proc", "proc", "/proc") if proc == "own" else ("ro", "/proc", "/proc"))
    machine = "/sys" if cuda else "/sys/devices/system"
    if os.path.isdir(machine):
        made.append(("ro", machine, machine))
    if cuda:
        made += [("dev", str(p), str(p)) for p in drivers(visible)]
    for folder in sorted({*interpreter(), *folders}, key=lambda p: len(p.parts)):
        real = folder.resolve()
        for target in dict.fromkeys((real, folder.absolute())):
            if real.exists() and not _below(target, seen):
                made.append(("ro", str(real), str(target)))
                seen.append(str(target))
    made += [("rw", str(outside.resolve()), str(inside.absolute())) for outside, inside in writes]
    for path in reads:  # last: they may lie below a folder that is written
        if not _below(path.absolute(), seen):
            made.append(("copy", str(path.resolve()), str(path.absolute())))
    return made


def drivers(visible: str, devices: Path = Path("/dev"), known: Path = KNOWN_GPUS) -> list[Path]:
    """The nodes of the CUDA driver, without those of other GPUs than the ``visible`` one ("GPU-" and its UUID).

    All of them where the kernel does not know that one. A process that sees one GPU cannot use another whatever it sets
    in its environment, and starts the driver sooner.
    """
    nodes = sorted(devices.glob("nvidia*"))
    for text in filter(None, map(_read, known.glob("*/information"))):
        said = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        if said.get("GPU UUID", "").strip() == visible:
            own = f"nvidia{said.get('Device Minor', '').strip()}"
            return [node for node in nodes if node.name == own or not node.name.removeprefix("nvidia").isdigit()]
    return nodes


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


_STREAMS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}


@lru_cache(maxsize=1)
def interpreter() -> tuple[Path, ...]:
    """The folders that this Python lives in, and every link on the way to it."""
    found = {Path(sys.prefix), Path(sys.base_prefix)}
    link = Path(sys.executable)
    while True:
        found.add(prefix(link))
        if not link.is_symlink():
            break
        link = link.parent / os.readlink(link)
    return tuple(sorted(found))


def prefix(program: Path) -> Path:
    """The folder that a program was installed into, unless that is a home folder or the root: the program then."""
    folder = program.parent.parent
    if program.parent.name == "bin" and folder not in HOMES:
        return folder
    return program


def tool(path: str) -> tuple[Path, ...]:
    """What a program on PATH needs beside the system's folders."""
    return tuple({prefix(Path(path).absolute()), prefix(Path(path).resolve())})


def bubblewrap(program: str, mounts: Iterable[Mount], layers: frozenset[str], uid: int, cwd: str) -> list[str]:
    """The command line of bubblewrap that makes this view and those namespaces."""
    said = [program, "--die-with-parent", "--as-pid-1", "--unshare-user", "--unshare-pid", "--cap-drop", "ALL"]
    said += ["--uid", str(uid), "--gid", str(uid)]
    said += ["--unshare-ipc"] * ("ipc" in layers) + ["--unshare-net"] * ("network" in layers)
    said += ["--unshare-uts", "--hostname", "sandbox"] * ("hostname" in layers)
    for kind, source, target in mounts:
        match kind:
            case "tmpfs":
                said += ["--perms", "1777", "--size", source, "--tmpfs", target]
            case "proc":
                said += ["--proc", target]
            case _:
                said += [_BUBBLEWRAP[kind], source, target]
    for path in (PACKAGE, PACKAGE.parent / "__init__.py"):
        said += ["--ro-bind", str(path), str(path)]
    return [*said, "--remount-ro", "/", "--chdir", cwd]


_BUBBLEWRAP = {"ro": "--ro-bind", "copy": "--ro-bind", "rw": "--bind", "dev": "--dev-bind", "link": "--symlink"}


def _below(path: Path, folders: Iterable[str]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
