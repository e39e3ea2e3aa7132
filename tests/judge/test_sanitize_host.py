"""AddressSanitizer and UndefinedBehaviorSanitizer as a gate for C candidates. Real gcc, real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.projects import project
from warpsmith.errors import Missing
from warpsmith.judge.sanitize import HOST_TOOLS, tools_for
from warpsmith.judge.sanitize_host import parse
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.evaluation import Effort, Evaluation, SanitizerResult, Status
from warpsmith.surface import api
from warpsmith.surface.sanitizing import sanitized, verdict
from warpsmith.surface.workspace import Workspace

HEAD = "".join(f"#include <{name}.h>\n" for name in ("limits", "stdint", "stdio", "stdlib", "unistd"))
SIGNATURE = "void kernel(const float *x, const float *y0, float *y, int64_t n, float alpha)"
RIGHT = "for (int64_t i = 0; i < n; i++) y[i] = alpha * x[i] + y0[i];"
SILENT = {
    "reads one past an input": (
        RIGHT + "\n volatile float last = x[n]; (void)last;",
        "address", "heap-buffer-overflow: read of 4 bytes", "kernel.c:9",
    ),
    "reads one before an input": (
        RIGHT + "\n volatile float first = x[-1]; (void)first;",
        "address", "heap-buffer-overflow: read of 4 bytes", "kernel.c:9",
    ),
    "reads its output past the end": (
        RIGHT + "\n volatile float last = y[n]; (void)last;",
        "address", "heap-buffer-overflow: read of 4 bytes", "kernel.c:9",
    ),
    "uses freed memory": (
        "volatile float *copy = malloc(40); copy[1] = x[0]; free((void *)copy);\n volatile float got = copy[1];"
        + RIGHT,
        "address", "heap-use-after-free: read of 4 bytes", "kernel.c:9",
    ),
    "overflows a signed integer": (
        "volatile int most = INT_MAX;\n most = most + (n > 0);" + RIGHT,
        "undefined", "signed integer overflow: 1 + 2147483647 cannot be represented in type 'int'", "kernel.c:9",
    ),
    "reads a misaligned float": (
        "volatile char raw[16] = {0};\n volatile float got = *(volatile float *)(raw + 1 + ((uintptr_t)raw & 1));"
        " (void)got;" + RIGHT,
        "undefined", "load of misaligned address for type", "kernel.c:9",
    ),
    "shifts too far": (
        "volatile int by = 40; volatile int got = 1 << by; (void)got;" + RIGHT,
        "undefined", "shift exponent 40 is too large for 32-bit type 'int'", "kernel.c:8",
    ),
}  # fmt: skip
"""Mistakes that the judge's own bounds and values do not show: what finds them, how and where."""

QUICK = ("reads one past an input",)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return project(tmp_path_factory.mktemp("project"))


def candidate(space: Workspace, body: str, *flags: str) -> Candidate:
    source = f"{HEAD}{SIGNATURE}\n{{\n{body}\n}}\n"
    content = space.blobs.put(source.encode())
    return Candidate(
        toolchain="c", entry="kernel", sources=(SourceFile(path="kernel.c", content=content),), flags=flags
    )


def checked(space: Workspace, body: str, *flags: str) -> Evaluation:
    known = space.task("my/axpy")
    made = candidate(space, body, *flags)
    return space.measure(known, space.target(known), made, made, Effort.check, name="sanitize", sanitizers=HOST_TOOLS)


def by_tool(evaluation: Evaluation) -> dict[str, SanitizerResult]:
    assert [s.tool for s in evaluation.sanitizers] == list(HOST_TOOLS)
    return {s.tool: s for s in evaluation.sanitizers}


@pytest.fixture(scope="module")
def clean(space: Workspace) -> Evaluation:
    return checked(space, RIGHT)


def test_a_clean_candidate_passes(clean: Evaluation) -> None:
    assert clean.passed, clean.detail
    assert {s.status for s in clean.sanitizers} == {"passed"}


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SILENT])
def test_a_silent_mistake_is_found(name: str, space: Workspace) -> None:
    body, tool, kind, place = SILENT[name]
    evaluation = checked(space, body)
    assert evaluation.status is Status.crashed
    assert evaluation.detail.startswith(f"{tool}: {kind}"), evaluation.detail
    found = by_tool(evaluation)
    (finding,) = found[tool].findings
    assert (finding.kernel, finding.location) == ("kernel", place)
    (other,) = set(HOST_TOOLS) - {tool}
    assert found[other].status == ("passed" if tool == "undefined" else "unavailable")


@pytest.mark.slow
def test_both_tools_can_fail(space: Workspace) -> None:
    body = (
        "volatile float t[4] = {0}; volatile int64_t at = 3 + (n > 0); volatile float got = t[at]; (void)got;" + RIGHT
    )
    found = by_tool(checked(space, body))
    assert {tool: s.status for tool, s in found.items()} == {"address": "failed", "undefined": "failed"}
    assert found["address"].findings[0].kind == "stack-buffer-overflow: read of 4 bytes"
    assert found["undefined"].findings[0].kind.startswith("index 4 out of bounds for type")


@pytest.mark.slow
def test_flags_cannot_turn_the_tools_off(space: Workspace) -> None:
    evaluation = checked(space, SILENT["reads one past an input"][0], "-fno-sanitize=all", "-fno-sanitize-recover=all")
    assert evaluation.detail.startswith("address: heap-buffer-overflow")


@pytest.mark.slow
@pytest.mark.parametrize("body", ["close(2);", "close(1); close(2);"])
def test_a_tool_that_is_not_heard_passes_nobody(body: str, space: Workspace) -> None:
    evaluation = checked(space, body + RIGHT)
    assert evaluation.passed
    assert {s.status for s in evaluation.sanitizers} == {"unavailable"}
    assert all("the judge planted" in s.reason for s in evaluation.sanitizers)


@pytest.mark.slow
def test_outputs_are_verified_under_the_tools_too(space: Workspace) -> None:
    found = by_tool(checked(space, f"\n#ifndef __SANITIZE_ADDRESS__\n{RIGHT}\n#endif\n"))
    assert {s.status for s in found.values()} == {"failed"}
    assert "its outputs are wrong" in found["address"].findings[0].kind


@pytest.mark.slow
def test_a_compiler_without_sanitizers_is_unavailable(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poor = tmp_path / "poor-gcc"
    poor.write_text('#!/bin/sh\ncase " $* " in *" -fsanitize"*) echo no libasan >&2; exit 1;; esac\nexec gcc "$@"\n')
    poor.chmod(0o755)
    monkeypatch.setenv("WARPSMITH_CC", str(poor))
    evaluation = checked(space, RIGHT + " /* nowhere in the cache */")
    assert evaluation.passed
    assert {s.status for s in evaluation.sanitizers} == {"unavailable"}
    assert "no libasan" in evaluation.sanitizers[0].reason


def test_python_candidates_have_no_sanitizer(space: Workspace) -> None:
    known = space.task("my/axpy")
    python = known.baseline.model_copy(update={"toolchain": "python"})
    assert known.loaded.kernel is not None
    assert tools_for(known.loaded.kernel, python) == ()
    with pytest.raises(Missing, match="no sanitizer"):
        sanitized(space, known, python, "release")


@pytest.mark.slow
def test_the_command_says_what_was_found(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(space.root)
    clean = api.check("my/axpy", "baseline", sanitize=True)
    assert clean.exit_status == 0
    assert [s.status for s in clean.evaluation.sanitizers] == ["passed", "passed"]
    assert api.passed_sanitizers("my/axpy", "baseline")
    kept = sorted((space.home / "sanitized").iterdir())
    assert len(kept) == 1, "what was found once is kept"

    folder = space.root / "wrong"
    folder.mkdir()
    (folder / "kernel.c").write_text(f"{HEAD}{SIGNATURE}\n{{\n{SILENT['reads one past an input'][0]}\n}}\n")
    (folder / "candidate.toml").write_text('toolchain = "c"\nsources = ["kernel.c"]\nentry = "kernel"\n')
    wrong = api.check("my/axpy", str(folder), sanitize=True)
    assert wrong.exit_status == 1
    assert not api.passed_sanitizers("my/axpy", str(folder))
    assert api.check("my/axpy", str(folder)).exit_status == 0, "nothing but a sanitizer sees it"


def test_an_unavailable_tool_is_neither_passed_nor_failed(clean: Evaluation) -> None:
    unheard = SanitizerResult(tool="address", status="unavailable", reason="not here")
    for sanitizers, said in (
        (clean.sanitizers, "passed"), ((), "unavailable"), ((unheard,), "unavailable"),
        ((clean.sanitizers[1], unheard), "unavailable"),
    ):  # fmt: skip
        assert verdict(clean.model_copy(update={"sanitizers": sanitizers})) == said


LOG = """
/tmp/x/kernel.c:9:12: runtime error: load of misaligned address 0x7ffd1c2b7c31 for type 'float', which requires 4
0x7ffd1c2b7c31: note: pointer points here
 00 00 00  00 00
              ^
    #0 0x7f2d5 in helper /tmp/x/kernel.c:9
    #1 0x7f2d6 in kernel /tmp/x/kernel.c:20

=================================================================
==2==ERROR: AddressSanitizer: attempting double-free on 0x602000000010 in thread T0:
    #0 0x7f49 in __interceptor_free ../../../../src/libsanitizer/asan/asan_malloc_linux.cpp:52
    #1 0x7f50 in kernel /tmp/x/kernel.c:11:5
==2==ERROR: AddressSanitizer: SEGV on unknown address 0x000000000000 (pc 0x7f bp 0x7f sp 0x7f T0)
==2==The signal is caused by a READ memory access.
    #0 0x7f50 in kernel (/cache/binary+0x11f9)
"""


def test_other_reports_are_read() -> None:
    found = parse(LOG)
    assert [f.said for f in found["undefined"]] == [
        "load of misaligned address for type 'float', which requires 4 in helper at kernel.c:9"
    ]
    assert [f.said for f in found["address"]] == [
        "attempting double-free in kernel at kernel.c:11", "SEGV: read in kernel",
    ]  # fmt: skip
