"""What the injection library is told, and the environments that bring it, or the counter, into an application."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from warpsmith.errors import BadInput
from warpsmith.model.launch import Three

LIBRARY_VARIABLE = "CUDA_INJECTION64_PATH"
CONFIG_VARIABLE = "WARPSMITH_INJECT"
CONFIG = "inject.config"
PRELOAD_VARIABLE = "LD_PRELOAD"
COUNT_VARIABLE = "WARPSMITH_COUNT"
MOST_RULES = 256
ANY: Three = (0, 0, 0)
_KEEP = 0xFFFFFFFF


@dataclass(frozen=True)
class Capture:
    """One launch to be captured with its buffers."""

    symbol: str
    index: int
    """Among the launches of that symbol, grid and block in one process, from 0."""
    grid: Three = ANY
    """0 is any extent."""
    block: Three = ANY


@dataclass(frozen=True)
class SwapRule:
    """Another kernel for the launches of ``symbol`` with that grid and block (0 is any extent). The first fits."""

    symbol: str
    image: Path
    """A cubin, or PTX."""
    entry: str
    grid: Three = ANY
    block: Three = ANY
    new_grid: Three = ANY
    """Of the replacement; 0 keeps the launch's own extent."""
    new_block: Three = ANY
    shared_bytes: int | None = None
    """Dynamic shared memory of the replacement; None keeps the launch's own."""
    where: tuple[tuple[int, bytes], ...] = ()
    """Bytes that must lie at these offsets of the parameter buffer."""


@dataclass(frozen=True)
class Ask:
    """What the library is to do in every process of an application."""

    folder: Path
    """For logs and snapshots; must exist."""
    times: bool = True
    """Record the device time of each launch too."""
    limit_bytes: int = 512 << 20
    """Of each process's log, at most; what does not fit is counted."""
    only: tuple[str, ...] = ()
    """Symbols to record; all where empty."""
    captures: tuple[Capture, ...] = ()
    buffer_limit_bytes: int = 256 << 20
    """Of one snapshot of one allocation, at most."""
    total_limit_bytes: int = 8 << 30
    """Of all snapshots of one process, at most."""
    swaps: tuple[SwapRule, ...] = field(default=())

    def write(self) -> Path:
        """The file that the library reads. Raises BadInput for names that it could not hold."""
        lines: list[tuple[object, ...]] = [
            ("folder", self.folder.absolute()), ("times", int(self.times)),
            ("limit", self.limit_bytes), ("buffer_limit", self.buffer_limit_bytes),
            ("total_limit", self.total_limit_bytes),
        ]  # fmt: skip
        lines += [("only", symbol) for symbol in self.only]
        lines += [("capture", c.symbol, c.index, *c.grid, *c.block) for c in self.captures]
        if len(self.swaps) > MOST_RULES:
            raise BadInput(f"{len(self.swaps)} swap rules are more than {MOST_RULES}.", "Name fewer configurations.")
        for s in self.swaps:
            shared = _KEEP if s.shared_bytes is None else s.shared_bytes
            new = (*s.new_grid, *s.new_block, *ANY, shared)
            lines.append(("swap", s.symbol, *s.grid, *s.block, s.image.absolute(), s.entry, *new))
            lines += [("where", offset, content.hex()) for offset, content in s.where]
        text = "".join("\t".join(map(_word, line)) + "\n" for line in lines)
        path = self.folder.absolute() / CONFIG
        path.write_text(text)
        return path


def environment(library: Path, ask: Ask, given: Mapping[str, str]) -> dict[str, str]:
    """``given`` with what loads the library. Raises BadInput where another tool is attached there already."""
    other = given.get(LIBRARY_VARIABLE)
    if other and Path(other) != library:
        raise BadInput(f"{LIBRARY_VARIABLE} is set to {other}: another tool is attached.", f"Unset {LIBRARY_VARIABLE}.")
    return {**given, LIBRARY_VARIABLE: str(library), CONFIG_VARIABLE: str(ask.write())}


def counting(counter: Path, folder: Path, given: Mapping[str, str]) -> dict[str, str]:
    """``given`` with what loads the counter, whose logs go to ``folder``. Raises BadInput for a path that the dynamic
    loader could not be told.
    """
    if set(" :") & set(str(counter)):
        raise BadInput(
            f"{counter}: the loader reads a blank or a colon as an end.", "Set WARPSMITH_HOME to another path."
        )
    preloaded = ":".join(p for p in (str(counter), given.get(PRELOAD_VARIABLE, "")) if p)
    return {**given, PRELOAD_VARIABLE: preloaded, COUNT_VARIABLE: str(folder.absolute())}


def _word(value: object) -> str:
    text = str(value)
    if "\t" in text or "\n" in text:
        raise BadInput(f"{text!r} has a tab or a newline in it.", "Take another name.")
    return text
