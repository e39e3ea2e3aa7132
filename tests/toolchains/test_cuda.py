"""The cuda toolchain without a device: what compiles, what is refused, and what the compiler is quoted with."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from warpsmith.errors import BuildFailed, Missing
from warpsmith.model.candidate import Candidate, Launch, SourceFile
from warpsmith.model.evaluation import Build, KernelBuild
from warpsmith.model.target import Target
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import load_candidate, load_task
from warpsmith.toolchains import Configuration, Job
from warpsmith.toolchains import cuda as module
from warpsmith.toolchains.cuda import Cuda, entries, parse_ptxas

ROOT = Path(__file__).parents[2]
ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120")
MEASURED = ("sm_90a", "sm_100a")
"""Those that the fast tests compile for."""
GOLDEN = """\
ptxas info    : 8 bytes gmem, 16 bytes cmem[3]
ptxas info    : Compiling entry function 'first' for 'sm_90a'
ptxas info    : Function properties for first
    112 bytes stack frame, 108 bytes spill stores, 92 bytes spill loads
ptxas info    : Used 32 registers, used 2 barriers, 64 bytes smem, 400 bytes cmem[0]
ptxas info    : Function properties for helper
    8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Compile time = 34.475 ms
ptxas info    : Compiling entry function '_Z6secondv' for 'sm_90a'
ptxas info    : Function properties for _Z6secondv
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 255 registers
"""


def compilers() -> list[str]:
    """Those that work here."""
    working = []
    for name in ("nvrtc", "nvcc"):
        try:
            module._version(name, "/usr/local/bin:/usr/local/cuda/bin:/usr/bin:/bin")
            working.append(name)
        except Missing:
            continue
    return working


NONE = pytest.param("", marks=pytest.mark.skip("neither NVRTC nor nvcc works here"))


@pytest.fixture(params=[pytest.param(name) for name in compilers()] or [NONE])
def compiler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs with every compiler of this machine."""
    monkeypatch.setenv(module.FORCE, request.param)
    return str(request.param)


def build(
    tmp_path: Path,
    source: str,
    *,
    flags: tuple[str, ...] = (),
    kernel: str = "k",
    configuration: Configuration = "release",
    extra: dict[str, str] | None = None,
    architecture: str = "sm_90a",
) -> Build:
    files = {"k.cu": source, **(extra or {})}
    folder = tmp_path / "sources"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    blobs = Blobs(tmp_path / "blobs")
    candidate = Candidate(
        toolchain="cuda",
        entry="k",
        sources=tuple(SourceFile(path=n, content=blobs.put(t.encode())) for n, t in files.items()),
        flags=flags,
        parameters={"WIDTH": 3},
        launch=(Launch(kernel=kernel, grid=(1, 1, 1), block=(1, 1, 1), arguments=("y",)),),
    )
    target = Target(hardware="cuda", device="none", architecture=architecture)
    return Cuda().build(Job(candidate, folder, target, configuration, tmp_path / "out.cubin"))


def test_ptxas_output_is_read_per_kernel() -> None:
    assert parse_ptxas(GOLDEN) == [
        KernelBuild(name="first", registers=32, spill_bytes=200, stack_bytes=112, shared_bytes=64),
        KernelBuild(name="_Z6secondv", registers=255, spill_bytes=0, stack_bytes=0, shared_bytes=0),
    ]


def test_ptxas_output_may_be_cut_anywhere() -> None:
    for length in range(len(GOLDEN)):
        parse_ptxas(GOLDEN[:length])


@pytest.mark.parametrize(
    ("folder", "architecture"),
    [
        pytest.param(*both, marks=() if both[1] in MEASURED else pytest.mark.slow)
        for both in itertools.product(("src", "baseline"), ARCHITECTURES)
    ],
)
def test_the_task_compiles_for_every_architecture(
    compiler: str, tmp_path: Path, folder: str, architecture: str
) -> None:
    task = ROOT / "tasks/cuda/rmsnorm"
    candidate = load_candidate(task / folder, Blobs(tmp_path / "blobs"), load_task(task).head)
    target = Target(hardware="cuda", device="none", architecture=architecture)
    made = Cuda().build(Job(candidate, task / folder, target, "release", tmp_path / "out.cubin"))
    (kernel,) = made.kernels
    assert kernel.name == "rmsnorm"
    assert 16 <= (kernel.registers or 0) <= 64
    assert (kernel.spill_bytes, kernel.stack_bytes) == (0, 0)
    assert (kernel.shared_bytes or 0) >= 32
    assert made.binary_bytes == (tmp_path / "out.cubin").stat().st_size
    assert str(tmp_path) not in " ".join(made.command)


def test_a_launch_of_a_kernel_that_is_not_there(compiler: str, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="has no kernel 'k'; it has: _Z1kPi"):
        build(tmp_path, "__global__ void k(int* y) { *y = 1; }")


def test_a_device_function_is_no_kernel(compiler: str, tmp_path: Path) -> None:
    source = """extern "C" __device__ __noinline__ int helper(int a) { return a * clock(); }
    extern "C" __global__ void k(int* y) { *y = helper(*y); }"""
    assert [kernel.name for kernel in build(tmp_path, source).kernels] == ["k"]


def test_a_compile_error_is_quoted(compiler: str, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"k\.cu\(2\): error: .*nonsense") as raised:
        build(tmp_path, 'extern "C" __global__ void k(int* y) {\n nonsense; }')
    assert "nonsense" in raised.value.log


def test_debug_adds_line_information_and_the_define(compiler: str, tmp_path: Path) -> None:
    source = """#ifndef WARPSMITH_DEBUG
    #define WARPSMITH_DEBUG 0
    #endif
    extern "C" __global__ void k(int* y) { y[0] = WARPSMITH_DEBUG; y[1] = 7; }"""
    release = build(tmp_path, source)
    plain = (tmp_path / "out.cubin").read_bytes()
    debug = build(tmp_path, source, configuration="debug")
    assert b".debug_line" not in plain
    assert b".debug_line" in (tmp_path / "out.cubin").read_bytes()
    assert "-DWARPSMITH_DEBUG=1" not in release.command
    assert "-DWARPSMITH_DEBUG=1" in debug.command


def test_parameters_other_files_and_flags_reach_the_compiler(compiler: str, tmp_path: Path) -> None:
    source = """#include "inner/part.cuh"
    static_assert(WIDTH == 3 && FROM_FLAG == 4, "defines");
    extern "C" __global__ void k(float* y) { *y = part(*y); }"""
    part = "__device__ inline float part(float v) { return expf(v); }"
    flags = ("-O3", "-std=c++20", "-use_fast_math", "-maxrregcount=32", "-DFROM_FLAG=4")
    made = build(tmp_path, source, flags=flags, extra={"inner/part.cuh": part})
    assert set(flags[1:]) <= set(made.command)


@pytest.mark.parametrize(
    "flag",
    ["-I/etc", "--options-file=x", "-Xcompiler=-fplugin=x", "-ccbin=x", "-o", "-run", "-DA=`id`", "-keep", "x.cu"],
)
def test_flags_that_do_more_than_tune_are_refused(flag: str, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="is not allowed"):
        build(tmp_path, 'extern "C" __global__ void k(int* y) {}', flags=(flag,))


def test_the_version_names_the_compiler(compiler: str) -> None:
    assert Cuda().version().lower().startswith(f"{compiler} 1")


def test_an_unknown_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(module.FORCE, "hipcc")
    with pytest.raises(Missing, match="names no compiler"):
        Cuda().version()


@pytest.mark.parametrize("content", [b"", b"\x7fELF\x02", b"\x7fELF\x02" + b"\xff" * 100, b"// ptx"])
def test_what_is_no_cubin_has_no_entries(content: bytes) -> None:
    with pytest.raises(BuildFailed, match="is no cubin"):
        entries(content)
