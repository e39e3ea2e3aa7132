"""The launcher of the device contract: loads one cubin and carries out launch plans. Trusted: no host code of others.

Started as a program of its own, never imported by the judge. Imports the standard library and ``cuda.bindings.driver``
only: starting costs little more than a CUDA context. It maps the judge's buffers of one candidate, and nothing else of
the judge's: no oracle, no other candidate's buffers.

    launcher.py COMMANDS ANSWERS    two pipes; a line of configuration, then JSON lines, each with one answer

    (started)                                                        ->  {"ready": true}
    {"do": "load", "binary": descriptor or -1, "kernels", "flush_bytes"}  ->  {"loaded": facts by kernel}
    {"do": "prepare", "workload", "buffers", "scratch", "launches"}  ->  {"prepared": workload}
    {"do": "call", "workload", "timed"}                              ->  {"seconds": s}
    {"do": "copy", "bytes"}                                          ->  {"seconds": s}

``{"refused": why}`` is the candidate's doing; ``{"error": name, "stage": stage}`` is the device's, and ends it.
"""

import ctypes
import json
import os
import signal
import sys
from typing import Any, TextIO

POISON = 0xFF
BLOCK = 2 << 20
"""Allocations are whole blocks of the driver's granularity, so none shares a block with another."""
MOST_PLAIN_SHARED = 48 << 10
LAUNCHES_PER_FLUSH = 4
"""Launches that can be enqueued while one flush runs (about 40 us against 5 us each)."""


class CudaError(Exception):
    """The driver's name of an error."""


class Refused(Exception):
    """What the candidate's plan asks cannot be done."""


def ask(function: Any, *arguments: Any) -> Any:
    """Call a driver function; its value. Raises CudaError."""
    status, *values = function(*arguments)
    if int(status) != 0:
        raise CudaError(status.name)
    return values[0] if len(values) == 1 else values


class Gate:
    """Holds a stream back until everything is enqueued, so that no launch waits for this process."""

    def __init__(self, cu: Any, stream: Any) -> None:
        self.cu, self.stream = cu, stream
        self.turn = 0
        host = int(ask(cu.cuMemHostAlloc, 4096, cu.CU_MEMHOSTALLOC_DEVICEMAP))
        self.word = ctypes.c_uint32.from_address(host)
        self.word.value = 0
        self.address = ask(cu.cuMemHostGetDevicePointer, host, 0)

    def close(self) -> None:
        """What is enqueued from now on waits."""
        self.turn += 1
        geq = int(self.cu.CUstreamWaitValue_flags.CU_STREAM_WAIT_VALUE_GEQ)
        ask(self.cu.cuStreamWaitValue32, self.stream, self.address, self.turn, geq)

    def open(self) -> None:
        """Let it go."""
        self.word.value = self.turn


class Prepared:
    """One workload, ready to launch."""

    def __init__(self, scratch: list[tuple[int, int]], launches: list[tuple[Any, ...]], kept: list[Any]) -> None:
        self.scratch = scratch  # address and bytes
        self.launches = launches
        self.kept = kept
        self.called = False


class Launcher:
    """One context, one stream, one cubin."""

    def __init__(self, cu: Any, config: dict[str, Any]) -> None:
        self.cu = cu
        ask(cu.cuInit, 0)
        device = self._device(config["uuid"])
        self.context = ask(cu.cuDevicePrimaryCtxRetain, device)
        ask(cu.cuCtxSetCurrent, self.context)
        self.stream = ask(cu.cuStreamCreate, int(cu.CUstream_flags.CU_STREAM_NON_BLOCKING))
        self.began, self.ended = (ask(cu.cuEventCreate, 0) for _ in range(2))
        self.flush_bytes = self.flush = 0
        self.gate = Gate(cu, self.stream)
        self.functions: dict[str, Any] = {}
        self.scratch: dict[str, tuple[int, int]] = {}
        self.prepared: dict[int, Prepared] = {}
        self.copies: list[int] = []
        self.calls = 0

    def _device(self, uuid: str) -> Any:
        """The device of that UUID. Raises CudaError where it is not there."""
        for ordinal in range(ask(self.cu.cuDeviceGetCount)):
            device = ask(self.cu.cuDeviceGet, ordinal)
            if bytes(ask(self.cu.cuDeviceGetUuid, device).bytes).hex() == uuid:
                return device
        raise CudaError(f"no device has the UUID {uuid}")

    def load(self, message: dict[str, Any]) -> dict[str, Any]:
        """Load a cubin, if one is named; facts of each kernel, under the names of the judge's build report."""
        cu = self.cu
        self.flush_bytes = message["flush_bytes"]
        self.flush = int(ask(cu.cuMemAlloc, self.flush_bytes)) if self.flush_bytes else 0
        if (binary := message["binary"]) >= 0:
            self.module = ask(cu.cuModuleLoadData, os.pread(binary, os.fstat(binary).st_size, 0))
        facts = {}
        attribute = cu.CUfunction_attribute
        for name in message["kernels"]:
            function = ask(cu.cuModuleGetFunction, self.module, name.encode())
            self.functions[name] = function
            facts[name] = {
                "registers": ask(cu.cuFuncGetAttribute, attribute.CU_FUNC_ATTRIBUTE_NUM_REGS, function),
                "stack_bytes": ask(cu.cuFuncGetAttribute, attribute.CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, function),
                "shared_bytes": ask(cu.cuFuncGetAttribute, attribute.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function),
            }
        return {"loaded": facts}

    def prepare(self, message: dict[str, Any]) -> dict[str, Any]:
        """Map the buffers of a workload, allocate its scratch, and lay its launches out."""
        cu = self.cu
        addresses = {}
        for name, (handle, offset) in message["buffers"].items():
            shared = cu.CUipcMemHandle()
            shared.reserved = bytes.fromhex(handle)
            lazy = int(cu.CUipcMem_flags.CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS)
            addresses[name] = int(ask(cu.cuIpcOpenMemHandle, shared, lazy)) + offset
        scratch = []
        for name, size in message["scratch"].items():
            addresses[name] = self._reserve(name, size)
            scratch.append((addresses[name], size))
        kept: list[Any] = []
        launches = [self._launch(said, addresses, kept) for said in message["launches"]]
        self.prepared[message["workload"]] = Prepared(scratch, launches, kept)
        return {"prepared": message["workload"]}

    def _reserve(self, name: str, size: int) -> int:
        """A scratch buffer of at least ``size`` bytes. A smaller one of that name stays: plans may point to it."""
        held, address = self.scratch.get(name, (0, 0))
        if held < size or not address:
            try:
                address = int(ask(self.cu.cuMemAlloc, max(1, -(-size // BLOCK)) * BLOCK))
            except CudaError as error:
                raise Refused(f"the scratch buffer {name!r} of {size} bytes: {error}") from None
            self.scratch[name] = (size, address)
        return address

    def _launch(self, said: dict[str, Any], addresses: dict[str, int], kept: list[Any]) -> tuple[Any, ...]:
        """The arguments of cuLaunchKernel; ``kept`` holds the memory that they point to."""
        function = self.functions[said["kernel"]]
        values = [
            addresses[a["buffer"]].to_bytes(8, "little") if "buffer" in a else bytes.fromhex(a["bytes"])
            for a in said["arguments"]
        ]
        self._check_parameters(said["kernel"], function, [len(value) for value in values])
        memory = [ctypes.create_string_buffer(value, len(value)) for value in values]
        pointers = (ctypes.c_void_p * max(1, len(memory)))(*(ctypes.addressof(m) for m in memory))
        kept += [memory, pointers]
        attribute = self.cu.CUfunction_attribute
        if said["shared_bytes"] > MOST_PLAIN_SHARED:
            most = attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            try:
                ask(self.cu.cuFuncSetAttribute, function, most, said["shared_bytes"])
            except CudaError as error:
                raise Refused(
                    f"{said['kernel']}: {said['shared_bytes']} bytes of dynamic shared memory: {error}"
                ) from None
        geometry = (*said["grid"], *said["block"], said["shared_bytes"])
        return (function, *geometry, self.stream, ctypes.addressof(pointers), 0)

    def _check_parameters(self, kernel: str, function: Any, passed: list[int]) -> None:
        """Raise Refused unless the kernel takes what the plan passes: the driver would read beyond our memory."""
        wanted: list[int] = []
        while True:
            status, _, size = self.cu.cuFuncGetParamInfo(function, len(wanted))
            if int(status) != 0:
                break
            wanted.append(int(size))
        if status != self.cu.CUresult.CUDA_ERROR_INVALID_VALUE:
            return  # the driver is older than the question (12.4)
        if wanted != passed:
            raise Refused(f"{kernel} takes parameters of {wanted} bytes, and the launch passes {passed}")

    def call(self, message: dict[str, Any]) -> dict[str, Any]:
        """One call between two events."""
        cu, plan = self.cu, self.prepared[message["workload"]]
        for address, size in plan.scratch:
            if size:
                ask(cu.cuMemsetD8Async, address, POISON, size, self.stream)

        def work() -> None:
            for launch in plan.launches:
                ask(cu.cuLaunchKernel, *launch)

        # A first launch may have to grow local memory, which waits for the device: it must not meet a closed gate.
        gated = message["timed"] and plan.called
        seconds = self._clocked(work, 1 + len(plan.launches) // LAUNCHES_PER_FLUSH, message["timed"], gated)
        plan.called = True
        return {"seconds": seconds}

    def copy(self, message: dict[str, Any]) -> dict[str, Any]:
        """A device-to-device copy under the same flush and clock."""
        if not self.copies:
            self.copies = [int(ask(self.cu.cuMemAlloc, message["most"])) for _ in range(2)]
            for address in self.copies:
                ask(self.cu.cuMemsetD8Async, address, POISON, message["most"], self.stream)
        source, target = self.copies

        def work() -> None:
            ask(self.cu.cuMemcpyDtoDAsync, target, source, message["bytes"], self.stream)

        return {"seconds": self._clocked(work, 1, True, self.calls > 0)}

    def _clocked(self, work: Any, flushes: int, flush: bool, gated: bool) -> float:
        """Seconds on the device from before ``work`` to after it, everything enqueued before the first begins."""
        cu = self.cu
        self.calls += 1
        if gated:
            self.gate.close()
        try:
            for _ in range(flushes if flush and self.flush_bytes else 0):
                ask(cu.cuMemsetD8Async, self.flush, self.calls & 0x7F, self.flush_bytes, self.stream)
            ask(cu.cuEventRecord, self.began, self.stream)
            work()
            ask(cu.cuEventRecord, self.ended, self.stream)
        finally:
            self.gate.open()
        ask(cu.cuStreamSynchronize, self.stream)
        return max(float(ask(cu.cuEventElapsedTime, self.began, self.ended)) / 1e3, 1e-9)


def serve(config: dict[str, Any], commands: TextIO, answer: Any) -> None:
    """Answer messages until the judge closes the pipe; ends the process where the device failed."""
    stage = "start"
    try:
        from cuda.bindings import driver

        launcher = Launcher(driver, config)
        answer({"ready": True})
        verbs = {"load": launcher.load, "prepare": launcher.prepare, "call": launcher.call, "copy": launcher.copy}
        for line in commands:
            message = json.loads(line)
            stage = message["do"]
            try:
                answer(verbs[stage](message))
            except Refused as refused:
                answer({"refused": str(refused)})
    except CudaError as error:
        answer({"error": str(error), "stage": stage})
        sys.stdout.flush()
        os._exit(1)  # tearing down a broken context can hang
    os._exit(0)


def main() -> None:
    """Read the configuration, serve. The process is confined already (warpsmith/sandbox)."""
    commands, answers = os.fdopen(int(sys.argv[1])), int(sys.argv[2])
    config = json.loads(commands.readline())
    for number in (signal.SIGXFSZ, signal.SIGPIPE):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    sys.path.extend(p for p in config["paths"] if p not in sys.path)

    def answer(said: dict[str, Any]) -> None:
        os.write(answers, (json.dumps(said) + "\n").encode())

    serve(config, commands, answer)


main()
