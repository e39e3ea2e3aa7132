"""The worker of the host contract: runs one candidate's calls over shared memory. Standard library only.

Started as a program of its own, never imported by the judge. It owns nothing that matters: inputs, expected outputs,
clock and verdict stay in the judge's process. After loading the candidate it answers one byte per call, and nothing
that it says is believed: only the bytes of the outputs count.

    worker.py CONFIG.json     descriptors and layout are in CONFIG.json; it is confined already (warpsmith/sandbox)
"""

import ctypes
import importlib.util
import json
import mmap
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

C_TYPES: dict[str, Any] = {
    "f64": ctypes.c_double, "f32": ctypes.c_float, "i64": ctypes.c_int64, "i32": ctypes.c_int32,
    "i8": ctypes.c_int8, "u8": ctypes.c_uint8,
}  # fmt: skip


def map_memory(descriptor: int, size: int) -> mmap.mmap:
    """The shared buffer, with every page present before the clock runs."""
    return mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)


def serve_c(config: dict[str, Any], memories: list[mmap.mmap]) -> None:
    """Answer calls of the C entry in a native loop, until the judge closes the pipe; never returns."""
    entry = getattr(ctypes.CDLL(config["binary"]), config["entry"])
    signature = config["workloads"][0]["arguments"]
    kinds = [ctypes.c_void_p if "offset" in a else C_TYPES[a["dtype"]] for a in signature]
    fields = [(f"a{i}", kind) for i, kind in enumerate(kinds)]
    call: Any = type("call", (ctypes.Structure,), {"_fields_": fields})
    calls = (call * len(memories))()
    for number, (memory, workload) in enumerate(zip(memories, config["workloads"], strict=True)):
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for i, argument in enumerate(workload["arguments"]):
            value = base + argument["offset"] if "offset" in argument else argument["value"]
            setattr(calls[number], f"a{i}", value)
    serve = ctypes.CDLL(config["serve"]).serve
    os.write(config["answers"], b"R")
    serve(ctypes.cast(entry, ctypes.c_void_p), calls, config["commands"], config["answers"])


def python_calls(config: dict[str, Any], memories: list[mmap.mmap]) -> list[Callable[[], None]]:
    """One closure per workload over the Python entry, with numpy views of the shared buffers."""
    import numpy

    kinds = {"f64": "f8", "f32": "f4", "f16": "f2", "i64": "i8", "i32": "i4", "i8": "i1", "u8": "u1"}
    spec = importlib.util.spec_from_file_location("candidate", config["module"])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entry = getattr(module, config["entry"])
    calls: list[Callable[[], None]] = []
    for memory, workload in zip(memories, config["workloads"], strict=True):
        arguments: list[Any] = []
        for argument in workload["arguments"]:
            if "offset" in argument:
                count = 1
                for extent in argument["shape"]:
                    count *= extent
                flat = numpy.frombuffer(memory, kinds[argument["dtype"]], count, argument["offset"])
                arguments.append(flat.reshape(argument["shape"]))
            else:
                arguments.append(argument["value"])
        calls.append(partial(entry, *arguments))
    return calls


def main() -> None:
    """Load, then answer calls until the judge closes the pipe."""
    with open(sys.argv[1]) as file:
        config = json.load(file)
    for number in (signal.SIGXFSZ, signal.SIGPIPE):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    memories = [map_memory(w["descriptor"], w["size"]) for w in config["workloads"]]
    if config["language"] == "c":
        serve_c(config, memories)
    calls = python_calls(config, memories)
    commands, answers = config["commands"], config["answers"]
    os.write(answers, b"R")
    while True:
        command = os.read(commands, 1)
        if not command:
            os._exit(0)
        calls[command[0]]()
        os.write(answers, b"D")


main()
