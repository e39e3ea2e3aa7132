"""Exports for GPUs on a machine without one: real cubins, and a driver of our own that says what it was asked to do."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import pytest

from tests.ship.export_things import exported, project_with_release, rmsnorm
from tests.ship.things import Scripted
from warpsmith.errors import Missing
from warpsmith.judge.plan import make_plan
from warpsmith.model.expression import evaluate
from warpsmith.model.head import Workload
from warpsmith.model.release import Manifest
from warpsmith.ship.export import building
from warpsmith.ship.export.expressions import Term, Writer
from warpsmith.ship.export.header import TEMPLATES
from warpsmith.store.folders import load_task
from warpsmith.surface.answers_export import ExportAnswer
from warpsmith.surface.shelves import shelf
from warpsmith.toolchains import toolchain

DRIVER = """\
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define SAYS(...) __VA_ARGS__ { return 0; }
SAYS(int cuInit(unsigned f)) SAYS(int cuCtxPushCurrent_v2(void *c)) SAYS(int cuFuncSetAttribute(void *f, int a, int v))
int cuDeviceGetCount(int *n) { *n = 1; return 0; }
int cuDeviceGet(int *d, int n) { *d = n; return 0; }
int cuDeviceGetAttribute(int *v, int a, int d) {
    int capability = atoi(getenv("CAPABILITY"));
    *v = a == 75 ? capability / 10 : a == 76 ? capability % 10 : a == 16 ? 132 : a == 97 ? 232448 : 0;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **c, int d) { *c = (void *)1; return 0; }
int cuCtxGetCurrent(void **c) { *c = 0; return 0; }
int cuCtxPopCurrent_v2(void **c) { *c = 0; return 0; }
int cuLibraryLoadData(void **l, const void *code, void *a, void **b, unsigned n, void *c, void **d, unsigned m) {
    *l = (void *)code;
    if (getenv("FLAGS")) printf("flags %08x\\n", *(const unsigned *)((const char *)code + 48));
    return memcmp(code, "\\177ELF", 4) != 0;
}
int cuLibraryGetKernel(void **k, void *l, const char *name) { printf("kernel %s\\n", name); *k = l; return 0; }
int cuKernelGetFunction(void **f, void *k) { *f = k; return 0; }
int cuGetErrorName(int e, const char **n) { *n = "ERROR"; return 0; }
SAYS(int cuTensorMapEncodeTiled(void))
int cuLaunchKernelEx(const unsigned *c, void *f, void **p, void **x) {
    printf("launch [%u, %u, %u, %u, %u, %u, %u] %p %lld %lld %g\\n", c[0], c[1], c[2], c[3], c[4], c[5], c[6],
           *(void **)p[0], *(long long *)p[3], *(long long *)p[4], *(float *)p[5]);
    return 0;
}
"""
MAIN = """\
#include <stdlib.h>
#include "rmsnorm.h"
int main(int count, char **args) {
    rmsnorm_call call = {.device_type = rmsnorm_CUDA, .x = (void *)0x10000000, .w = (void *)0x40000000,
                         .y = (void *)0x70000000, .x_dtype = rmsnorm_bf16, .w_dtype = rmsnorm_bf16,
                         .y_dtype = rmsnorm_bf16, .M = atoll(args[1]), .N = atoll(args[2]), .eps = 1e-6f};
    if (count > 3) rmsnorm_allow_unmeasured(atoi(args[3]));
    int code = rmsnorm_run(&call, 0);
    printf("%s\\n", rmsnorm_reason(code));
    code = rmsnorm_run(&call, 0);
    return code < 0;
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scripted, ExportAnswer, Manifest, Path]:
    """The family for sm_90, measured, and sm_100, compiled; with a program over its header, and the driver."""
    try:
        toolchain("cuda").version()
    except Missing as missing:
        pytest.skip(str(missing))
    space = project_with_release(tmp_path_factory.mktemp("project"))
    manifest = rmsnorm(space, "1.0.0", "sm_90a")
    answer = exported(space, "cuda/rmsnorm", kind="header", also=("sm_100a",))
    assert not answer.against
    folder = tmp_path_factory.mktemp("program")
    program(folder, answer.path)
    return space, answer, manifest, folder


def program(folder: Path, header: str) -> None:
    """A program over an exported header, and the driver that it finds."""
    (folder / "main.c").write_text(MAIN)
    (folder / "driver.c").write_text(DRIVER)
    for command in (
        ["gcc", "-shared", "-fPIC", "-w", "driver.c", "-o", "libcuda.so.1"],
        ["gcc", "-Wall", "-Wextra", "-Werror", f"-I{header}", "main.c", "-o", "main", "-ldl", "-lpthread"],
    ):
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr


def run(folder: Path, capability: int, *args: int, **more: str) -> list[str]:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "CAPABILITY": str(capability), **more}
    done = subprocess.run(
        [folder / "main", *map(str, args)], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_the_table_holds_the_measured_variant_and_the_compiled_one(
    compiled: tuple[Scripted, ExportAnswer, Manifest, Path],
) -> None:
    _, answer, manifest, _ = compiled
    assert [(r.architecture, r.proof) for r in answer.rows] == [
        ("sm_90a", "measured"),
        ("sm_100a", "compiled, not measured"),
    ]
    assert answer.rows[0].artefact == manifest.build.binary != answer.rows[1].artefact
    assert answer.rows[1].gain is None
    assert answer.export is not None and answer.export.now.also == ("sm_100a",)


@pytest.mark.parametrize("extents", [(1, 4096), pytest.param((4096, 4096), marks=pytest.mark.slow), (333, 5000)])
def test_the_launch_is_the_one_that_the_judge_planned(
    compiled: tuple[Scripted, ExportAnswer, Manifest, Path], extents: tuple[int, int]
) -> None:
    space, _, manifest, folder = compiled
    task = load_task(shelf(space).place(manifest.name, manifest.version) / "task").kernel
    assert task is not None
    rows, columns = extents
    plan = make_plan(
        task, Workload(name="w", axes={"M": rows, "N": columns}), manifest.candidate, manifest.target,
        manifest.build.kernels,
    )  # fmt: skip
    (wanted,) = plan.launches
    said = run(folder, 90, rows, columns)
    assert said[0] == "kernel rmsnorm"
    launched = f"launch {[*wanted.grid, *wanted.block, wanted.shared_bytes]} 0x10000000 {rows} {columns} 1e-06"
    assert said[1:] == [launched, "", launched]


def test_elsewhere_nothing_is_launched(compiled: tuple[Scripted, ExportAnswer, Manifest, Path]) -> None:
    *_, folder = compiled
    assert run(folder, 80, 64, 4096) == ["no row is for this architecture"]
    assert run(folder, 100, 64, 4096) == ["the variant for this architecture was compiled, not measured"]
    assert run(folder, 90, 64, 8192) == ["the shape is outside what was measured"]
    allowed = run(folder, 100, 64, 4096, 100)
    assert allowed[0] == "kernel rmsnorm" and allowed[1].startswith("launch [") and allowed[2] == ""
    assert run(folder, 80, 64, 4096, 100) == ["no row is for this architecture"]


def test_an_export_whose_dispatch_costs_too_much_is_refused(
    compiled: tuple[Scripted, ExportAnswer, Manifest, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a try that is within the limit decides for it: whoever else is at work adds to the others."""
    space, *_ = compiled
    tries: list[float] = []

    def cost(files: object, name: str) -> dict[str, object]:
        low = tries.pop(0)
        return {"ns": low + 100, "low_ns": low, "high_ns": low + 200, "hardware": "cuda", "row": 0}

    monkeypatch.setattr(building, "_added_cost", cost)
    tries[:] = [900.0, 700.0, 501.0]
    answer = exported(space, "cuda/rmsnorm@1.0.0", name="dear")
    (against,) = answer.against
    assert (against.reason, answer.exit_status, answer.path) == ("dispatch_cost", 1, "")
    assert "at least 501" in against.message and not (space.root / "exports" / "python" / "dear").exists()
    tries[:] = [900.0, 400.0, 0.0]
    answer = exported(space, "cuda/rmsnorm@1.0.0", name="cheap")
    assert not answer.against and answer.added_cost["low_ns"] == 400.0 and tries == [0.0]


def test_releases_for_two_architectures_share_one_table(
    compiled: tuple[Scripted, ExportAnswer, Manifest, Path], tmp_path: Path
) -> None:
    """The second joins the first, and each device is given the very bytes of its own."""
    space, *_ = compiled
    made = [rmsnorm(space, f"{v}.0.0", a, name="cuda/both") for v, a in enumerate(("sm_90a", "sm_100a"), 1)]
    for one in made:
        answer = exported(space, one.spec, kind="header", name="rmsnorm_both")
        assert not answer.against
    assert {(r.release, r.architecture, r.proof) for r in answer.rows} == {
        (one.spec, one.target.architecture, "measured") for one in made
    }
    header = Path(answer.path) / "rmsnorm_both.h"
    (tmp_path / "rmsnorm.h").write_text(header.read_text().replace("rmsnorm_both", "rmsnorm"))
    program(tmp_path, str(tmp_path))
    for one, capability in zip(made, (90, 100), strict=True):
        artefact = shelf(space).place(one.name, one.version) / one.variants[0].artefact
        flags = int.from_bytes(artefact.read_bytes()[48:52], "little")
        said = run(tmp_path, capability, 64, 4096, FLAGS="1")
        assert said[0] == f"flags {flags:08x}" and said[2].startswith("launch [")
    assert run(tmp_path, 120, 64, 4096, FLAGS="1") == ["no row is for this architecture"]


def test_without_a_driver_it_says_so(compiled: tuple[Scripted, ExportAnswer, Manifest, Path], tmp_path: Path) -> None:
    *_, folder = compiled
    (tmp_path / "libcuda.so.1").write_text("no library")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([folder / "main", "64", "4096"], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "no row is for this kind of device"


EXPRESSIONS = (
    "M + N * 3 - 7", "M // 7", "-M // 7", "M % 7", "-M % 7", "M % -7", "ceil_div(M, N)", "ceil_div(-M, N)",
    "round_up(M, 128)", "next_pow2(M)", "min(M, N, 5)", "max(M, N)", "abs(M - N)", "2 ** 10 + M", "M ** 2",
    "1 if M > N else 2", "M if 1 < M <= N else N", "(M > 3) + (N > 3)", "M and N", "M or N", "not M", "M == N != 3",
    "-(M)", "+M", "2.5 * M * 2", "M / 2 * 2", "7 // 2 + M", "(M + 0.0) // 3", "M > 2.5",
)  # fmt: skip


def test_expressions_mean_in_c_what_they_mean_to_the_judge(tmp_path: Path) -> None:
    writer = Writer("p", {"M": Term("M"), "N": Term("N")})
    runtime = (TEMPLATES / "runtime.h").read_text().replace("@P@", "p").split("typedef struct")[0]
    lines = [f'    bad = 0; v = {writer.whole(e)}; printf("%lld %d\\n", (long long)v, bad);' for e in EXPRESSIONS]
    overflow = writer.whole("M * N * M * N")
    lines.append(f'    bad = 0; v = {overflow}; printf("%lld %d\\n", 0LL, M > 100000 ? !bad : 0);')
    text = f"""#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
{runtime}
int main(int n, char **a) {{
    int64_t M = atoll(a[1]), N = atoll(a[n - 1]), v;
    int bad;
{chr(10).join(lines)}
    (void)v;
    return 0;
}}
"""
    (tmp_path / "e.c").write_text(text)
    subprocess.run(["gcc", "-w", "e.c", "-o", "e"], cwd=tmp_path, check=True)
    for m, n in ((1, 1), (7, 3), (4096, 333), (37800, 5120), (128, 129), (2**40, 2**40 + 1)):
        done = subprocess.run([tmp_path / "e", str(m), str(n)], capture_output=True, text=True, check=True)
        found = [ast.literal_eval(line.replace(" ", ",")) for line in done.stdout.splitlines()]
        for expression, (value, bad) in zip(EXPRESSIONS, found, strict=False):
            wanted = evaluate(expression, {"M": m, "N": n})
            if -(2**63) <= wanted < 2**63 and int(wanted) == wanted:
                assert (value, bad) == (int(wanted), 0), (expression, m, n)
            else:
                assert bad, (expression, m, n)
        assert found[-1][1] == 0


@pytest.mark.parametrize("text", ["2.5 % M", "M ** 0.5", "min(M, 2.5)", "ceil_div(M)", "K + 1", str(2**70), "x.y"])
def test_what_c_cannot_say_is_refused(text: str) -> None:
    from warpsmith.errors import ExpressionError

    with pytest.raises(ExpressionError):
        Writer("p", {"M": Term("M")}).whole(text)
