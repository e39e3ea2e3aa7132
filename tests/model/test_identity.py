"""What makes two tasks or two candidates the same, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.fakes import KERNEL, SPACE
from warpsmith.errors import BadInput
from warpsmith.model.base import canonical, digest, digest_bytes
from warpsmith.model.candidate import Candidate, Launch, Scratch, SourceFile, TensorMap
from warpsmith.model.head import Gate, Objective, Workload
from warpsmith.model.space import Space, Tunable
from warpsmith.model.task import Dtype, Tolerance, task_digest

FILES = {"reference.py": digest_bytes(b"one")}
ONE = Candidate(
    toolchain="cuda",
    entry="k",
    sources=(SourceFile(path="k.cu", content=digest_bytes(b"k")),),
    parameters={"TILE": 1, "UNROLL": 1},
    launch=(Launch(kernel="k", grid=("N", 1, 1), block=(32, 1, 1), arguments=("y",)),),
    space=SPACE,
)


@pytest.mark.parametrize(
    "change",
    [
        {"workloads": (Workload(name="small", axes={"N": 9}), KERNEL.workloads[1])},
        {"workloads": KERNEL.workloads[:1]},
        {"workloads": (KERNEL.workloads[0].model_copy(update={"weight": 2.0}), KERNEL.workloads[1])},
        {"tolerance": Tolerance(relative_rms=1e-6)},
        {"objective": Objective(metric="energy")},
        {"bytes": "8 * N"},
        {"flops": "N"},
        {"hardware": "cuda"},
        {"arguments": (KERNEL.arguments[0].model_copy(update={"name": "z"}),)},
    ],
)
def test_what_changes_a_verdict_changes_the_task(change: dict[str, Any]) -> None:
    assert task_digest(KERNEL.model_copy(update=change), FILES) != task_digest(KERNEL, FILES)


@pytest.mark.parametrize(
    "change",
    [
        {"title": "another"},
        {"description": "another"},
        {"tags": ("gemm",)},
        {"gate": Gate(min_gain=0.1)},
        {"baseline": "naive"},
        {"entry": "source"},
        {"peers": ("peers/vendor",)},
    ],
)
def test_prose_folders_and_the_gate_do_not(change: dict[str, Any]) -> None:
    assert task_digest(KERNEL.model_copy(update=change), FILES) == task_digest(KERNEL, FILES)


def test_the_content_of_the_reference_changes_the_task() -> None:
    assert task_digest(KERNEL, {"reference.py": digest_bytes(b"two")}) != task_digest(KERNEL, FILES)
    assert task_digest(KERNEL, {}) != task_digest(KERNEL, FILES)


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"TILE": 2, "UNROLL": 1}},
        {"sources": (SourceFile(path="k.cu", content=digest_bytes(b"K")),)},
        {"sources": (SourceFile(path="l.cu", content=digest_bytes(b"k")),)},
        {"flags": ("-O2",)},
        {"launch": (ONE.launch[0].model_copy(update={"block": (64, 1, 1)}),)},
        {"launch": (ONE.launch[0].model_copy(update={"shared_bytes": 16}),)},
        {"scratch": (Scratch(name="s", bytes=4),)},
        {"scratch": (Scratch(name="s", bytes=4, dtype=Dtype.f32),)},
        {"launch": (ONE.launch[0].model_copy(update={"cluster": (2, 1, 1)}),)},
        {"launch": (ONE.launch[0].model_copy(update={"when": "N"}),)},
        {"launch": (ONE.launch[0].model_copy(update={"when": 0}),)},
        {"tensor_map": (TensorMap(name="t", of="y", dims=("N",), box=(64,)),)},
        {"entry": "other"},
        {"toolchain": "c"},
    ],
)
def test_what_changes_behaviour_changes_the_candidate(change: dict[str, Any]) -> None:
    assert ONE.model_copy(update=change).id != ONE.id


@pytest.mark.parametrize(
    ("change", "identity"),
    [
        ({}, "cbe379a890418557e340495bb865d187bd193fda576e937ee0b9b7918683f069"),
        (
            {"scratch": (Scratch(name="s", bytes=4),)},
            "925f45615bbb272472325f65d8ad9848f30838a2ccead163aab4f8935ce9d191",
        ),
    ],
)
def test_an_identity_that_is_written_down_stays(change: dict[str, Any], identity: str) -> None:
    """Ledgers and results name candidates by it: a field that a candidate does not use must not change it."""
    assert ONE.model_copy(update=change).id == identity


def test_kernels_that_take_constants_have_an_identity_of_their_own() -> None:
    launch = Launch(kernel="k", grid=("N", 1, 1), arguments=("y", "N"))
    plain = ONE.model_copy(update={"toolchain": "triton", "launch": (launch,)})
    for change in ({"constants": {"BLOCK": 64}}, {"divisible": {"N": 16}}):
        changed = plain.model_copy(update={"launch": (launch.model_copy(update=change),)})
        assert changed.id != plain.id
        assert Candidate.model_validate_json(changed.model_dump_json()).id == changed.id


@pytest.mark.parametrize(
    ("toolchain", "launch", "said"),
    [
        ("cuda", {"block": None}, "block is missing"),
        ("cuda", {"constants": {"BLOCK": 1}}, "cuda kernels take no constants"),
        ("cute", {"divisible": {"y": 2}}, "only triton kernels"),
        ("triton", {}, "triton decides block, shared_bytes and cluster"),
        ("triton", {"block": None, "cluster": (2, 1, 1)}, "triton decides block"),
        ("triton", {"block": None, "divisible": {"N": 16}}, "divisible names what is not passed"),
    ],
)
def test_a_launch_that_its_toolchain_cannot_mean(toolchain: str, launch: dict[str, Any], said: str) -> None:
    stated = {**ONE.model_dump(), "toolchain": toolchain, "launch": [{**ONE.launch[0].model_dump(), **launch}]}
    with pytest.raises(ValidationError, match=said):
        Candidate.model_validate(stated)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"box": (1, 2)}, "1 dims need 1 box, not 2"),
        ({"strides": (16,)}, "1 dims need 0 strides, not 1"),
        ({"element_strides": (1, 1)}, "1 dims need 1 element_strides, not 2"),
        ({"dims": ()}, "at least 1"),
        ({"swizzle": "256B"}, "32B"),
    ],
)
def test_a_tensor_map_whose_parts_do_not_agree(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TensorMap.model_validate({"name": "t", "of": "y", "dims": ["N"], "box": [64], **change})


@pytest.mark.parametrize("change", [{"memo": "why"}, {"parent": "0" * 64}, {"space": Space()}])
def test_where_it_comes_from_does_not(change: dict[str, Any]) -> None:
    assert ONE.model_copy(update=change).id == ONE.id


def test_a_copy_computes_its_identity_anew() -> None:
    asked = ONE.id
    assert "id" in ONE.__dict__, "the identity is cached"
    copied = ONE.model_copy(update={"flags": ("-O1",)})
    assert copied.id != asked
    assert copied.id == Candidate.model_validate_json(copied.model_dump_json()).id
    assert ONE.id == asked


def test_another_point_knows_its_parent() -> None:
    there = ONE.at({"TILE": 4, "UNROLL": 2}, "wider")
    assert (there.parent, there.memo, there.parameters) == (ONE.id, "wider", {"TILE": 4, "UNROLL": 2})
    assert there.at(ONE.parameters, "back").id == ONE.id


def test_a_record_is_frozen_and_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValidationError):
        ONE.memo = "changed"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Workload.model_validate({"name": "w", "wieght": 2.0})


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_weight_is_a_positive_finite_number(weight: float) -> None:
    with pytest.raises(ValidationError):
        Workload(name="w", weight=weight)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=3), x, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_the_canonical_text_forgets_the_order_of_keys_only(value: dict[str, Any]) -> None:
    backwards = dict(reversed(list(value.items())))
    assert canonical(backwards) == canonical(value)
    assert canonical({**value, "extra key": 1}) != canonical(value)
    assert canonical(value).isascii()
    assert digest(value) == digest(backwards)


@pytest.mark.parametrize(
    "path", ["../k.c", "a/../../k.c", "/etc/passwd", "", "~/k.c", ".hidden", "a b.c", "k.c\n", "a\\b"]
)
def test_a_source_stays_inside_its_folder(path: str) -> None:
    with pytest.raises(ValidationError):
        SourceFile(path=path, content="0" * 64)


class TestSpace:
    def test_points_are_the_allowed_part_of_the_product(self) -> None:
        points = list(SPACE.points())
        assert SPACE.size == 15
        assert len(points) == 14  # 16 x 4 is forbidden
        assert {"TILE": 16, "UNROLL": 4} not in points
        assert len({tuple(p.items()) for p in points}) == len(points)

    def test_resolve_fills_in_the_defaults(self) -> None:
        assert SPACE.resolve({"TILE": 8}) == {"TILE": 8, "UNROLL": 1}

    @pytest.mark.parametrize(
        ("overrides", "said"),
        [({"TIEL": 8}, "TIEL"), ({"TILE": 3}, "Values: "), ({"TILE": 16, "UNROLL": 4}, "breaks")],
    )
    def test_resolve_refuses_what_was_not_declared(self, overrides: dict[str, int], said: str) -> None:
        with pytest.raises(BadInput, match=said):
            SPACE.resolve(overrides)

    def test_a_constraint_that_cannot_be_evaluated_is_not_satisfied(self) -> None:
        space = Space(tunables={"A": Tunable(values=(0, 1), default=1)}, constraints=("4 // A == 4",))
        assert list(space.points()) == [{"A": 1}]

    def test_no_tunables_are_one_point(self) -> None:
        assert list(Space().points()) == [{}]
