"""CUDA and PTX to cubins, and their launch through the driver: no torch extension, no package beside the compiler.

``nvcc`` and ``ptxas`` are taken where they are on PATH, NVRTC (cuda.bindings) where nvcc is not, the driver's own
compiler for PTX where ptxas is not. Nothing is kept between processes: a candidate never meets another's binary.
"""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

from ops import Absent, Unusable


def compilers():
    """What is here, by name: a path or a version, or None."""
    return {"nvcc": shutil.which("nvcc"), "ptxas": shutil.which("ptxas"), "nvrtc": _nvrtc_version()}


def from_cuda(source: Path, architecture: str, form: str = "cubin", **defines: int) -> tuple[bytes, str]:
    """A CUDA file as ``cubin`` or ``ptx``, and who compiled it. Raises Absent; Unusable with the compiler's words."""
    options = ["-std=c++17", *(f"-D{name}={value}" for name, value in defines.items())]
    if nvcc := shutil.which("nvcc"):
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / f"out.{form}"
            target = architecture if form == "cubin" else architecture.replace("sm_", "compute_")
            _run([nvcc, f"-{form}", f"-arch={target}", *options, "-o", str(output), str(source)])
            return output.read_bytes(), f"nvcc, {architecture}"
    if _nvrtc_version():
        return _nvrtc(source, architecture, form, options), f"NVRTC {_nvrtc_version()}, {architecture}"
    raise Absent("no CUDA compiler: neither nvcc on PATH nor NVRTC (warpsmith[gpu])")


def from_ptx(source: Path, architecture: str) -> tuple[bytes, str]:
    """What the driver loads of a PTX file, and who assembles it. Raises Unusable with ptxas's words."""
    if ptxas := shutil.which("ptxas"):
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "out.cubin"
            _run([ptxas, f"-arch={architecture}", "-o", str(output), str(source)])
            return output.read_bytes(), f"ptxas, {architecture}"
    return source.read_bytes() + b"\0", "the driver's compiler"


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unusable(f"{Path(argv[0]).name} ended with status {done.returncode}:\n{done.stderr or done.stdout}")


def _nvrtc_version() -> str | None:
    try:
        from cuda.bindings import nvrtc

        return ".".join(str(part) for part in nvrtc.nvrtcVersion()[1:])
    except (ImportError, OSError, RuntimeError):
        return None


def _nvrtc(source: Path, architecture: str, form: str, options: list[str]) -> bytes:
    from cuda.bindings import nvrtc

    def ask(answer):
        status, *values = answer
        if int(status):
            raise Unusable(f"NVRTC: {status.name}")
        return values[0] if values else None

    target = architecture if form == "cubin" else architecture.replace("sm_", "compute_")
    program = ask(nvrtc.nvrtcCreateProgram(source.read_bytes(), source.name.encode(), 0, [], []))
    given = [option.encode() for option in (f"-arch={target}", *options)]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(given), given)
    if int(status):
        log = bytearray(ask(nvrtc.nvrtcGetProgramLogSize(program)))
        ask(nvrtc.nvrtcGetProgramLog(program, log))
        raise Unusable("NVRTC does not compile it:\n" + bytes(log).rstrip(b"\0\n").decode(errors="replace"))
    size, get = (
        (nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)
        if form == "cubin"
        else (nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)
    )
    code = bytearray(ask(size(program)))
    ask(get(program, code))
    return bytes(code)


class Library:
    """Loaded device code. Not bound to a context: it is launched in that of the stream, which is torch's."""

    def __init__(self, code: bytes) -> None:
        try:
            self._driver = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise Absent(f"no NVIDIA driver: {error}") from None
        self._call("cuInit", 0)
        self._code = code
        self._library = ctypes.c_void_p()
        nothing = (None, None, 0)
        self._call("cuLibraryLoadData", ctypes.byref(self._library), code, *nothing, *nothing)

    def kernel(self, name: str, *types):
        """``launch(grid, block, stream, *arguments)`` of a kernel whose parameters are of these ctypes."""
        handle = ctypes.c_void_p()
        self._call("cuLibraryGetKernel", ctypes.byref(handle), self._library, name.encode())
        launch_kernel = self._driver.cuLaunchKernel
        launch_kernel.argtypes = [ctypes.c_void_p, *[ctypes.c_uint] * 7, *[ctypes.c_void_p] * 3]
        pointers = ctypes.c_void_p * len(types)

        def launch(grid: int, block: int, stream: int, *arguments) -> None:
            values = [kind(value) for kind, value in zip(types, arguments, strict=True)]
            passed = pointers(*(ctypes.addressof(value) for value in values))
            status = launch_kernel(handle, grid, 1, 1, block, 1, 1, 0, stream, passed, None)
            if status:
                raise RuntimeError(f"cuLaunchKernel({name}): {self._said(status)}")

        return launch

    def _call(self, function: str, *arguments) -> None:
        status = getattr(self._driver, function)(*arguments)
        if status:
            raise Unusable(f"{function}: {self._said(status)}")

    def _said(self, status: int) -> str:
        text = ctypes.c_char_p()
        self._driver.cuGetErrorName(status, ctypes.byref(text))
        return text.value.decode() if text.value else f"error {status}"
