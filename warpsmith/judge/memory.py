"""Device memory that the judge owns: buffers between guard bands, in torch's own context, handed over by CUDA IPC."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from warpsmith.errors import WarpsmithError
from warpsmith.judge.arrayinterface import DeviceBytes
from warpsmith.judge.failures import CandidateFailed
from warpsmith.judge.numeric import Array, TorchNumeric
from warpsmith.judge.pin import must_be
from warpsmith.judge.poison import poison, signed
from warpsmith.model.evaluation import Status
from warpsmith.model.head import Workload
from warpsmith.model.target import Target
from warpsmith.model.task import Argument, KernelTask, Role

BAND = 64 << 10
"""Least bytes of the guard band on either side of a tensor."""
BLOCK = 2 << 20
"""Granularity of device allocations. CUDA IPC shares whole blocks, so every buffer is whole blocks: a launcher never
sees a neighbour of what it was given."""
GUARD = 0x5A
SMALLEST_FLUSH = 128 << 20
MOST_UNUSED = 4
"""Unused buffers may keep one part in so many of the device's memory."""


Piece = tuple[int, int, int]
"""Device memory that must be as it was: its address, that of what it must equal (0: GUARD all over), and bytes."""


class ContextLost(RuntimeError):
    """The judge's own CUDA context no longer works. Nobody catches it: the session ends; the next has another."""


def flush_bytes(target: Target) -> int:
    """What is read or written to empty the last cache."""
    return max(SMALLEST_FLUSH, 2 * target.facts.get("L2_BYTES", 0))


@lru_cache(maxsize=1)
def numeric() -> TorchNumeric:
    """PyTorch on the judge's device, imported once for a session."""
    made = TorchNumeric()
    made.torch.zeros(1, device=made.device).item()
    return made


class Memory:
    """Device memory of the judge by address, in the primary context that torch uses. With ``keep``, buffers that are
    given back wait to be used again, until :meth:`trim`.
    """

    def __init__(self, *, keep: bool = False) -> None:
        from cuda.bindings import driver

        self.cu = driver
        self.numeric = numeric()
        self.device = self.ask(driver.cuDeviceGet, self.numeric.torch.cuda.current_device())
        self.ask(driver.cuCtxSetCurrent, self.ask(driver.cuDevicePrimaryCtxRetain, self.device))
        self.most_unused = self.ask(driver.cuDeviceTotalMem, self.device) // MOST_UNUSED if keep else 0
        self.sizes: dict[int, int] = {}
        self.unused: dict[int, list[int]] = {}
        """Addresses by size."""
        self.uuid = bytes(self.ask(driver.cuDeviceGetUuid, self.device).bytes).hex()
        self.changes: Callable[[Sequence[Piece]], list[bool]] = self.plain_changes
        """Whether each piece changed; fused.py does it faster."""

    def must_be(self, target: Target) -> None:
        """Raise WarpsmithError where this is not the device that the evidence will name."""
        name = self.ask(self.cu.cuDeviceGetName, 128, self.device).split(b"\0")[0].decode()
        must_be(target, self.uuid, name)

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a driver function; its value. Raises WarpsmithError with the driver's name of the error."""
        status, *values = function(*arguments)
        if int(status) != 0:
            raise WarpsmithError(f"{getattr(function, '__name__', function)} gave {status.name}.")
        return values[0] if values else None

    def allocate(self, size: int) -> int:
        """The address of ``size`` bytes, of whatever content. What is kept unused, here and by torch, is given up first
        where there is no more; then it fails with WarpsmithError.
        """
        if self.unused.get(size):
            return self._noted(self.unused[size].pop(), size)
        status, address = self.cu.cuMemAlloc(size)
        if status == self.cu.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            self.trim()
            self.numeric.torch.cuda.empty_cache()
            address = self.ask(self.cu.cuMemAlloc, size)
        elif int(status) != 0:
            raise WarpsmithError(f"cuMemAlloc of {size} bytes gave {status.name}.")
        return self._noted(int(address), size)

    def free(self, address: int) -> None:
        """Give memory back that no other process maps any more. Where it is kept, the next measurement has it: the
        driver takes 2 ms to allocate or free one buffer.
        """
        size = self.sizes.pop(address)
        self.unused.setdefault(size, []).append(address)
        if sum(s * len(kept) for s, kept in self.unused.items()) > self.most_unused:
            self.trim()

    def trim(self) -> None:
        """Give unused memory back to the driver; in a broken context it is gone already."""
        for address in (a for kept in self.unused.values() for a in kept):
            with contextlib.suppress(WarpsmithError):
                self.ask(self.cu.cuMemFree, address)
        self.unused.clear()

    def _noted(self, address: int, size: int) -> int:
        self.sizes[address] = size
        return address

    def handle(self, address: int) -> str:
        """What another process opens the allocation by, in hexadecimal."""
        return bytes(self.ask(self.cu.cuIpcGetMemHandle, address).reserved).hex()

    def view(self, address: int, size: int) -> Array:
        """The memory as a tensor of bytes, without a copy."""
        return self.numeric.torch.as_tensor(DeviceBytes(address, size), device=self.numeric.device)

    def plain_changes(self, pieces: Sequence[Piece]) -> list[bool]:
        """Whether each piece changed, by array functions."""
        torch = self.numeric.torch
        found = []
        for at, other, size in pieces:
            mine = self.view(at, size) if size else torch.empty(0, device=self.numeric.device)
            found.append((mine != (self.view(other, size) if size and other else GUARD)).any())
        return [bool(changed) for changed in torch.stack(found).tolist()]

    def probe(self) -> None:
        """Raise ContextLost unless the judge's own context still computes."""
        torch = self.numeric.torch
        try:
            two = torch.ones(1, device=self.numeric.device).mul_(2).item()
        except RuntimeError as error:
            raise ContextLost(f"the judge's CUDA context is lost: {error}") from error
        if two != 2:
            raise ContextLost(f"the judge's CUDA context is lost: 1 * 2 gave {two}")


class Buffer:
    """One tensor between two guard bands, in an allocation of its own, ``shift`` bytes off the coarse alignment."""

    def __init__(self, memory: Memory, argument: Argument, shape: tuple[int, ...], shift: int = 0) -> None:
        self.argument = argument
        data = math.prod(shape) * argument.element.itemsize
        self.offset = BAND + shift
        size = -(-(self.offset + data + BAND) // BLOCK) * BLOCK
        self.address = memory.allocate(size)
        self.handle = memory.handle(self.address)
        whole = memory.view(self.address, size)
        whole.fill_(GUARD)
        self.bytes = whole[self.offset : self.offset + data]
        self.values = self.bytes.view(memory.numeric.dtype(argument.element)).reshape(shape)
        end = self.offset + data
        self.surroundings = ((self.address, 0, self.offset), (self.address + end, 0, size - end))
        """The guard bands, as pieces that must be as they were."""
        torch = memory.numeric.torch
        width = argument.element.itemsize
        self.words = self.values.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[width])

    def poison(self) -> None:
        """Fill it with a secret that is drawn anew; enqueued only."""
        element = self.argument.element
        self.words.fill_(signed(poison(element), element.itemsize))


class Arena:
    """The buffers of one side for one workload."""

    def __init__(self, memory: Memory, task: KernelTask, workload: Workload, shift: int = 0) -> None:
        self.memory = memory
        self.buffers: dict[str, Buffer] = {}
        try:
            for argument in task.arguments:
                if argument.is_tensor:
                    self.buffers[argument.name] = Buffer(memory, argument, argument.extent(workload.axes), shift)
        except WarpsmithError:
            self.close()
            raise

    def reveal(self, inputs: dict[str, Array]) -> None:
        """Fresh inputs in, outputs poisoned but for those that ``inputs`` has a content of; enqueued only."""
        for name, buffer in self.buffers.items():
            if name in inputs:
                buffer.values.copy_(inputs[name])
            else:
                buffer.poison()

    def check(self, inputs: dict[str, Array]) -> None:
        """Raise CandidateFailed where a guard band or an input was written. One wait for the device in all."""
        given = {name: inputs[name].contiguous() for name in inputs}
        pieces: list[Piece] = []
        failures: list[tuple[Status, str]] = []
        for name, buffer in self.buffers.items():
            pieces += buffer.surroundings
            failures += [(Status.wrong_values, f"it wrote out of bounds of {name!r} (a guard band changed)")] * 2
            if buffer.argument.role is Role.input:
                pieces.append((buffer.address + buffer.offset, given[name].data_ptr(), len(buffer.bytes)))
                failures.append((Status.cheated, f"it changed its input {name!r}"))
        for (status, detail), changed in zip(failures, self.memory.changes(pieces), strict=True):
            if changed:
                raise CandidateFailed(status, detail)

    def close(self) -> None:
        """Give the memory back; views must not be used afterwards."""
        for buffer in self.buffers.values():
            self.memory.free(buffer.address)
        self.buffers.clear()
