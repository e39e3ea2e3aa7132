"""Contents of captured buffers, and contents that nobody has seen which are like them. Owns the seed of the second.

What is ``mixed`` keeps its least and largest value, what is ``permuted`` all of its values: an index stays in range.
Zeros that were captured stay zeros where values are mixed, so that what is empty stays empty.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from warpsmith.errors import LedgerError, TaskAtFault
from warpsmith.judge.inputs import HiddenInputs
from warpsmith.judge.numeric import Array, Numeric
from warpsmith.model.head import Workload
from warpsmith.model.task import AppTask, Argument, Dtype
from warpsmith.store.blobs import Blobs

SMALL = 1 << 16
"""Elements of a buffer up to which an order is drawn whole; larger ones are turned round and shifted."""
LEAST_SHARE, MOST_SHARE = 1 / 16, 1 / 2
"""Of the second value in a mixed one."""


class CapturedInputs(HiddenInputs):
    """Draws the contents of one task's buffers: inputs, and what outputs begin with."""

    def __init__(self, task: AppTask, numeric: Numeric, seed: int, fixtures: Path) -> None:
        self.app = task
        self.numeric = numeric
        self.rng = random.Random(seed)
        self.blobs = Blobs(fixtures)
        self.buffers = [a for a in task.arguments if a.is_tensor]
        self._held: dict[tuple[str, Dtype], Array] = {}

    def draw(self, workload: Workload, family: str = "normal") -> dict[str, Array]:
        """One array per buffer: ``captured`` as it was, ``normal`` all varied, ``apart`` about half of them."""
        drawn = {}
        for buffer in self.buffers:
            content = self.captured(workload, buffer)
            vary = family == "normal" or (family == "apart" and self.rng.random() < 0.5)
            drawn[buffer.name] = self._varied(content, buffer) if vary else content
        return drawn

    def draw_timed(self, workload: Workload) -> dict[str, Array]:
        """Contents that no call has seen."""
        return self.draw(workload)

    @property
    def vary(self) -> bool:
        """Whether contents differ from call to call."""
        return any(
            self.app.variation(b) != "kept" and not self._uniform(self.captured(w, b))
            for w in self.app.workloads
            for b in self.buffers
        )

    def captured(self, workload: Workload, buffer: Argument, *, after: bool = False) -> Array:
        """What the buffer held before the launch, or after it."""
        content = self.app.launched(workload).contents.get(buffer.name)
        if content is None:
            return self._array(b"", buffer.element)
        digest = content.after if after and content.after else content.before
        key = (digest, buffer.element)
        if key not in self._held:
            try:
                self._held[key] = self._array(self.blobs.get(digest), buffer.element)
            except LedgerError:
                raise TaskAtFault(
                    f"the fixture {digest[:12]} of {buffer.name!r} on workload {workload.name!r} is not whole here.",
                    "Capture again, or copy .warpsmith/fixtures from where it was captured.",
                ) from None
        return self._held[key]

    def _array(self, content: bytes, dtype: Dtype) -> Array:
        torch = getattr(self.numeric, "torch", None)
        raw = np.frombuffer(content, np.uint8)
        if torch is None:
            return raw.view(self._dtype(dtype))
        return torch.from_numpy(raw.copy()).to(self.numeric.device).view(self._dtype(dtype))  # type: ignore[attr-defined]

    def _dtype(self, dtype: Dtype) -> Any:
        return self.numeric.dtype(dtype)  # type: ignore[attr-defined]  # both libraries have it

    def _uniform(self, content: Array) -> bool:
        return content.shape[0] < 2 or bool(self.numeric.xp.all(content == content[0]))

    def _varied(self, content: Array, buffer: Argument) -> Array:
        count, how = int(content.shape[0]), self.app.variation(buffer)
        if count < 2 or how == "kept":
            return content
        if how == "mixed":
            return self._mixed(content, buffer.element)
        xp = self.numeric.xp
        if count <= SMALL:
            order = xp.argsort(self.numeric.normal(count, self.rng.getrandbits(62)))
            return content[order]
        turned = xp.flip(content, axis=0) if self.rng.random() < 0.5 else content
        return xp.roll(turned, self.rng.randrange(1, count), axis=0)

    def _mixed(self, content: Array, dtype: Dtype) -> Array:
        xp = self.numeric.xp
        wide = content if dtype is Dtype.f64 else self.numeric.cast(content, Dtype.f32)
        other = xp.roll(wide, self.rng.randrange(1, int(content.shape[0])), axis=0)
        plain = xp.isfinite(wide) & xp.isfinite(other) & (wide != 0) & (other != 0)
        zero = xp.zeros_like(wide)
        first, second = xp.where(plain, wide, zero), xp.where(plain, other, zero)
        mixed = first + self.rng.uniform(LEAST_SHARE, MOST_SHARE) * (second - first)
        low, high = xp.where(first < second, first, second), xp.where(first < second, second, first)
        mixed = xp.where(mixed < low, low, xp.where(mixed > high, high, mixed))
        return xp.where(plain, self.numeric.cast(mixed, dtype), content)
