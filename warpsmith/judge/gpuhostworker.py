"""The worker of the host contract on a GPU: runs one candidate's calls over device memory that the judge owns.

Loaded by the fork-server, which calls :func:`main` in a fork that is confined already; until then it imports the
standard library and arrayinterface.py only. It owns nothing that matters: inputs, expected outputs, clock and verdict
stay in the judge's process. After loading the candidate it answers one byte per call, and nothing that it says is
believed: only the bytes of the outputs count.

A command is one byte: the workload, plus ``COPY`` where the outputs are also to be copied as the next user of the
stream would see them, before the stream is waited for.
"""

import ctypes
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from warpsmith.judge.arrayinterface import DeviceBytes

COPY = 0x80


class Driver:
    """The few calls of the driver that this needs, bound before a candidate is loaded."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")

    def ask(self, name: str, *arguments: Any) -> None:
        """Call a function. Raises RuntimeError with its number of the error."""
        status = getattr(self.library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} gave error {status}")

    def open(self, handle: str) -> int:
        """The address here of an allocation of the judge."""

        class Handle(ctypes.Structure):
            _fields_ = (("reserved", ctypes.c_char * 64),)

        said = Handle()
        ctypes.memmove(ctypes.byref(said), bytes.fromhex(handle), 64)
        address = ctypes.c_uint64()
        self.ask("cuIpcOpenMemHandle_v2", ctypes.byref(address), said, 1)
        return address.value


def tensors(torch: Any, driver: Driver, buffers: dict[str, Any]) -> dict[str, Any]:
    """The judge's buffers of one workload as tensors, by name."""
    kinds = {
        "f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
        "i64": torch.int64, "i32": torch.int32, "i8": torch.int8, "u8": torch.uint8,
    }  # fmt: skip
    made = {}
    for name, said in buffers.items():
        kind = kinds[said["dtype"]]
        count = kind.itemsize
        for extent in said["shape"]:
            count *= extent
        if count == 0:  # torch takes no address of an empty array
            made[name] = torch.empty(said["shape"], dtype=kind, device="cuda")
            continue
        flat = torch.as_tensor(DeviceBytes(driver.open(said["handle"]) + said["offset"], count), device="cuda")
        made[name] = flat.view(kind).reshape(said["shape"])
    return made


def python_entry(config: dict[str, Any]) -> Callable[..., None]:
    """The function of a Python module, which finds its tunables as globals and the files beside it on the path."""
    for compiled in config["compiled"]:
        shutil.copytree(compiled, os.environ["TRITON_CACHE_DIR"], copy_function=shutil.copyfile)
    sys.path.insert(0, os.path.dirname(config["module"]))
    spec = importlib.util.spec_from_file_location("candidate", config["module"])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__dict__.update(config["parameters"])
    sys.modules["candidate"] = module
    spec.loader.exec_module(module)
    entry: Callable[..., None] = getattr(module, config["entry"])
    return entry


def ffi_entry(config: dict[str, Any]) -> Callable[..., None]:
    """The exported function of a shared object."""
    import tvm_ffi

    named = f"{os.environ['TMPDIR']}/kernel.so"  # a module's kind is told by the end of its name
    os.symlink(config["binary"], named)
    entry: Callable[..., None] = getattr(tvm_ffi.load_module(named), config["entry"])
    return entry


def ffi_tensor(tensor: Any) -> Any:
    """A torch tensor as tvm_ffi has it, without a copy."""
    import tvm_ffi

    return tvm_ffi.from_dlpack(tensor)


def trusted(driver: Driver, traffic: list[int]) -> list[Callable[[], None]]:
    """The calls of a worker without a candidate: the smallest piece of work that reaches the device, then copies."""
    room = [ctypes.c_uint64() for _ in range(2)]
    for address in room:
        driver.ask("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max([256, *traffic])))
        driver.ask("cuMemsetD8_v2", address, ctypes.c_ubyte(1), ctypes.c_size_t(max([256, *traffic])))
    said = [partial(driver.ask, "cuMemsetD8Async", room[0], ctypes.c_ubyte(0), ctypes.c_size_t(1), None)]
    return [*said, *(partial(driver.ask, "cuMemcpyDtoDAsync_v2", *room, ctypes.c_size_t(n), None) for n in traffic)]


def copies(driver: Driver, given: dict[str, Any], seen: dict[str, Any]) -> list[Callable[[], None]]:
    """The copies of outputs into the judge's second buffers, in order of the default stream."""
    said: list[Callable[[], None]] = []
    for name, tensor in seen.items():
        addresses = (ctypes.c_uint64(t.data_ptr()) for t in (tensor, given[name]))
        size = ctypes.c_size_t(tensor.numel() * tensor.element_size())
        if size.value:
            said.append(partial(driver.ask, "cuMemcpyDtoDAsync_v2", *addresses, size, None))
    return said


def main(arguments: tuple[str, ...], descriptors: tuple[int, ...]) -> None:
    """Load, then answer calls until the judge closes the pipe."""
    config = json.loads(arguments[0])
    commands, answers = descriptors[:2]
    import torch

    torch.cuda.init()
    torch.zeros(1, device="cuda")
    driver = Driver()
    synchronize = partial(driver.ask, "cuStreamSynchronize", None)
    calls: list[Callable[[], Any]] = []
    after: list[list[Callable[[], None]]] = []
    language = config["language"]
    given = [tensors(torch, driver, w["buffers"]) for w in config["workloads"]]
    seen = [tensors(torch, driver, w["copies"]) for w in config["workloads"]]
    torch.cuda.synchronize()
    if language == "nothing":
        calls += trusted(driver, config["traffic"])
    else:
        entry = ffi_entry(config) if language == "tvm-ffi" else python_entry(config)
        for workload, mine, theirs in zip(config["workloads"], given, seen, strict=True):
            take = ffi_tensor if language == "tvm-ffi" else _same
            values = [take(mine[a["name"]]) if "name" in a else a["value"] for a in workload["arguments"]]
            calls.append(partial(entry, *values))
            after.append(copies(driver, mine, theirs))
    os.write(answers, b"R")
    while True:
        command = os.read(commands, 1)
        if not command:
            os._exit(0)
        workload = command[0] & ~COPY
        calls[workload]()
        if command[0] & COPY:
            for copy in after[workload]:
                copy()
        synchronize()
        os.write(answers, b"D")


def _same(tensor: Any) -> Any:
    return tensor
