"""Exports: the guard table, refusals, what is kept and taken back, and kills. Real compilers and real calls."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ship.export_things import exported, imported, project_with_release, release, shelf_of
from tests.ship.things import Scripted
from warpsmith.errors import BadInput
from warpsmith.model.release import Gain
from warpsmith.ship.export import keeping
from warpsmith.ship.export.guards import Bound, Row, contradictions, never_chosen, order
from warpsmith.ship.export.keeping import Generation, Keeper, tree_of

needs_tvm_ffi = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("tvm_ffi") is None, reason="apache-tvm-ffi is not installed"
)
LARGE = {"65536": "200000", "1003": "100003"}
"""Edits of the task's page: another bucket of shapes."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Scripted:
    return project_with_release(tmp_path_factory.mktemp("project"))


@pytest.fixture
def space(project: Scripted, tmp_path: Path) -> Scripted:
    """A copy of the project, to be changed."""
    shutil.copytree(project.root, tmp_path / "copy")
    made = Scripted(tmp_path / "copy")
    made.script = project.script
    return made


def row(name: str, low: int, high: int, speedup: float = 1.5, *, baseline: str = "b" * 64, proof: str = "measured",
        architecture: str = "sm_90a", scalars: tuple[float, ...] = (1.5,)) -> Row:  # fmt: skip
    return Row(
        release=f"my/{name}@1", name=f"my/{name}", hardware="cuda", architecture=architecture, dtypes={"x": "f32"},
        boxes=({"N": Bound(low=low, high=high)},), scalars={"a": scalars}, alignment=64, layout="row-major",
        proof=proof, gain=Gain(speedup=speedup, low=1.0, high=2.0, pairs=20) if proof == "measured" else None,
        baseline=baseline, candidate="c" * 64, artefact="d" * 64,
    )  # fmt: skip


def test_the_largest_gain_is_chosen_first_and_what_nobody_measured_last() -> None:
    slow, fast, unmeasured = row("a", 1, 9, 1.2), row("a", 1, 5, 1.9), row("a", 1, 9, proof="compiled, not measured")
    assert order([unmeasured, slow, fast]) == (fast, slow, unmeasured)
    assert never_chosen(order([slow, row("a", 1, 9, 1.4)])) == {1: row("a", 1, 9, 1.4)}
    assert never_chosen([slow, row("a", 1, 10, 1.1)]) == {}
    assert never_chosen([slow, row("a", 1, 9, 1.1, scalars=(1.5, 2.5))]) == {}
    assert never_chosen([slow, row("a", 1, 9, 1.1, architecture="sm_100a")]) == {}


def test_rows_contradict_where_their_gains_cannot_be_compared() -> None:
    a = row("a", 1, 9)
    assert contradictions([a, row("b", 9, 20)]) == [(a, row("b", 9, 20))]
    assert contradictions([a, row("b", 10, 20)]) == []
    assert contradictions([a, row("a", 1, 20, baseline="e" * 64)]) != []
    assert contradictions([a, row("b", 1, 9, architecture="sm_100a")]) == []
    assert contradictions([a, row("b", 1, 9, scalars=(2.0,))]) == []


@pytest.mark.slow
@needs_tvm_ffi
def test_a_family_of_two_buckets_picks_by_shape_and_falls_back_outside(space: Scripted, tmp_path: Path) -> None:
    import numpy

    release(space, "my/axpy_large", edit=LARGE, candidate_edit={"kernel.c": "alpha * x[i] -> x[i] * alpha"})
    assert not exported(space, "my/axpy", name="axpy").against
    answer = exported(space, "my/axpy_large", name="axpy")
    assert not answer.against and answer.export is not None
    assert answer.export.now.releases == ("my/axpy@1.0.0", "my/axpy_large@1.0.0")
    assert isinstance(answer.added_cost, dict) and answer.added_cost["low_ns"] <= answer.added_cost["ns"]
    package = imported(answer, tmp_path)
    dispatch = package.DISPATCH["axpy"]
    aligned = sys.modules[f"{package.__name__}._runtime.arrays"]._aligned

    def arrays(n: int, dtype: str = "float32") -> list[numpy.ndarray]:
        made = [aligned(numpy, (n,), numpy.dtype(dtype), 64) for _ in range(2)]
        for at, array in enumerate(made):
            array[:] = numpy.arange(n) % 7 + at
        return made

    for n, covered in ((1003, True), (65536, True), (1002, False), (65537, False), (100003, True), (200001, False)):
        x, y0 = arrays(n)
        assert (dispatch.covers(x, y0) == "") is covered, n
        if covered:
            assert numpy.allclose(package.axpy(x, y0), 1.5 * x + y0)
        else:
            with pytest.raises(package.NotCovered, match="outside what was measured"):
                package.axpy(x, y0)
    assert (dispatch.hits, dispatch.fallbacks) == (3, 3)
    x, y0 = arrays(4096)
    out = aligned(numpy, (4096,), numpy.dtype("float32"), 64)
    assert package.axpy(x, y0, out) is out and numpy.allclose(out, 1.5 * x + y0)
    reasons = {
        "a buffer is not aligned as it was measured": (x[1:], y0[1:]),
        "a tensor is not row-major and contiguous": (x[::2], y0[::2]),
        "the shapes do not agree with each other": (x, y0[:2000]),
        "no row is for these element types": tuple(arrays(4096, "float64")),
        "a number is not one that was verified": (x, y0, None, 2.0),
        "an output overlaps another tensor": (x, y0, x),
        "an argument is missing, or is no tensor or number": (x, "y0", out),
    }
    for why, given in reasons.items():
        assert dispatch.covers(*given) == why
    assert set(dispatch.releases) == {"my/axpy@1.0.0", "my/axpy_large@1.0.0"} and dispatch.ratio > 1


@needs_tvm_ffi
def test_a_bound_function_stands_for_the_original(space: Scripted, tmp_path: Path) -> None:
    import inspect

    import numpy

    package = imported(exported(space, "my/axpy"), tmp_path)
    dispatch = package.DISPATCH["axpy"]

    def original(x, y0, /, scale: float = 1.5, *, bias=None, out=None):  # type: ignore[no-untyped-def]
        return "original"

    bound = dispatch.bind(original, {"alpha": "scale"})
    assert inspect.signature(bound) == inspect.signature(original) and bound.__wrapped__ is original
    aligned = sys.modules[f"{package.__name__}._runtime.arrays"]._aligned
    x, y0 = (aligned(numpy, (2048,), numpy.dtype("float32"), 64) for _ in range(2))
    x[:], y0[:] = 2.0, 1.0
    assert numpy.allclose(bound(x, y0), 4.0)
    assert bound(x, y0, bias=1) == "original" and bound(x, y0, 2.0) == "original"
    assert (dispatch.hits, dispatch.fallbacks) == (1, 2)
    dispatch.reset()
    assert (dispatch.hits, dispatch.fallbacks) == (0, 0)
    guarded = dispatch.bind(original, {"alpha": "scale"}, when="bias == 1")
    assert numpy.allclose(guarded(x, y0, bias=1), 4.0) and guarded(x, y0) == "original"
    with pytest.raises(package.CannotBind) as refused:
        dispatch.bind(lambda other, *rest: None, {"alpha": "1 +", "beta": "2"})
    for part in (
        "any number of arguments",
        "no argument 'beta'",
        "what 'x' is",
        "no expression",
        "'other' has no default",
    ):
        assert part in str(refused.value)
    dispatch.original = lambda *_: "original"
    assert package.axpy(x[:4], y0[:4]) == "original"


def test_a_second_export_keeps_the_first_and_revert_puts_back(space: Scripted) -> None:
    release(space, "my/axpy_large", edit=LARGE)
    first = exported(space, "my/axpy", kind="header", name="axpy")
    before = tree_of(Path(first.path))
    second = exported(space, "my/axpy_large", kind="header", name="axpy")
    assert [r.name for r in second.rows] == ["my/axpy_large", "my/axpy"] or len(second.rows) == 2
    keeper = Keeper(space.root / "exports")
    assert [len(e.generations) for e in keeper.all()] == [2]
    left = keeper.revert("axpy", "header")
    assert left is not None and left.now.releases == ("my/axpy@1.0.0",)
    assert tree_of(Path(first.path)) == before and not keeper.changed(left)
    assert keeper.revert("axpy", "header") is None and keeper.all() == () and not Path(first.path).exists()
    with pytest.raises(BadInput, match="there is no export"):
        keeper.revert("axpy", "header")


def test_a_newer_release_replaces_the_one_that_it_covers(space: Scripted) -> None:
    release(space, "my/axpy", "1.1.0", speedup=1.1)
    exported(space, "my/axpy@1.0.0", kind="header")
    answer = exported(space, "my/axpy@1.1.0", kind="header")
    assert [r.release for r in answer.rows] == ["my/axpy@1.1.0"] and "replaces my/axpy@1.0.0" in answer.notes[0]
    refused = exported(space, "my/axpy@1.0.0", "my/axpy@1.1.0", kind="header", replace=True)
    assert [a.reason for a in refused.against] == ["never_chosen"] and refused.exit_status == 3


def test_every_reason_against_is_named_at_once(space: Scripted) -> None:
    release(space, "my/other", edit={'name = "y0"': 'name = "z0"'}, candidate_edit=None)
    release(space, "my/same", edit={"weight = 0.25": "weight = 0.5"})
    artefact = next((space.root / "releases" / "my" / "same").rglob("artefact/*"))
    shelf_of(space)
    answer = exported(space, "my/axpy", "my/other", "my/same", "my/none", name="2x", kind="header")
    assert {a.reason for a in answer.against} == {"other_abi", "guards_contradict", "unknown_release", "bad_name"}
    assert answer.exit_status == 3 and answer.export is None and not (space.root / "exports" / "header").exists()
    content = bytearray(artefact.read_bytes())
    content[100] ^= 1
    artefact.chmod(0o644)
    artefact.write_bytes(content)
    answer = exported(space, "my/same", kind="header")
    assert [a.reason for a in answer.against] == ["tampered"] and answer.exit_status == 1


def test_an_unmeasured_release_and_a_foreign_toolchain_are_refused(
    space: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    from warpsmith.ship.export import family, processors

    monkeypatch.setattr(family, "EXPORTABLE", ("cuda",))
    assert [a.reason for a in exported(space, "my/axpy", kind="header").against] == ["not_exportable"]
    monkeypatch.setattr(family, "EXPORTABLE", ("c",))
    with pytest.raises(BadInput, match="knows no architecture"):
        processors.features("nothing")
    answer = exported(space, "my/axpy", kind="header", also=("sm_90a",))
    assert [a.reason for a in answer.against] == ["not_compiled"]
    processors.features.cache_clear()
    monkeypatch.setattr(processors, "said_by", lambda argv: "")
    assert [a.reason for a in exported(space, "my/axpy", kind="header").against] == ["architecture_unknown"]
    processors.features.cache_clear()


def test_no_name_of_a_header_means_two_things() -> None:
    """A macro of a reason's name would be returned in its place: a call goes to the original, and no word says why."""
    from warpsmith.ship.export.header import CODES, TEMPLATES

    defined = {name for page in TEMPLATES.iterdir() for name in re.findall(r"#define @P@_(\w+)", page.read_text())}
    assert defined and not defined & set(CODES)


MAIN = """\
#include "axpy.h"

int main(void) {
    enum { N = 1003 };
    static float x[N] __attribute__((aligned(64))), y0[N] __attribute__((aligned(64)));
    static float y[N] __attribute__((aligned(64)));
    for (int i = 0; i < N; i++) x[i] = (float)i, y0[i] = 1;
    axpy_call call = {.device_type = axpy_CPU, .x = x, .y0 = y0, .y = y, .x_dtype = axpy_f32, .y0_dtype = axpy_f32,
                      .y_dtype = axpy_f32, .N = N, .alpha = 1.5f};
    if (axpy_covers(&call) || axpy_warm(axpy_CPU, 0) != 1 || axpy_scratch_bytes(&call)) return 1;
    if (axpy_run(&call, 0)) return 2;
    for (int i = 0; i < N; i++)
        if (y[i] != 1.5f * x[i] + 1) return 3;
    call.N = 7;
    int code = axpy_run(&call, 0);
    puts(axpy_reason(code));
    return code > 0 ? 0 : 4;
}
"""


@pytest.mark.parametrize("compiler", ["gcc -std=c11 -Wall -Wextra -Werror", "g++ -std=c++20 -Wall -Werror -x c++"])
def test_the_header_is_compiled_and_called_by_real_compilers(space: Scripted, tmp_path: Path, compiler: str) -> None:
    answer = exported(space, "my/axpy", kind="header")
    (tmp_path / "main.c").write_text(MAIN)
    command = [*compiler.split(), f"-I{answer.path}", "main.c", "-o", "main", "-ldl", "-lpthread"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    ran = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "the shape is outside what was measured")
    header = (Path(answer.path) / "axpy.h").read_text()
    manifest = shelf_of(space).entries()[0].manifest
    assert f"manifest {manifest}" in header and "my/axpy@1.0.0" in header and "1.480x" in header


def test_stamps_say_where_everything_comes_from(space: Scripted) -> None:
    answer = exported(space, "my/axpy", kind="header")
    said = json.loads((Path(answer.path) / "export.json").read_text())
    there = shelf_of(space)
    manifest = there.manifest(there.entries()[0])
    (stamp,) = said["releases"]
    assert stamp["spec"] == "my/axpy@1.0.0" and stamp["manifest"] == there.entries()[0].manifest
    assert (stamp["task"], stamp["at"], stamp["commit"]) == (manifest.task, manifest.at, manifest.commit)
    assert stamp["gain"]["speedup"] == manifest.gain.speedup and stamp["gain"]["low"] == manifest.gain.low
    assert said["architectures"] == [manifest.target.architecture]
    assert said["rows"][0]["artefact"] == manifest.build.binary and said["added_cost"] == "not measured"
    assert set(said["files"]) == {"axpy.h"}


@pytest.mark.slow
@needs_tvm_ffi
def test_flashinfer_solutions_and_hugging_face_kernels_build(space: Scripted, tmp_path: Path) -> None:
    import base64
    import hashlib

    import numpy
    import tvm_ffi

    from warpsmith.ship.export.building import shared_object

    answer = exported(space, "my/axpy", kind="flashinfer")
    solution = json.loads((Path(answer.path) / "axpy.json").read_text())
    assert set(solution) == {"name", "definition", "author", "description", "spec", "sources"}
    assert solution["spec"]["binding"] == "tvm-ffi" and solution["spec"]["destination_passing_style"] is True
    place, _, symbol = solution["spec"]["entry_point"].partition("::")
    sources = {s["path"]: s["content"].encode() for s in solution["sources"]}
    (tmp_path / "made.so").write_bytes(shared_object(sources, place))
    run = tvm_ffi.load_module(str(tmp_path / "made.so"))[symbol]
    raw = numpy.zeros((3, 1024 * 4 + 64), dtype=numpy.uint8)
    x, y0, y = (r[-r.ctypes.data % 64 :][: 1024 * 4].view("float32") for r in raw)
    x[:], y0[:] = 2, 1
    run(x, y0, 1.5, y)
    assert numpy.allclose(y, 4)
    with pytest.raises(ValueError, match="outside what was measured"):
        run(x[:64], y0[:64], 1.5, y[:64])
    answer = exported(space, "my/axpy", kind="kernels")
    (variant,) = (Path(answer.path) / "build").iterdir()
    assert variant.name.startswith("tvm-ffi01-cpu-")
    metadata = json.loads((variant / "metadata.json").read_text())
    assert metadata["backend"] == {"type": "cpu"} and metadata["id"].isidentifier()
    found = {str(p.relative_to(variant)) for p in variant.rglob("*") if p.is_file()} - {"metadata.json"}
    assert found == set(metadata["digest"]["files"])
    for path, digest in metadata["digest"]["files"].items():
        assert base64.b64decode(digest) == hashlib.sha256((variant / path).read_bytes()).digest()
    import tomllib

    page = tomllib.loads((Path(answer.path) / "build.toml").read_text())
    for path in (*page["tvm-ffi"]["src"], *page["kernel"]["axpy_cpu"]["src"]):
        assert (Path(answer.path) / path).is_file()
    shutil.copytree(variant, tmp_path / "site" / "axpy_variant")
    sys.path.insert(0, str(tmp_path / "site"))
    try:
        module = __import__("axpy_variant")
    finally:
        sys.path.remove(str(tmp_path / "site"))
    assert numpy.allclose(module.axpy(x, y0), 4)


GENERATION = Generation(number=0, releases=("my/axpy@1.0.0",), tree="0" * 64, at="2026-01-01T00:00:00Z")
KILLED = """\
import sys
from pathlib import Path
from warpsmith.ship.export.keeping import Generation, Keeper
keeper = Keeper(Path(sys.argv[1]))
made = Generation(number=0, releases=("my/axpy@1.0.0",), tree="0" * 64, at="2026-01-01T00:00:00Z")
print("begins", flush=True)
for at in range(10_000):
    files = {f"{n}.txt": str(at).encode() * 50 for n in range(5)}
    if at % 3 == 2:
        keeper.revert("it", "header")
    else:
        keeper.put("it", "header", files, made)
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_one_whole_tree(tmp_path: Path) -> None:
    rng = random.Random(5)
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.005, 0.08))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        keeper = Keeper(tmp_path)
        keeper.tidy()
        for export in keeper.all():
            assert not keeper.changed(export)
            assert len({p.read_bytes() for p in keeper.place(export).iterdir()}) == 1
        known = {e.path for e in keeper.all()}
        assert {f"header/{p.name}" for p in (tmp_path / "header").iterdir()} == known
        assert not [p for p in tmp_path.iterdir() if p.name.startswith((keeping.INCOMING, keeping.INTENT))]


@pytest.mark.parametrize("step", range(1, 9))
def test_a_stop_at_every_step_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Also where the file system cannot exchange two folders."""
    keeper = Keeper(tmp_path)
    keeper.put("it", "header", {"a": b"1"}, GENERATION)
    if step % 2:
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    done = 0

    def stopping(function):  # type: ignore[no-untyped-def]
        def run(*args, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal done
            done += 1
            if done == (step + 1) // 2 + 1:
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        return run

    with monkeypatch.context() as within:
        for name in ("rename", "unlink"):
            within.setattr(os, name, stopping(getattr(os, name)))
        within.setattr(keeping, "write_atomic", stopping(keeping.write_atomic))
        with contextlib.suppress(KeyboardInterrupt):
            keeper.put("it", "header", {"a": b"2"}, GENERATION)
    keeper.tidy()
    (export,) = keeper.all()
    assert not keeper.changed(export)
    assert (keeper.place(export) / "a").read_bytes() == str(export.now.number).encode()


def test_what_no_export_made_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "header" / "it").mkdir(parents=True)
    with pytest.raises(BadInput, match="no export made it"):
        Keeper(tmp_path).put("it", "header", {"a": b"1"}, GENERATION)


def test_the_verbs_on_the_command_line(
    space: Scripted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from warpsmith.surface import cli

    monkeypatch.chdir(space.root)
    assert cli.run(["export", "my/axpy", "--format", "header"]) == 0
    assert "N 1003..65536" in capsys.readouterr().out
    assert cli.run(["exports", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["exports"]
    assert listed["export"]["name"] == "axpy" and listed["problem"] == ""
    with (Path(listed["path"]) / "axpy.h").open("a") as file:
        file.write("\n")
    assert cli.run(["exports"]) == 1 and "changed since" in capsys.readouterr().out
    assert cli.run(["export", "my/none", "--name", "2x"]) == 3
    assert {"unknown_release:", "bad_name:"} <= set(capsys.readouterr().out.split())
    assert cli.run(["export", "--revert", "--name", "axpy", "--format", "header"]) == 0
    assert cli.run(["export", "--revert", "--name", "axpy", "--format", "header"]) == 3
    assert cli.run(["export"]) == 3
