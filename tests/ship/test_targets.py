"""Ranges of versions, signatures and the file of targets."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from warpsmith.ship.runtime.targets import (
    Adapter,
    BadTarget,
    Target,
    normalised,
    read,
    satisfied,
    signature_of,
    to_json,
    version_of,
)

VERSIONS = st.builds(
    lambda release, pre, post, dev, local: ".".join(map(str, release)) + pre + post + dev + local,
    st.lists(st.integers(0, 3), min_size=1, max_size=4),
    st.sampled_from(["", "", "", "a1", "b2", "rc1"]),
    st.sampled_from(["", "", ".post1", ".post2"]),
    st.sampled_from(["", "", ".dev0", ".dev3"]),
    st.sampled_from(["", "", "+cu130"]),
)


@given(VERSIONS, VERSIONS)
def test_versions_are_ordered_as_python_orders_them(one: str, two: str) -> None:
    a, b = (Version(Version(v).public) for v in (one, two))
    truths = {"==": a == b, "!=": a != b, ">=": a >= b, "<=": a <= b, ">": a > b, "<": a < b}
    assert {o: satisfied(one, f"{o}{two}") for o in truths} == truths


@pytest.mark.parametrize(
    ("version", "wanted", "answer"),
    [
        ("0.5.12.post1", ">=0.5.12,<0.5.13", True), ("0.5.12.post1", "==0.5.12.post1", True),
        ("0.5.23", ">=0.5.12, <0.5.13", False), ("0.5.12", "", True), ("", ">=1", False), ("garbage", ">=0", False),
    ],
)  # fmt: skip
def test_ranges(version: str, wanted: str, answer: bool) -> None:
    assert satisfied(version, wanted) is answer


@pytest.mark.parametrize("wanted", ["about 1", ">=one", "1.0", "~=1.0"])
def test_ranges_that_are_none(wanted: str) -> None:
    with pytest.raises(BadTarget):
        satisfied("1", wanted)


def test_signatures_are_compared_without_annotations() -> None:
    def norm(x: int, weight: int | None, *, eps: float = 1e-6, **rest: int) -> int:
        return x

    assert (
        signature_of(norm) == normalised("(x, weight, *, eps=0.000001, **rest)") == "(x, weight, *, eps=1e-06, **rest)"
    )
    for bad in ("x, y", "(x", "(x=unknown)"):
        with pytest.raises(BadTarget):
            normalised(bad)


def test_a_file_holds_what_was_written(tmp_path: Path) -> None:
    said = (
        Target("a.b:c", "op", "(x)", "a", ">=1", Adapter({"x": "y"}, "z is None")),
        Target("a.b:C.d", "op"),
        Target("a.b:e", "op", adapter=Adapter(hook="m:f")),
    )
    file = tmp_path / "targets.json"
    file.write_text(json.dumps(to_json(said)))
    assert read(file) == said


def test_the_version_is_that_of_the_distribution() -> None:
    assert version_of("numpy", "numpy.linalg") == metadata.version("numpy")
    assert version_of("no-such-distribution", "no_such_module") == ""
