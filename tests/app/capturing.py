"""Launches as a capture run leaves them: a log with snapshots beside it, made here without a device."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from warpsmith.app.buckets import Execution, kernels
from warpsmith.app.capture import Taken, taken
from warpsmith.app.log import Log
from warpsmith.model.launch import Buffer, Function, How, Launch, ModuleImage, Snapshot, Three
from warpsmith.model.observed import ObservedKernel

TRANSPOSE = "_ZN5tiles9transposeIfLi16EEEvPKT_PS1_NS_5ShapeEf"


@dataclass
class Allocation:
    """Device memory of the application."""

    base: int
    before: bytes
    after: bytes | None = None


@dataclass
class Run:
    """One process with captured launches of one kernel."""

    folder: Path
    function: Function
    launches: list[Launch] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    images: list[ModuleImage] = field(default_factory=list)

    def launch(
        self, grid: Three, block: Three, parameters: bytes, reached: dict[int, Allocation],
        variables: dict[str, Allocation] | None = None, image: bytes = b"\x7fELF\x02 an image",
    ) -> None:  # fmt: skip
        """One launch. ``reached`` are the allocations behind the pointers, by their offset in the parameters."""
        sequence = len(self.launches)
        buffers = tuple(Buffer(at, a.base, len(a.before)) for at, a in reached.items())
        self.launches.append(
            Launch(
                sequence=sequence, at_ns=sequence, function=self.function, correlation=sequence + 1, how=How.kernel,
                grid=grid, block=block, cluster=(1, 1, 1), dynamic_bytes=0, parameters=parameters, buffers=buffers,
                stream=0, context=1, device=0, thread=1, node=0, exec=0, result=0, rule=None, captured=False,
                packed=False, unknown=False, cooperative=False,
            )
        )  # fmt: skip
        for at, a, name in (
            *((o, a, "") for o, a in reached.items()),
            *((0, a, n) for n, a in (variables or {}).items()),
        ):
            for after in (False, True):
                content = a.after if after and a.after is not None else a.before
                self.snapshots.append(
                    Snapshot(
                        sequence, after, name, at, a.base, len(a.before), a.base, len(content),
                        after and a.after is not None, self._file(content),
                    )
                )  # fmt: skip
        self.images.append(ModuleImage(sequence, self._file(image), 1))

    def observed(self, seconds: Callable[[Launch], float] = lambda launch: 1e-3) -> ObservedKernel:
        """What observe would say of them."""
        counted: dict[tuple[Three, Three], int] = {}
        ran = []
        for launch in self.launches:
            key = (launch.grid, launch.block)
            index = counted[key] = counted.get(key, -1) + 1
            ran.append(
                Execution(self.function.symbol, *key, (1, 1, 1), 0, 0, 32, seconds(launch), launch=launch, index=index)
            )
        return kernels(ran)[0]

    def taken(self) -> tuple[Taken, ...]:
        """What a capture takes of it."""
        log = Log(self.folder / "a.launches", 1, 0, 0, True, len(self.launches), 0, 0, 0, 0, (), True)
        log.launches, log.snapshots, log.images = self.launches, self.snapshots, self.images
        kernel = self.observed()
        return taken([log], self.folder, kernel, kernel.configurations)

    def _file(self, content: bytes) -> str:
        name = f"{hash(content) & (1 << 64) - 1:016x}-{len(content)}.bin"
        (self.folder / name).write_bytes(content)
        return name


def function(symbol: str, layout: Sequence[tuple[int, int]]) -> Function:
    """A kernel with parameters at these offsets, of these sizes."""
    return Function(1, symbol, tuple(layout), 0, 32, 0, 1024, 90)


def transposes(folder: Path, image: bytes = b"\x7fELF\x02 an image", more: int = 0) -> Run:
    """Launches of the example's transpose; ``more`` elements lie behind the matrices in their allocations."""
    run = Run(folder, function(TRANSPOSE, ((0, 8), (8, 8), (16, 8), (24, 4))))
    rng = np.random.default_rng(1)
    for number, (rows, cols) in enumerate(((64, 48), (33, 65))):
        values = rng.standard_normal(rows * cols + more).astype(np.float32)
        before = rng.standard_normal(rows * cols + more).astype(np.float32)
        after = before.copy()
        scale = np.float32(1 + 0.5 * number)
        after[: rows * cols] = scale * values[: rows * cols].reshape(rows, cols).T.reshape(-1)
        a = Allocation(0x7000_0000_0000, values.tobytes())
        b = Allocation(0x7000_0100_0000, before.tobytes(), after.tobytes())
        content = struct.pack("<QQiif", a.base, b.base, rows, cols, scale)
        grid = (-(-cols // 16), -(-rows // 16), 1)
        run.launch(grid, (16, 16, 1), content, {0: a, 8: b}, image=image)
    return run
