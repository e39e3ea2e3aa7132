"""The sandbox: compilers and candidates run in it. Layers of the kernel's own means, each probed, each optional.

Owns what a process inside sees, may do and how it ends. ``cell`` says what is to run and with which layers, ``process``
starts it, ``probe`` finds which layers hold here, ``view`` says which files are seen; entry, outer, inside, linux and
report are its own processes, and import nothing but each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warpsmith.sandbox.probe import Layers


def layers() -> Layers:
    """Which layers hold on this machine and why others do not; probed once per process."""
    from warpsmith.sandbox.probe import found

    return found()
