"""Triton and CuTe ahead of time, without a GPU: what compiles, what is refused, and what a hostile module gets."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.judge.gpubay import scaling
from warpsmith.errors import BuildFailed, Missing
from warpsmith.judge.plan import make_plan
from warpsmith.model.candidate import Candidate, Launch, Scratch, SourceFile
from warpsmith.model.evaluation import Build
from warpsmith.model.head import Workload
from warpsmith.model.target import Target
from warpsmith.model.task import Dtype
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import load_candidate, load_task
from warpsmith.toolchains import Configuration, Job, specialised, toolchain
from warpsmith.toolchains.cache import build as build_cached

ROOT = Path(__file__).parents[2]
TARGET = Target(hardware="cuda", device="none", architecture="sm_90a")
TASK = scaling("device", Workload(name="one", axes={"N": 4096}), dtype=Dtype.bf16).model_copy(update={"alignment": 16})
TRITON = """
import triton
import triton.language as tl


@triton.jit
def scaled(x, y, N, scale, BLOCK: tl.constexpr, SHIFT: tl.constexpr = 0):
    columns = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + columns, mask=columns < N, other=0.0).to(tl.float32)
    tl.store(y + columns, (v * scale + SHIFT).to(y.dtype.element_ty), mask=columns < N)


@triton.jit
def through(x, t, N, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK
    room = tl.make_tensor_descriptor(t, shape=[1, 4096], strides=[4096, 1], block_shape=[1, 256])
    columns = at + tl.arange(0, BLOCK)
    tl.store(t + columns, tl.load(x + columns, mask=columns < N).to(tl.float32) + tl.sum(room.load([0, 0])))


def not_jitted(x):
    pass
"""
CUTE = """
import cutlass
from cutlass import cute


@cute.kernel
def scaled(x: cute.Pointer, y: cute.Pointer, n: cutlass.Int64, scale: cutlass.Float32, BLOCK: cutlass.Constexpr):
    lane, _, _ = cute.arch.thread_idx()
    block, _, _ = cute.arch.block_idx()
    source = cute.make_tensor(x, cute.make_layout(n))
    target = cute.make_tensor(y, cute.make_layout(n))
    i = block * BLOCK + lane
    if i < n:
        target[i] = (source[i].to(cutlass.Float32) * scale).to(cutlass.BFloat16)
"""
PLAIN: dict[str, Any] = {"grid": ("ceil_div(N, BLOCK)", 1, 1), "arguments": ("x", "y", "N", "scale")}
LAUNCH = Launch(kernel="scaled", **PLAIN)


def needs(name: str) -> pytest.MarkDecorator:
    try:
        toolchain(name).version()
    except Missing as missing:
        return pytest.mark.skip(str(missing))
    return pytest.mark.slow  # a second or two each


def build(tmp_path: Path, name: str, source: str, *launches: Launch, debug: bool = False, **said: Any) -> Build:
    folder = tmp_path / "sources"
    folder.mkdir(exist_ok=True)
    (folder / "k.py").write_text(source)
    candidate = Candidate(
        toolchain=name,
        entry="scaled",
        sources=(SourceFile(path="k.py", content="0" * 64),),
        launch=launches,
        parameters=said.pop("parameters", {"BLOCK": 1024}),
        **said,
    )
    how: Configuration = "debug" if debug else "release"
    job = Job(candidate, folder, TARGET, how, tmp_path / "out", TASK.arguments, TASK.alignment)
    return toolchain(name).build(job)


@needs("triton")
class TestTriton:
    def test_each_different_kernel_is_compiled_once(self, tmp_path: Path) -> None:
        wide = Launch(kernel="scaled", **PLAIN, when="N % 16 == 0", divisible={"N": 16}, constants={"num_warps": 8})
        again = LAUNCH.model_copy(update={"grid": (1, 1, 1)})
        made = build(tmp_path, "triton", TRITON, wide, LAUNCH, again)
        first, second = made.kernels
        assert first.compiled is not None
        assert second.compiled is not None
        assert [first.compiled.launches, second.compiled.launches] == [(0,), (1, 2)]
        assert [first.compiled.block, second.compiled.block] == [(256, 1, 1), (128, 1, 1)]
        assert not any(first.compiled.scratch + second.compiled.scratch)
        content = (tmp_path / "out").read_bytes()
        for kernel in (first.compiled, second.compiled):
            cubin = content[kernel.offset : kernel.offset + kernel.bytes]
            assert cubin.startswith(b"\x7fELF")
            assert kernel.symbol.encode() in cubin

    def test_scratch_has_the_type_it_says_and_descriptors_get_room(self, tmp_path: Path) -> None:
        launch = Launch(kernel="through", grid=(1, 1, 1), arguments=("x", "t", "N"))
        scratch = Scratch(name="t", bytes="4 * N", dtype=Dtype.f32)
        made = build(tmp_path, "triton", TRITON, launch, scratch=(scratch,))
        (kernel,) = made.kernels
        assert kernel.compiled is not None
        assert kernel.compiled.scratch[0] >= 128
        untyped = Scratch(name="t", bytes="4 * N")
        assert build(tmp_path, "triton", TRITON, launch, scratch=(untyped,)).binary != made.binary

    @pytest.mark.parametrize(
        ("launch", "said"),
        [
            ({"kernel": "absent"}, "k.py defines no 'absent'"),
            ({"kernel": "not_jitted"}, "'not_jitted' is no @triton.jit function"),
            ({"arguments": ("x", "y")}, r"scaled takes \(x, y, N, scale\), and the launch passes 2 arguments"),
            ({"constants": {"BLOKC": 1}}, r"scaled has no constants \['BLOKC'\]; it has: BLOCK, SHIFT"),
            ({"constants": {"BLOCK": "N"}}, "what is compiled in may use tunables only"),
            ({"constants": {"BLOCK": 1000}}, "arange's range must be a power of 2"),
            ({"constants": {"num_warps": 3}}, "num_warps must be a power of 2"),
            ({"divisible": {"x": 16}}, "divisible: 'x' is no whole number"),
        ],
    )
    def test_what_does_not_fit_says_why(self, tmp_path: Path, launch: dict[str, Any], said: str) -> None:
        with pytest.raises(BuildFailed, match=said):
            build(tmp_path, "triton", TRITON, LAUNCH.model_copy(update=launch))

    def test_a_constant_that_nothing_gives(self, tmp_path: Path) -> None:
        with pytest.raises(BuildFailed, match="no tunable or constant gives BLOCK a value"):
            build(tmp_path, "triton", TRITON, LAUNCH, parameters={"OTHER": 1})

    @pytest.mark.parametrize(
        ("module", "said"),
        [
            ("import os\nos.abort()", "the compiler ended by SIGABRT"),
            ("import os\nos._exit(0)", "triton left no out"),
            ("import os\nos._exit(3)", "triton ended with status 1"),
            ("raise SystemExit(0)", "error: SystemExit"),
            ("import torch_that_is_not_there", "No module named 'torch_that_is_not_there'"),
            ("x = (", "error: SyntaxError"),
            ("open('/etc/shadow')", "error: "),
        ],
    )
    def test_a_module_that_ends_in_its_own_way(self, tmp_path: Path, module: str, said: str) -> None:
        with pytest.raises(BuildFailed, match=said):
            build(tmp_path, "triton", module, LAUNCH)

    def test_debug_keeps_device_assertions(self, tmp_path: Path) -> None:
        checked = TRITON.replace("    v = tl.load", '    tl.device_assert(N > 0, "no rows")\n    v = tl.load', 1)
        release, debug = (build(tmp_path, "triton", checked, LAUNCH, debug=on) for on in (False, True))
        assert debug.configuration == "debug"
        assert release.binary != debug.binary
        assert b"no rows" in (tmp_path / "out").read_bytes()

    def test_the_shipped_kernel_has_a_plan_for_every_shape(self, tmp_path: Path) -> None:
        task = load_task(ROOT / "tasks/cuda/rmsnorm")
        made = load_candidate(task.folder / "triton", Blobs(tmp_path / "blobs"), task.head)
        built = build_cached(made, task.folder / "triton", TARGET, "release", tmp_path / "cache", task.task)
        for n in (1, 16, 17, 4096, 4097, 4112, 8192, 8208, 16384):
            workload = Workload(name="one", axes={"M": 3, "N": n})
            (launch,) = make_plan(task.task, workload, made, TARGET, built.build.kernels).launches
            assert launch.grid == (3, 1, 1)
            assert launch.kernel.startswith("passes" if n % 16 or n > 8192 else "row")

    def test_flags_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BuildFailed, match="triton takes no flags"):
            build(tmp_path, "triton", TRITON, LAUNCH, flags=("-O3",))

    def test_the_types_of_the_task_belong_to_the_key(self, tmp_path: Path) -> None:
        (tmp_path / "k.py").write_text(TRITON)
        candidate = Candidate(
            toolchain="triton",
            entry="scaled",
            sources=(SourceFile(path="k.py", content="0" * 64),),
            launch=(LAUNCH,),
            parameters={"BLOCK": 1024},
        )
        wider = [a.model_copy(update={"dtype": Dtype.f32}) if a.is_tensor else a for a in TASK.arguments]
        other = TASK.model_copy(update={"arguments": tuple(wider)})
        one, two, again = (
            build_cached(candidate, tmp_path, TARGET, "release", tmp_path / "cache", task)
            for task in (TASK, other, TASK)
        )
        assert one.build.binary != two.build.binary
        assert [b.build.cached for b in (one, two, again)] == [False, False, True]


@needs("cute")
class TestCute:
    def test_a_stated_launch_becomes_a_cubin(self, tmp_path: Path) -> None:
        launch = Launch(kernel="scaled", block=("BLOCK", 1, 1), **PLAIN)
        (kernel,) = build(tmp_path, "cute", CUTE, launch, parameters={"BLOCK": 256}).kernels
        assert kernel.name == "scaled"
        assert kernel.compiled is not None
        assert kernel.compiled.block is None  # the plan says
        assert "scaled" in kernel.compiled.symbol

    @pytest.mark.parametrize(
        ("launch", "said"),
        [
            ({"block": ("N", 1, 1)}, "what is compiled in may use tunables only"),
            ({"arguments": ("x",)}, r"scaled takes \(x, y, n, scale\)"),
            ({"constants": {"TILE": 1}}, r"scaled has no constants \['TILE'\]"),
        ],
    )
    def test_what_does_not_fit_says_why(self, tmp_path: Path, launch: dict[str, Any], said: str) -> None:
        stated = Launch(kernel="scaled", block=(256, 1, 1), **PLAIN).model_copy(update=launch)
        with pytest.raises(BuildFailed, match=said):
            build(tmp_path, "cute", CUTE, stated)

    def test_an_error_of_the_compiler_is_quoted(self, tmp_path: Path) -> None:
        launch = Launch(kernel="scaled", block=(256, 1, 1), **PLAIN)
        with pytest.raises(BuildFailed, match="has no attribute 'too'"):
            build(tmp_path, "cute", CUTE.replace("].to(", "].too("), launch)


class TestAStrangersAnswer:
    """What the compiler's process leaves is written by whoever wrote the module."""

    KERNEL: dict[str, Any] = {
        "symbol": "scaled",
        "bytes": 64,
        "block": [32, 1, 1],
        "shared_bytes": 0,
        "scratch": [0, 0],
    }

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"nonsense\n",
            b"[" * 60_000 + b"\n",
            b'[{"symbol": "' + b"a" * 70_000 + b'"}]\n',
            b"{}\n",
            json.dumps([{**KERNEL, "bytes": 0}]).encode() + b"\n",
            json.dumps([{**KERNEL, "bytes": 1 << 60}]).encode() + b"\n",
            json.dumps([{**KERNEL, "shared_bytes": -1}]).encode() + b"\n",
            json.dumps([{**KERNEL, "scratch": [0] * 3}]).encode() + b"\n",
            json.dumps([{**KERNEL, "scratch": [1 << 40]}]).encode() + b"\n",
            json.dumps([{**KERNEL, "launches": [7]}]).encode() + b"\n",
            json.dumps([{**KERNEL, "block": [1, 2]}]).encode() + b"\n",
        ],
    )
    def test_what_cannot_be_is_refused(self, tmp_path: Path, line: bytes) -> None:
        (tmp_path / "out").write_bytes(line)
        with pytest.raises(BuildFailed, match="cannot be read"):
            specialised._answer(tmp_path / "out")

    def test_a_huge_one_is_not_even_opened(self, tmp_path: Path) -> None:
        with (tmp_path / "out").open("wb") as file:
            file.truncate(specialised.LARGEST_BINARY + 1)
        with pytest.raises(BuildFailed, match="larger than 64 MiB"):
            specialised._answer(tmp_path / "out")

    @pytest.mark.parametrize("content", [b"", b"x" * 64, b"\x7fELF\x02" + b"\xff" * 59, b"\x7fELF\x02" + b"\0" * 59])
    def test_a_cubin_must_hold_what_it_claims(self, content: bytes) -> None:
        said = specialised._Said.model_validate(self.KERNEL)
        with pytest.raises(BuildFailed):
            specialised._kernels(content, 0, (said,), {'{"kernel": "scaled"}': [0]}, "")

    def test_reading_a_cubin_ends(self) -> None:
        """A thousand tables of a thousand million symbols, all in the same place."""
        section = struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, 64, 24 << 30, 0, 0, 0, 24)
        head = b"\x7fELF\x02".ljust(40, b"\0") + struct.pack("<Q", 64) + bytes(10) + struct.pack("<HHH", 64, 1000, 0)
        said = specialised._Said.model_validate({**self.KERNEL, "bytes": 1 << 20})
        with pytest.raises(BuildFailed, match="more than 100000 symbols"):
            specialised._kernels(head + section * 1000, 0, (said,), {'{"kernel": "scaled"}': [0]}, "")


class TestWithoutALaunch:
    """Under the host contract both are Python host code: only the parser sees it, in a process apart."""

    @pytest.mark.parametrize("name", ["triton", "cute"])
    def test_the_source_is_the_binary(self, tmp_path: Path, name: str) -> None:
        made = build(tmp_path, name, "import anything_at_all\n\n\ndef scaled(x, y):\n    pass\n")
        assert made.kernels == ()
        assert (tmp_path / "out").read_bytes().startswith(b"import anything")

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ("def other(): pass", "k.py defines no function 'scaled'"),
            ("def scaled(: pass", "k.py does not parse: invalid syntax"),
            ("scaled = " + "-" * 200_000 + "1", "k.py "),
            ("scaled = " + "(" * 5_000, "k.py "),
            ("def scaled(): pass\0", "k.py does not parse: "),
        ],
    )
    def test_what_does_not_parse(self, tmp_path: Path, source: str, said: str) -> None:
        with pytest.raises(BuildFailed) as raised:
            build(tmp_path, "triton", source)
        assert said in raised.value.message
