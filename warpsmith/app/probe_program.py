"""The program that the probe watches: one kernel, launched in three ways through the driver; no compiler, no packages.

Prints what each launch wrote: which kernel ran, how many blocks along x, how many threads along x. With ``--other`` it
prints the PTX of the kernel that the probe puts in its place. Exit status 4 where there is no driver or no device.
"""

from __future__ import annotations

import ctypes
import sys

NO_DEVICE = 4
GRID, BLOCK = (3, 2, 1), (32, 2, 1)
PTX = """.version 7.0
.target sm_75
.address_size 64
.visible .entry {name}(.param .u64 out, .param .u32 unused)
{{
.reg .u32 %r<4>;
.reg .u64 %a;
ld.param.u64 %a, [out];
cvta.to.global.u64 %a, %a;
mov.u32 %r1, {mark};
mov.u32 %r2, %nctaid.x;
mov.u32 %r3, %ntid.x;
st.global.u32 [%a], %r1;
st.global.u32 [%a+4], %r2;
st.global.u32 [%a+8], %r3;
ret;
}}
"""


class LaunchConfig(ctypes.Structure):
    """``CUlaunchConfig``."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p), ("attributes", ctypes.c_void_p), ("count", ctypes.c_uint),
    )  # fmt: skip


class Driver:
    """A device of its own for one process."""

    def __init__(self) -> None:
        try:
            self.cuda = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            give_up(f"no CUDA driver: {error}")
        count = ctypes.c_int()
        if self.cuda.cuInit(0) != 0 or self.cuda.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
            give_up("no CUDA device can be used")
        context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self.call("cuCtxSetCurrent", context)
        module = ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(module), PTX.format(name="probed", mark=1).encode())
        self.kernel = ctypes.c_void_p()
        self.call("cuModuleGetFunction", ctypes.byref(self.kernel), module, b"probed")
        self.out = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(self.out), ctypes.c_size_t(12))
        self.stream = ctypes.c_void_p()
        self.call("cuStreamCreate", ctypes.byref(self.stream), 1)
        self.unused = ctypes.c_uint32(7)
        self.values = (ctypes.c_void_p * 2)(ctypes.addressof(self.out), ctypes.addressof(self.unused))

    def call(self, name: str, *arguments: object) -> None:
        """One function of the driver; ends the program where it fails."""
        result = getattr(self.cuda, name)(*arguments)
        if result != 0:
            sys.exit(f"{name}: {result}")

    def direct(self) -> None:
        """As ``<<<>>>`` does."""
        self.call("cuLaunchKernel", self.kernel, *GRID, *BLOCK, 0, self.stream, self.values, None)

    def extended(self) -> None:
        """With a launch configuration."""
        config = LaunchConfig(grid=GRID, block=BLOCK, shared=0, stream=self.stream, attributes=None, count=0)
        self.call("cuLaunchKernelEx", ctypes.byref(config), self.kernel, self.values, None)

    def graph(self) -> None:
        """As part of a graph."""
        graph, made = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuStreamBeginCapture_v2", self.stream, 0)
        self.direct()
        self.call("cuStreamEndCapture", self.stream, ctypes.byref(graph))
        self.call("cuGraphInstantiateWithFlags", ctypes.byref(made), graph, ctypes.c_ulonglong(0))
        self.call("cuGraphLaunch", made, self.stream)

    def answer(self) -> tuple[int, ...]:
        """What the last launch wrote; then it is gone."""
        self.call("cuCtxSynchronize")
        found = (ctypes.c_uint32 * 3)()
        self.call("cuMemcpyDtoH_v2", found, self.out, ctypes.c_size_t(12))
        self.call("cuMemsetD8_v2", self.out, 0, ctypes.c_size_t(12))
        return tuple(found)


def give_up(said: str) -> None:
    """End with the status that means: nothing to try it on."""
    sys.stdout.write(f"{said}\n")
    sys.exit(NO_DEVICE)


def main() -> None:
    """Launch in every way."""
    if "--other" in sys.argv:
        sys.stdout.write(PTX.format(name="other", mark=2))
        return
    driver = Driver()
    for way in (driver.direct, driver.extended, driver.graph):
        way()
        sys.stdout.write(f"{way.__name__} {' '.join(map(str, driver.answer()))}\n")


if __name__ == "__main__":
    main()
