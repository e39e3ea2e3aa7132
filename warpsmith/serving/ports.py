"""Ports of this machine: one that is free, one that is asked for, and who holds one that is not."""

from __future__ import annotations

import os
import random
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from warpsmith.errors import BadInput, WarpsmithError

HOST = "127.0.0.1"
"""Where servers of ours listen: on this machine only."""
LOWEST = 20000
"""Ports from here up to those that the kernel hands out are tried for servers that bind by themselves."""
_TRIES = 200


@dataclass
class Claim:
    """A port that nobody else of ours takes while this is held."""

    port: int
    held: socket.socket
    """The bound socket, to be handed over; or, for a server that binds by itself, only the name of the claim."""

    def release(self) -> None:
        """Give it up."""
        self.held.close()


def bound(port: int, host: str = HOST) -> Claim:
    """A socket bound to ``port``, or to a free one where that is 0. Raises BadInput that names who holds it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio: no delay only so
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise BadInput(_taken(port, error), "Stop it, or give another port (0: any free one).") from None
    return Claim(listener.getsockname()[1], listener)


def claimed(port: int) -> Claim:
    """A free port for a server that binds by itself: ``port``, or any where that is 0. Raises BadInput.

    Two claims of one machine never name the same port: each is an abstract Unix socket, which goes with its process.
    """
    if port:
        bound(port).release()
        if (named := _name(port)) is None:
            raise BadInput(f"port {port} is about to be used by another server of ours.", "Give another one.")
        return Claim(port, named)
    for candidate in random.sample(range(LOWEST, _handed_out()), _TRIES):
        if (named := _name(candidate)) is not None:
            if free(candidate):
                return Claim(candidate, named)
            named.close()
    raise WarpsmithError(f"no free port was found among {_TRIES} that were tried.", "See who listens with 'ss -ltn'.")


def free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Who listens at the port (``pid 812: python -m http.server``); empty where that cannot be seen."""
    inodes = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").iterdir() if inodes else ():
        if not process.name.isdigit():
            continue
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                if os.readlink(descriptor) in inodes:
                    said = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    return f"pid {process.name}: {said[:200]}"
    return ""


def _taken(port: int, error: OSError) -> str:
    who = holder(port)
    return f"port {port} of {HOST} cannot be had: {error.strerror}{f'; held by {who}' if who else ''}."


def _name(port: int) -> socket.socket | None:
    named = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        named.bind(f"\0warpsmith-port-{port}")
    except OSError:
        named.close()
        return None
    return named


def _handed_out() -> int:
    """The first port that the kernel hands out by itself."""
    with suppress(OSError, ValueError):
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        if low >= LOWEST + _TRIES:
            return low
    return LOWEST + 10000


def _listening(port: int) -> list[str]:
    """The inodes of sockets that are bound to the port and not connected."""
    found = []
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == port and fields[2].endswith(":0000"):
                    found.append(fields[9])
    return found
