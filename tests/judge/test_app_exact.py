"""Captured kernels under tools: copies of exactly the buffers' size, whose contents go in and out, and pointers that
lie within them. The driver is one that works on this process's own memory.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.app.capturing import transposes
from tests.judge.test_app_plan import TARGET, candidate, task_of
from warpsmith.judge.appdevice import AppDeviceBench
from warpsmith.judge.device import DeviceBench
from warpsmith.judge.exact import Copies
from warpsmith.judge.sanitize import DEVICE_TOOLS, tools_for
from warpsmith.judge.sanitize_device import PLANT_TASK
from warpsmith.model.task import AppTask


class Driver:
    """Device memory that is this process's own; it keeps what it gave."""

    def __init__(self) -> None:
        self.held: dict[int, Any] = {}

    def cuMemAlloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        made = (ctypes.c_char * size)(*(b"\xee" * size))
        self.held[ctypes.addressof(made)] = made
        return 0, ctypes.addressof(made)

    def cuMemcpyDtoH(self, target: int, source: int, size: int) -> tuple[int]:  # noqa: N802
        ctypes.memmove(target, source, size)
        return (0,)

    cuMemcpyHtoD = cuMemcpyDtoH  # noqa: N815

    def content(self, address: int) -> bytes:
        return bytes(self.held[address])


class Buffers:
    """The buffers of a workload, in a driver's memory."""

    def __init__(self, cu: Driver, task: AppTask, number: int) -> None:
        self.cu, self.buffers, self.addresses = cu, {}, {}
        for argument in task.arguments:
            if argument.is_tensor:
                size = argument.extent(task.workloads[number].axes)[0] * argument.element.itemsize
                _, at = cu.cuMemAlloc(size)
                ctypes.memset(at, ord(argument.name[-1]), size)
                made = SimpleNamespace(argument=argument, handle=argument.name, offset=64, bytes=bytes(size))
                self.buffers[argument.name], self.addresses[argument.name] = made, at


def bench(kind: type[DeviceBench]) -> DeviceBench:
    made = kind.__new__(kind)  # its device is not needed for what is only said
    made.target = TARGET
    return made


def test_outputs_of_a_captured_kernel_begin_with_content_also_in_copies(tmp_path: Path) -> None:
    cu, task = Driver(), task_of(tmp_path, transposes(tmp_path))
    held = Buffers(cu, task, 0)
    said = bench(AppDeviceBench).exact(task, held)  # type: ignore[arg-type]
    of = dict(held.addresses)
    copies = Copies(cu, said, held.addresses)
    copies.fill()
    for name, address in held.addresses.items():
        assert address != of[name]
        assert cu.content(address) == name[-1].encode() * len(held.buffers[name].bytes), "exactly as large, and filled"
    for address in held.addresses.values():
        ctypes.memset(address, ord("!"), 8)
    copies.give_back()
    assert {name: cu.content(at)[:1] for name, at in of.items()} == {"p0": b"0", "p1": b"!"}, "only outputs go back"


def test_a_plain_kernel_is_given_outputs_that_nobody_wrote(tmp_path: Path) -> None:
    cu, task = Driver(), task_of(tmp_path, transposes(tmp_path))
    held = Buffers(cu, task, 0)
    for kind in (DeviceBench, AppDeviceBench):
        said = bench(kind).exact(PLANT_TASK, held)  # type: ignore[arg-type]
        assert {n: (reads, gives) for n, (_, reads, gives) in said.items()} == {
            "p0": (True, False),
            "p1": (False, True),
        }
    said = bench(DeviceBench).exact(PLANT_TASK, held)  # type: ignore[arg-type]
    Copies(cu, said, held.addresses).fill()
    assert cu.content(held.addresses["p1"])[:8] == b"\xee" * 8


def test_pointers_are_named_by_the_buffer_they_lie_in(tmp_path: Path) -> None:
    run = transposes(tmp_path)
    task = task_of(tmp_path, run)
    moved = task.launches[0].pointers[1].model_copy(update={"offset": 48})
    one = task.launches[0].model_copy(update={"pointers": (task.launches[0].pointers[0], moved)})
    task = task.model_copy(update={"launches": (one, *task.launches[1:])})
    said = bench(AppDeviceBench).layout(task, task.workloads[0], Buffers(Driver(), task, 0))  # type: ignore[arg-type]
    assert said["buffers"] == {"p0": ("p0", 64), "p1": ("p1", 64)}
    assert said["within"] == {"p0:0": ("p0", 0), "p1:0": ("p1", 48)}
    assert said["globals"] == {}
    made = bench(AppDeviceBench).plan(
        task,
        task.workloads[0],
        candidate("p0", "p1", "p2", "p3"),
        SimpleNamespace(build=SimpleNamespace(kernels=())),  # type: ignore[arg-type]
    )
    assert {a for a in made.launches[0].arguments if isinstance(a, str)} == set(said["within"])


def test_all_tools_apply_to_a_captured_kernel(tmp_path: Path) -> None:
    assert tools_for(task_of(tmp_path, transposes(tmp_path)), candidate("p0")) == DEVICE_TOOLS
