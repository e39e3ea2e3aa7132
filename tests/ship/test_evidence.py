"""Profilers' reports from elsewhere, good and bad; and the page of releases against the program."""

from __future__ import annotations

import lzma
import re
from pathlib import Path
from typing import get_args

import pytest

from tests.ship.things import CALLGRIND
from warpsmith.errors import BadReport, Missing, WarpsmithError
from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate, Launch, SourceFile
from warpsmith.ship.evidence import assign, examine, kind_of, wanted
from warpsmith.ship.refusals import Reason
from warpsmith.ship.seal import Result
from warpsmith.surface import api, cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/releases.md").read_text()
SOURCES = (SourceFile(path="kernel.c", content=digest_bytes(b"")),)
PLAIN = Candidate(toolchain="c", entry="kernel", sources=SOURCES)
COUNTERS, TIMELINE = wanted("cpu")


def file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_each_kind_is_known_by_what_it_is(tmp_path: Path) -> None:
    assert kind_of(file(tmp_path, "callgrind.out.7", CALLGRIND)) == "cpu"
    assert kind_of(file(tmp_path, "a.ncu-rep", b"x")) == "ncu"
    assert kind_of(file(tmp_path, "a.nsys-rep", b"x")) == "nsys"
    for path in (file(tmp_path, "notes.txt", "hello"), tmp_path / "absent", tmp_path):
        with pytest.raises(BadReport):
            kind_of(path)


def test_files_are_taken_in_their_order(tmp_path: Path) -> None:
    one, two = file(tmp_path, "1", CALLGRIND), file(tmp_path, "2", CALLGRIND)
    assert assign((one, two), wanted("cpu")) == {"counters": one, "timeline": two}
    with pytest.raises(BadReport, match="none is open"):
        assign((one, two, one), wanted("cpu"))
    with pytest.raises(BadReport, match="none is open"):
        assign((one,), wanted("cuda"))
    ncu, nsys = file(tmp_path, "a.ncu-rep", b""), file(tmp_path, "a.nsys-rep", b"")
    assert assign((nsys, ncu), wanted("cuda")) == {"timeline": nsys, "counters": ncu}


def test_callgrind_of_the_candidate_passes(tmp_path: Path) -> None:
    found = examine(file(tmp_path, "a", CALLGRIND), TIMELINE, PLAIN, "elsewhere")
    assert (found.report.made, found.report.subject) == ("elsewhere", "baseline")
    assert found.report.stands_in_for == "Nsight Systems" and found.report.kernels == ("kernel",)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# callgrind format\n",
        CALLGRIND.replace("kernel.c", "other.c"),
        CALLGRIND.replace("fn=(1) kernel", "fn=(1) other"),
        CALLGRIND.replace("8 10 4 2\n+2 100 50 25\n", ""),
        CALLGRIND.replace("+2 100", "+x 100"),
        CALLGRIND.replace("8 10 4 2\n+2 100 50 25\n", "8 0 0 0\n"),
    ],
)
def test_callgrind_of_something_else_does_not(content: str, tmp_path: Path) -> None:
    with pytest.raises(BadReport):
        examine(file(tmp_path, "a", content), COUNTERS, PLAIN, "elsewhere")


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_broken_reports_of_a_gpu_do_not(content: bytes, tmp_path: Path) -> None:
    launch = Launch(kernel="k", grid=(1, 1, 1), block=(1, 1, 1), arguments=("y",))
    candidate = PLAIN.model_copy(update={"toolchain": "cuda", "launch": (launch,)})
    counters, timeline = wanted("cuda")
    for one, name in ((counters, "a.ncu-rep"), (timeline, "a.nsys-rep")):
        with pytest.raises((BadReport, Missing)):
            examine(file(tmp_path, name, content), one, candidate, "elsewhere")
        with pytest.raises(WarpsmithError):
            examine(tmp_path / "absent.ncu-rep", one, candidate, "elsewhere")


@pytest.mark.slow
def test_a_report_of_nsight_compute_has_to_hold_the_kernels(tmp_path: Path) -> None:
    pytest.importorskip("ncu_report")
    content = lzma.decompress((ROOT / "tests/golden/profilers/quick.ncu-rep.xz").read_bytes())
    path, asked = file(tmp_path, "a.ncu-rep", content), wanted("cuda")[0]

    def launching(*kernels: str) -> Candidate:
        launches = tuple(Launch(kernel=k, grid=(1, 1, 1), block=(1, 1, 1), arguments=("y",)) for k in kernels)
        return PLAIN.model_copy(update={"toolchain": "cuda", "launch": launches})

    found = examine(path, asked, launching("rmsnorm"), "elsewhere")
    assert (found.report.kernels, found.report.stands_in_for) == (("rmsnorm",), "")
    for kernels in (("softmax",), ("rmsnorm", "softmax")):
        with pytest.raises(BadReport, match="lacks the kernel softmax"):
            examine(path, asked, launching(*kernels), "elsewhere")


def test_the_page_names_every_reason_and_result() -> None:
    for word in (*get_args(Reason), *get_args(Result)):
        assert f"`{word}`" in PAGE, word


def test_the_page_uses_verbs_and_flags_that_exist() -> None:
    verbs = {cli.spelled(v) for v in api.VERBS}
    lines = re.findall(r"(?:^\$ |run: )warpsmith ([a-z]+)(.*)$", PAGE, re.MULTILINE)
    assert len(lines) >= 8
    reference = (ROOT / "docs/cli.md").read_text()
    for verb, rest in lines:
        assert verb in verbs
        section = reference.split(f"### `warpsmith {verb}`")[1].split("\n### ")[0]
        assert all(f"`{flag}`" in section for flag in re.findall(r"--[a-z-]+", rest)), rest
