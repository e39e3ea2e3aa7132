"""Clusters, tensor maps, variants and compiled kernels in a launch plan, without a device."""

from __future__ import annotations

from typing import Any

import pytest

from warpsmith.judge.failures import CandidateFailed
from warpsmith.judge.plan import Plan, make_plan, to_load
from warpsmith.judge.tensormap import ConcreteMap
from warpsmith.model.candidate import Candidate, Launch, Scratch, SourceFile, TensorMap
from warpsmith.model.evaluation import Build, Compiled, KernelBuild, Status
from warpsmith.model.head import Workload
from warpsmith.model.target import Target
from warpsmith.model.task import Argument, Dtype, KernelTask, Role

FACTS = {"SM_COUNT": 132, "SHARED_BYTES_PER_BLOCK": 232448}
TARGET = Target(hardware="cuda", device="none", architecture="sm_90a", facts=FACTS)
TASK = KernelTask(
    name="fake/rows",
    title="rows",
    hardware="cuda",
    contract="device",
    arguments=(
        Argument(name="x", role=Role.input, dtype=Dtype.bf16, shape=("M", "N")),
        Argument(name="y", role=Role.output, dtype=Dtype.f32, shape=("M", "N")),
        Argument(name="M", role=Role.axis),
        Argument(name="N", role=Role.axis),
        Argument(name="eps", role=Role.scalar, dtype=Dtype.f32, value=0.5),
    ),
    bytes="6 * M * N",
    workloads=(Workload(name="one", axes={"M": 32, "N": 1024}),),
)


def plan(
    *launches: dict[str, Any],
    axes: dict[str, int] | None = None,
    target: Target = TARGET,
    kernels: tuple[KernelBuild, ...] = (),
    task: KernelTask = TASK,
    **said: Any,
) -> Plan:
    common: dict[str, Any] = {"kernel": "k", "grid": ("M", 1, 1), "arguments": ("x", "y")}
    if said.get("toolchain", "cuda") != "triton":
        common["block"] = (32, 1, 1)
    candidate = Candidate(
        entry="k",
        sources=(SourceFile(path="k.cu", content="0" * 64),),
        launch=tuple(Launch(**{**common, **launch}) for launch in launches),
        **{"toolchain": "cuda", "parameters": {"TILE": 64}, **said},
    )
    workload = Workload(name="one", axes=axes or TASK.workloads[0].axes)
    return make_plan(task, workload, candidate, target, kernels)


def refused(*launches: dict[str, Any], **said: Any) -> str:
    with pytest.raises(CandidateFailed) as raised:
        plan(*launches, **said)
    assert raised.value.status is Status.crashed
    assert raised.value.detail.startswith("launch plan on workload 'one': ")
    return raised.value.detail


class TestClusters:
    def test_extents_are_expressions(self) -> None:
        (made,) = plan({"grid": ("2 * M", 1, 1), "cluster": ("min(TILE, 8)", 1, 1)}).launches
        assert made.cluster == (8, 1, 1)
        assert made.said()["cluster"] == (8, 1, 1)
        assert plan({}).launches[0].said()["cluster"] is None

    @pytest.mark.parametrize(
        ("launch", "said"),
        [
            ({"cluster": (17, 1, 1)}, "the cluster (17, 1, 1) is out of range (1 to 16 blocks)"),
            ({"cluster": (4, 4, 2)}, "the cluster (4, 4, 2) is out of range"),
            ({"cluster": ("M - 32", 1, 1)}, "the cluster (0, 1, 1) is out of range"),
            ({"cluster": (3, 1, 1)}, "the grid (32, 1, 1) is not a multiple of the cluster (3, 1, 1)"),
            ({"cluster": ("M / 3", 1, 1)}, "a whole number was expected"),
        ],
    )
    def test_what_cannot_be(self, launch: dict[str, Any], said: str) -> None:
        assert said in refused(launch)

    def test_an_older_device(self) -> None:
        older = TARGET.model_copy(update={"architecture": "sm_86"})
        assert "thread-block clusters need sm_90, and the device is sm_86" in refused(
            {"cluster": (2, 1, 1)}, target=older
        )


def described(**said: Any) -> TensorMap:
    return TensorMap.model_validate({"name": "tiles", "of": "x", "dims": ["N", "M"], "box": ["TILE", 8], **said})


class TestTensorMaps:
    USING: dict[str, Any] = {"arguments": ("tiles", "y")}

    def test_numbers_types_and_packed_strides(self) -> None:
        (made,) = plan(self.USING, tensor_map=(described(),)).launches
        expected = ConcreteMap("x", "BFLOAT16", (1024, 32), (2048,), (64, 8), (1, 1), "none", "none", "none", "zero")
        assert made.arguments == (expected, "y")
        assert made.said()["arguments"][0]["tensor_map"]["dims"] == (1024, 32)

    def test_three_dims_of_a_scratch_buffer(self) -> None:
        scratch = Scratch(name="t", bytes="4 * M * N", dtype=Dtype.f32)
        made = described(of="t", dims=["N // 4", 4, "M"], box=[16, 1, 1], swizzle="64B", l2_promotion="256B")
        (launch,) = plan(self.USING, tensor_map=(made,), scratch=(scratch,)).launches
        (argument, _) = launch.arguments
        assert isinstance(argument, ConcreteMap)
        assert argument.strides == (1024, 4096)
        assert argument.dtype == "FLOAT32"

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"dims": ["N", "M - 32"]}, "the dims (1024, 0) are out of range (1 to 4294967296)"),
            ({"box": [257, 8]}, "the box (257, 8) is out of range (1 to 256)"),
            ({"box": [4, 8]}, "the innermost box is 8 bytes; it must be a multiple of 16"),
            ({"dims": ["N + 1", "M"]}, "the strides (2050,) must be multiples of 16 bytes"),
            ({"strides": ["2 ** 40"]}, "must be multiples of 16 bytes below 1099511627776"),
            ({"element_strides": [1, 9]}, "the element strides (1, 9) are out of range (1 to 8)"),
            ({"swizzle": "64B"}, "the innermost box is 128 bytes, more than the 64 of the swizzle"),
            ({"interleave": "16B"}, "interleaving needs at least 3 dims"),
            ({"interleave": "32B", "dims": ["N", "M", 1], "box": [16, 8, 1]}, "interleave 32B needs swizzle 32B"),
            ({"dtype": "i32", "box": [64, 8], "oob_fill": "nan"}, "i32 has no NaN to fill with"),
            ({"dims": ["N", "ROWS"]}, "the name 'ROWS' is not known here"),
            ({"of": "nothing"}, "is of 'nothing', which is no buffer"),
            ({"of": "t"}, "needs a dtype: the scratch 't' has none"),
        ],
    )
    def test_a_broken_rule_is_named_with_its_limit(self, change: dict[str, Any], said: str) -> None:
        scratch = Scratch(name="t", bytes="4 * M * N")
        assert said in refused(self.USING, tensor_map=(described(**change),), scratch=(scratch,))

    def test_the_alignment_that_the_task_promises_must_do(self) -> None:
        loose = TASK.model_copy(update={"alignment": 8})
        said = refused(self.USING, tensor_map=(described(),), task=loose)
        assert "its address must be a multiple of 16 bytes, and the task promises 8" in said

    def test_too_many_parameters(self) -> None:
        crowd = {"arguments": ("tiles",) * 256 + ("y",)}
        assert "the arguments take 32776 bytes, more than 32764" in refused(crowd, tensor_map=(described(),))


class TestWhen:
    def test_kernels_by_shape(self) -> None:
        both = ({"kernel": "wide", "when": "N % 16 == 0"}, {"kernel": "any", "when": "N % 16"})
        assert [one.kernel for one in plan(*both).launches] == ["wide"]
        assert [one.kernel for one in plan(*both, axes={"M": 1, "N": 17}).launches] == ["any"]

    def test_what_is_left_out_need_not_be_possible(self) -> None:
        assert len(plan({"when": "N < 0", "grid": ("N // 0", 1, 1)}, {}).launches) == 1

    def test_none_at_all(self) -> None:
        assert "no launch applies" in refused({"when": 0})
        assert plan({"when": 0}, axes={"M": 0, "N": 16}).launches == ()


def compiled(*launches: int, name: str = "k", **said: Any) -> KernelBuild:
    facts = {"symbol": "k_0", "offset": 100, "bytes": 50, "block": (128, 1, 1), "shared_bytes": 4096, **said}
    return KernelBuild(name=name, compiled=Compiled(launches=launches, **facts))


class TestCompiled:
    """Triton: the compiler decides block, shared memory and cluster, and adds parameters of its own."""

    TRITON: dict[str, Any] = {"toolchain": "triton"}

    def test_what_the_compiler_decided_is_launched(self) -> None:
        kernel = compiled(0, scratch=(0, 256))
        made = plan({"grid": ("M", 2, 1)}, kernels=(kernel,), **self.TRITON)
        (launch,) = made.launches
        assert (launch.grid, launch.block, launch.shared_bytes) == ((32, 2, 1), (128, 1, 1), 4096)
        assert launch.arguments == ("x", "y", bytes(8), "k:1")
        assert made.scratch == {"k:1": 32 * 2 * 256}

    def test_programs_become_clusters(self) -> None:
        (launch,) = plan({}, kernels=(compiled(0, cluster=(2, 1, 1)),), **self.TRITON).launches
        assert (launch.grid, launch.cluster) == ((64, 1, 1), (2, 1, 1))

    def test_each_launch_takes_its_own_kernel(self) -> None:
        kernels = (compiled(0, 2, name="one"), compiled(1, name="two", block=(64, 1, 1)))
        made = plan({}, {"constants": {"BLOCK": 2}}, {}, kernels=kernels, **self.TRITON)
        assert [one.kernel for one in made.launches] == ["one", "two", "one"]
        assert [one.block[0] for one in made.launches] == [128, 64, 128]

    def test_the_plan_says_where_the_compiler_does_not(self) -> None:
        kernel = compiled(0, block=None, shared_bytes=None)
        launch = {"shared_bytes": "TILE", "block": ("TILE", 1, 1), "cluster": (2, 1, 1)}
        (made,) = plan(launch, kernels=(kernel,), toolchain="cute").launches
        assert (made.block, made.shared_bytes, made.cluster) == ((64, 1, 1), 64, (2, 1, 1))

    @pytest.mark.parametrize(
        ("said", "detail"),
        [
            ({"block": (2048, 1, 1)}, "the block (2048, 1, 1) is out of range"),
            ({"block": (0, 1, 1)}, "the block (0, 1, 1) is out of range"),
            ({"shared_bytes": 1 << 29}, "536870912 bytes of dynamic shared memory are out of range"),
            ({"cluster": (-1, 1, 1)}, "the grid (-32, 1, 1) is out of range"),
            ({"cluster": (64, 1, 1)}, "the cluster (64, 1, 1) is out of range"),
            ({"scratch": (1 << 60,)}, "the scratch buffer 'k:0' has"),
        ],
    )
    def test_a_compilers_word_is_checked(self, said: dict[str, Any], detail: str) -> None:
        assert detail in refused({}, kernels=(compiled(0, **said),), **self.TRITON)

    def test_a_kernel_for_multiples_only(self) -> None:
        launch = {"arguments": ("x", "y", "N"), "divisible": {"N": 16}}
        assert len(plan(launch, kernels=(compiled(0),), **self.TRITON).launches) == 1
        said = refused(launch, kernels=(compiled(0),), axes={"M": 1, "N": 1001}, **self.TRITON)
        assert "it is compiled for N divisible by 16, and 9 is left over: guard it by 'when'" in said
        assert "'x' is no number" in refused({"divisible": {"x": 16}}, kernels=(compiled(0),), **self.TRITON)

    def test_a_tunable_does_not_hide_the_axis_that_is_passed(self) -> None:
        launch = {"arguments": ("x", "y", "N"), "divisible": {"N": 16}}
        said = {"kernels": (compiled(0),), "axes": {"M": 1, "N": 1001}, "parameters": {"N": 16}}
        assert "9 is left over" in refused(launch, **said, **self.TRITON)


def test_where_a_launcher_finds_its_kernels() -> None:
    candidate = Candidate(
        toolchain="cuda",
        entry="k",
        sources=(SourceFile(path="k.cu", content="0" * 64),),
        launch=(Launch(kernel="b", grid=(1, 1, 1), block=(1, 1, 1), arguments=()),) * 2,
    )
    build = Build(
        toolchain="cuda", command=(), seconds=0, binary="0" * 64, binary_bytes=9, kernels=(KernelBuild(name="a"),)
    )
    assert to_load(candidate, build) == [{"name": "b", "symbol": "b", "offset": 0, "bytes": 9}]
    apart = build.model_copy(update={"kernels": (compiled(0), compiled(1, name="l", offset=150))})
    assert [one["offset"] for one in to_load(candidate, apart)] == [100, 150]
    assert [one["name"] for one in to_load(candidate, apart)] == ["k", "l"]
