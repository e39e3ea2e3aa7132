"""The launcher of the device contract: loads one cubin and carries out launch plans. Trusted: no host code of others.

Started as a program of its own, never imported by the judge. Imports the standard library, stamps.py (the clock) and
``cuda.bindings.driver`` only: starting costs little more than a CUDA context. It maps the judge's buffers of one
candidate, and nothing else of the judge's: no oracle, no other candidate's buffers.

    launcher.py COMMANDS ANSWERS    two pipes; a line of configuration, then JSON lines, each with one answer

    (started)                                                        ->  {"ready": true}
    {"do": "load", "binary": descriptor or -1, "kernels", "flush_bytes", "overhead_ns"}  ->  {"loaded": facts by kernel}
        each kernel has a name, its symbol, and offset and bytes of its cubin in the binary
    {"do": "prepare", "workload", "buffers", "scratch", "launches"}  ->  {"prepared": workload}
        "within": by name the buffer that it points into, and how far: what a captured kernel was given
        for tools that look for mistakes also "exact": how each buffer is copied (exact.py)
        "globals": symbol and bytes of each variable of the cubin that begins a call with a buffer's content
    {"do": "call", "workload", "timed"}                              ->  {"measured": {"seconds", "disturbed": why}}
    {"do": "copy", "bytes"}                                          ->  the same
    {"do": "overhead"}                                               ->  {"overhead_ns": of the clock itself}

``{"refused": why}`` and ``{"cheated": why}`` are the candidate's doing, ``{"doubtful": why}`` is nobody's for certain;
``{"error": name, "stage": stage}`` is the device's, and ends it.
"""

import ctypes
import gc
import json
import os
import signal
import statistics
import sys
from typing import Any, TextIO

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from warpsmith.judge.exact import Copies
from warpsmith.judge.stamps import Clock, CudaError, Doubtful, Forged, ask  # isolated mode leaves the path out

POISON = 0xFF
BLOCK = 2 << 20
"""Allocations are whole blocks of the driver's granularity, so none shares a block with another."""
MOST_PLAIN_SHARED = 48 << 10
MOST_PORTABLE_CLUSTER = 8
PARAMETER_ALIGNMENT = 64
"""Of a tensor map, the parameter that asks for most."""
SWEEPERS = 1056
"""Blocks of the kernel that empties L2."""
OVERHEAD_CALLS = 31
LAUNCHES_PER_FLUSH = 4
"""Launches that can be enqueued while one flush runs (about 40 us against 5 us each)."""


class Refused(Exception):
    """What the candidate's plan asks cannot be done."""


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

    def __init__(
        self,
        scratch: list[tuple[int, int]],
        launches: list[tuple[Any, ...]],
        kept: list[Any],
        copies: Copies | None = None,
        variables: list[tuple[int, int, int]] | None = None,
    ) -> None:
        self.variables = variables or []  # address, that of its buffer, and bytes
        self.scratch = scratch  # address and bytes
        self.launches = launches
        self.kept = kept
        self.copies = copies
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
        self.own = ask(cu.cuModuleLoadData, bytes.fromhex(config["stamps"]))
        self.clock = Clock(cu, self.stream, ask(cu.cuModuleGetFunction, self.own, b"stamp"))
        self.sweep = ask(cu.cuModuleGetFunction, self.own, b"sweep")
        self.flush_bytes = self.flush = 0
        self.gate = Gate(cu, self.stream)
        self.functions: dict[str, Any] = {}
        self.modules: list[Any] = []
        self.scratch: dict[str, tuple[int, int]] = {}
        self.prepared: dict[int, Prepared] = {}
        self.copies: list[int] = []

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
        if self.flush_bytes:
            self.flush = int(ask(cu.cuMemAlloc, self.flush_bytes))
            ask(cu.cuMemsetD8Async, self.flush, 0, self.flush_bytes, self.stream)
        self.clock.overhead_ns = message["overhead_ns"]
        self._clocked(lambda: None, 1, True, False)  # first launches, which must not meet a closed gate
        modules = {}
        facts = {}
        attribute = cu.CUfunction_attribute
        for kernel in message["kernels"]:
            name, place = kernel["name"], (kernel["offset"], kernel["bytes"])
            if place not in modules:
                modules[place] = ask(cu.cuModuleLoadData, os.pread(message["binary"], place[1], place[0]))
            function = ask(cu.cuModuleGetFunction, modules[place], kernel["symbol"].encode())
            self.functions[name] = function
            facts[name] = {
                "registers": ask(cu.cuFuncGetAttribute, attribute.CU_FUNC_ATTRIBUTE_NUM_REGS, function),
                "stack_bytes": ask(cu.cuFuncGetAttribute, attribute.CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, function),
                "shared_bytes": ask(cu.cuFuncGetAttribute, attribute.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function),
            }
        self.modules = list(modules.values())
        return {"loaded": facts}

    def prepare(self, message: dict[str, Any]) -> dict[str, Any]:
        """Map the buffers of a workload, allocate its scratch, and lay its launches out."""
        cu = self.cu
        addresses, opened = {}, {}
        for name, (handle, offset) in message["buffers"].items():
            if handle not in opened:  # several names may be of one buffer
                shared = cu.CUipcMemHandle()
                shared.reserved = bytes.fromhex(handle)
                lazy = int(cu.CUipcMem_flags.CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS)
                opened[handle] = int(ask(cu.cuIpcOpenMemHandle, shared, lazy))
            addresses[name] = opened[handle] + offset
        copies = Copies(cu, message["exact"], addresses) if "exact" in message else None
        for name, (buffer, offset) in message.get("within", {}).items():
            addresses[name] = addresses[buffer] + offset
        variables = self._variables(message.get("globals", {}), addresses)
        scratch = []
        for name, size in message["scratch"].items():
            addresses[name] = self._reserve(name, size) if copies is None else int(ask(cu.cuMemAlloc, max(1, size)))
            scratch.append((addresses[name], size))
        kept: list[Any] = []
        launches = [self._launch(said, addresses, kept) for said in message["launches"]]
        self.prepared[message["workload"]] = Prepared(scratch, launches, kept, copies, variables)
        return {"prepared": message["workload"]}

    def _variables(self, said: dict[str, tuple[str, int]], addresses: dict[str, int]) -> list[tuple[int, int, int]]:
        """Where each global variable of the cubin lies, the buffer with its content, and bytes. One that the candidate
        does not have is not given to it. Raises Refused for one of another size.
        """
        found = []
        for name, (symbol, size) in said.items():
            for module in self.modules:
                status, address, held = self.cu.cuModuleGetGlobal(module, symbol.encode())
                if int(status) == 0 and int(held) != size:
                    raise Refused(f"the variable {symbol} has {int(held)} bytes, and the original's has {size}")
                if int(status) == 0:
                    found.append((int(address), addresses[name], size))
        return found

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
        """A driver function and its arguments; ``kept`` holds the memory that they point to."""
        function = self.functions[said["kernel"]]
        values = [self._value(argument, addresses) for argument in said["arguments"]]
        self._check_parameters(said["kernel"], function, [len(value) for value in values])
        self._check_block(said, function)
        memory = [ctypes.create_string_buffer(len(value) + PARAMETER_ALIGNMENT) for value in values]
        places = [-(-ctypes.addressof(m) // PARAMETER_ALIGNMENT) * PARAMETER_ALIGNMENT for m in memory]
        for place, value in zip(places, values, strict=True):
            ctypes.memmove(place, value, len(value))
        pointers = (ctypes.c_void_p * max(1, len(places)))(*places)
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
        if said["cluster"]:
            config = self._in_clusters(said, function)
            kept.append(config)
            return (self.cu.cuLaunchKernelEx, config, function, ctypes.addressof(pointers), 0)
        geometry = (*said["grid"], *said["block"], said["shared_bytes"])
        return (self.cu.cuLaunchKernel, function, *geometry, self.stream, ctypes.addressof(pointers), 0)

    def _value(self, argument: dict[str, Any], addresses: dict[str, int]) -> bytes:
        """The bytes of one kernel parameter."""
        if "buffer" in argument:
            return addresses[argument["buffer"]].to_bytes(8, "little")
        if "tensor_map" in argument:
            return self._encode(argument["tensor_map"], addresses)
        content = bytearray.fromhex(argument["bytes"])
        for at, name in argument.get("pointers", ()):
            content[at : at + 8] = addresses[name].to_bytes(8, "little")
        return bytes(content)

    def _encode(self, said: dict[str, Any], addresses: dict[str, int]) -> bytes:
        """A tensor map, over the buffer that it is of."""
        cu = self.cu
        fill = {"zero": "NONE", "nan": "NAN_REQUEST_ZERO_FMA"}[said["oob_fill"]]
        promotion = {"none": "NONE"}.get(said["l2_promotion"], f"L2_{said['l2_promotion']}")
        try:
            made = ask(
                cu.cuTensorMapEncodeTiled,
                getattr(cu.CUtensorMapDataType, f"CU_TENSOR_MAP_DATA_TYPE_{said['dtype']}"),
                len(said["dims"]),
                addresses[said["of"]],
                [cu.cuuint64_t(extent) for extent in said["dims"]],
                [cu.cuuint64_t(stride) for stride in said["strides"]],
                [cu.cuuint32_t(extent) for extent in said["box"]],
                [cu.cuuint32_t(stride) for stride in said["element_strides"]],
                getattr(cu.CUtensorMapInterleave, f"CU_TENSOR_MAP_INTERLEAVE_{said['interleave'].upper()}"),
                getattr(cu.CUtensorMapSwizzle, f"CU_TENSOR_MAP_SWIZZLE_{said['swizzle'].upper()}"),
                getattr(cu.CUtensorMapL2promotion, f"CU_TENSOR_MAP_L2_PROMOTION_{promotion}"),
                getattr(cu.CUtensorMapFloatOOBfill, f"CU_TENSOR_MAP_FLOAT_OOB_FILL_{fill}"),
            )
        except CudaError as error:
            numbers = {name: said[name] for name in ("dtype", "dims", "strides", "box", "element_strides")}
            raise Refused(f"the tensor map of {said['of']!r} with {numbers}: {error}") from None
        return b"".join(int(word).to_bytes(8, "little") for word in made.opaque)

    def _in_clusters(self, said: dict[str, Any], function: Any) -> Any:
        """The configuration of a launch in clusters. Raises Refused where the device holds none of that size."""
        cu, cluster = self.cu, said["cluster"]
        shape = cu.CUlaunchAttribute()
        shape.id = cu.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
        shape.value.clusterDim.x, shape.value.clusterDim.y, shape.value.clusterDim.z = cluster
        config = cu.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = said["grid"]
        config.blockDimX, config.blockDimY, config.blockDimZ = said["block"]
        config.sharedMemBytes = said["shared_bytes"]
        config.hStream = self.stream
        config.attrs, config.numAttrs = [shape], 1
        try:
            if cluster[0] * cluster[1] * cluster[2] > MOST_PORTABLE_CLUSTER:
                allowed = cu.CUfunction_attribute.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED
                ask(cu.cuFuncSetAttribute, function, allowed, 1)
            fits = int(ask(cu.cuOccupancyMaxActiveClusters, function, config))
        except CudaError as error:
            raise Refused(f"{said['kernel']}: clusters of {cluster} blocks: {error}") from None
        if not fits:
            raise Refused(
                f"{said['kernel']}: the device holds no cluster of {cluster} blocks of {said['block']} threads with"
                f" {said['shared_bytes']} bytes of dynamic shared memory"
            )
        return config

    def _check_block(self, said: dict[str, Any], function: Any) -> None:
        """Raise Refused for a block of more threads than the kernel was compiled for."""
        most = ask(
            self.cu.cuFuncGetAttribute, self.cu.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, function
        )
        x, y, z = said["block"]
        if x * y * z > int(most):
            raise Refused(f"{said['kernel']} is compiled for {most} threads a block, and the launch has {x * y * z}")

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
        if plan.copies is not None:
            plan.copies.fill()
        for address, size in plan.scratch if plan.copies is None else ():
            if size:
                ask(cu.cuMemsetD8Async, address, POISON, size, self.stream)

        for address, buffer, size in plan.variables:
            ask(cu.cuMemcpyDtoDAsync, address, buffer, size, self.stream)

        def work() -> None:
            for launch in plan.launches:
                ask(*launch)

        # A first launch may have to grow local memory, which waits for the device: it must not meet a closed gate.
        gated = message["timed"] and plan.called
        measured = self._clocked(work, 1 + len(plan.launches) // LAUNCHES_PER_FLUSH, message["timed"], gated)
        plan.called = True
        for address, buffer, size in plan.variables:
            ask(cu.cuMemcpyDtoDAsync, buffer, address, size, self.stream)
        if plan.variables:
            ask(cu.cuStreamSynchronize, self.stream)
        if plan.copies is not None:
            plan.copies.give_back()
        return {"measured": measured}

    def copy(self, message: dict[str, Any]) -> dict[str, Any]:
        """A device-to-device copy under the same flush and clock."""
        ready = bool(self.copies)
        if not ready:
            self.copies = [int(ask(self.cu.cuMemAlloc, message["most"])) for _ in range(2)]
            for address in self.copies:
                ask(self.cu.cuMemsetD8Async, address, POISON, message["most"], self.stream)
        source, target = self.copies

        def work() -> None:
            ask(self.cu.cuMemcpyDtoDAsync, target, source, message["bytes"], self.stream)

        return {"measured": self._clocked(work, 1, True, ready)}

    def overhead(self, message: dict[str, Any]) -> dict[str, Any]:
        """How far two stamps with nothing between them are apart."""
        taken = [self._clocked(lambda: None, 1, True, True)["seconds"] for _ in range(OVERHEAD_CALLS)]
        return {"overhead_ns": round(statistics.median(taken) * 1e9)}

    def _clocked(self, work: Any, flushes: int, flush: bool, gated: bool) -> dict[str, Any]:
        """Seconds on the device from before ``work`` to after it, everything enqueued before the first begins; watched
        where ``gated``.
        """
        if gated:
            self.gate.close()
        try:
            for _ in range(flushes if flush and self.flush_bytes else 0):
                self._evict()
            self.clock.begin()
            work()
            self.clock.end()
        finally:
            self.clock.opening()
            self.gate.open()
        seconds, disturbed = self.clock.watched() if gated else (self.clock.unwatched(), "")
        return {"seconds": seconds, "disturbed": disturbed}

    def _evict(self) -> None:
        """Enqueue reads of twice the L2 cache: a memset would leave it full of what others must wait to be written."""
        values = (self.flush, self.flush_bytes // 16, self.flush)
        kinds = (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p)
        ask(self.cu.cuLaunchKernel, self.sweep, SWEEPERS, 1, 1, 512, 1, 1, 0, self.stream, (values, kinds), 0)


def serve(config: dict[str, Any], commands: TextIO, answer: Any) -> None:
    """Answer messages until the judge closes the pipe; ends the process where the device failed."""
    stage = "start"
    try:
        from cuda.bindings import driver

        launcher = Launcher(driver, config)
        answer({"ready": True})
        verbs = {
            "load": launcher.load, "prepare": launcher.prepare, "call": launcher.call, "copy": launcher.copy,
            "overhead": launcher.overhead,
        }  # fmt: skip
        for line in commands:
            message = json.loads(line)
            stage = message["do"]
            try:
                answer(verbs[stage](message))
            except Refused as refused:
                answer({"refused": str(refused)})
            except Forged as forged:
                answer({"cheated": str(forged)})
            except Doubtful as doubtful:
                answer({"doubtful": str(doubtful)})
    except CudaError as error:
        answer({"error": str(error), "stage": stage})
        sys.stdout.flush()
        os._exit(1)  # tearing down a broken context can hang
    driver.cuProfilerStop()  # a tracer writes what it has seen so far
    os._exit(0)


def main() -> None:
    """Read the configuration, serve. The process is confined already (warpsmith/sandbox)."""
    commands, answers = os.fdopen(int(sys.argv[1])), int(sys.argv[2])
    config = json.loads(commands.readline())
    for number in (signal.SIGXFSZ, signal.SIGPIPE):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    sys.path.extend(p for p in config["paths"] if p not in sys.path)
    gc.disable()  # a collection would interrupt the watch over the clock

    def answer(said: dict[str, Any]) -> None:
        os.write(answers, (json.dumps(said) + "\n").encode())

    serve(config, commands, answer)


main()
