"""The verb promote: what a release holds, and every reason for which there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from tests.ship.things import CALLGRIND, TASK, Scripted, promote, scripted, snapshot, submitted
from warpsmith.errors import BadInput, ProfilerFailed
from warpsmith.model.base import digest_bytes
from warpsmith.model.campaign import Decided
from warpsmith.model.evaluation import Status, Trust
from warpsmith.model.release import MOST_BYTES, Manifest
from warpsmith.ship.refusals import Reason, exit_status
from warpsmith.store.ledger import read_events
from warpsmith.surface import promotion, sanitizing
from warpsmith.surface.answers import BenchAnswer
from warpsmith.surface.answers_ship import PromoteAnswer
from warpsmith.surface.releasing import promote_candidate
from warpsmith.surface.shelves import shelf
from warpsmith.surface.verifying import run_verify

PLAIN = "void kernel(const float *x, const float *y0, float *y, long n, float a)\n{ for (long i = 0; i < n; i++) y[i] = a * x[i] + y0[i]; }\n"  # noqa: E501


def decisions(space: Scripted) -> list[Decided]:
    return [e for e in read_events(space.ledger(TASK, "main")) if isinstance(e, Decided)]


def test_a_release_is_whole(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    answer = promote(space, notes="why", trade_offs=("needs AVX2",))
    assert answer.released and answer.exit_status == 0 and answer.refusals == ()
    folder = tmp_path / "releases/my/axpy/1.0.0"
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    assert manifest == answer.manifest
    known = space.task(TASK)
    assert (manifest.candidate_id, manifest.baseline_id) == (known.entry.id, known.baseline.id)
    assert manifest.task == known.loaded.digest
    assert manifest.fixtures == {"reference.py": digest_bytes((known.loaded.folder / "reference.py").read_bytes())}
    assert {w.name: round(w.gain.speedup, 1) for w in manifest.workloads} == {"4M": 1.5, "odd": 1.4}
    assert all(w.gain.low and w.gain.pairs == 20 and w.errors and w.calls for w in manifest.workloads)
    assert manifest.build.binary == digest_bytes((folder / "artefact/kernel.so").read_bytes())
    assert [(r.role, r.subject, r.stands_in_for, r.made) for r in manifest.reports] == [
        ("counters", "candidate", "Nsight Compute", "here"),
        ("timeline", "baseline", "Nsight Systems", "here"),
    ]
    assert manifest.sanitizers and manifest.compiler and manifest.target.device and manifest.judge
    assert manifest.notes == "why" and manifest.trade_offs == ("needs AVX2",)
    assert manifest.variants[0].guard.axes == {"N": (1003, 65536)}
    assert manifest.parent is None and manifest.signer == ""
    assert BenchAnswer.model_validate_json((folder / "benchmark.json").read_bytes()).rival == known.baseline.id
    on_disk = snapshot(folder)
    assert {*on_disk} == {*(f.path for f in manifest.files), "manifest.json", "provenance.json"}
    assert sum(map(len, on_disk.values())) < MOST_BYTES
    assert all(not (folder / name).stat().st_mode & 0o222 for name in on_disk)
    assert [d.result for d in decisions(space)] == ["accepted"]
    second = promote(space, "1.1.0")
    assert second.manifest and second.manifest.parent and second.manifest.parent.version == "1.0.0"
    index = json.loads((tmp_path / "releases/index.json").read_text())
    assert [r["version"] for r in index["releases"][TASK]] == ["1.0.0", "1.1.0"]


def test_each_try_asks_for_a_wider_interval(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    widths = []
    for version in ("1", "2", "3"):
        manifest = promote(space, version).manifest
        assert manifest is not None
        widths.append(manifest.gain.confidence)
    assert widths == [0.95, 0.975, 0.9875]


def test_a_workload_without_a_gain_is_a_trade_off(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    space.script.speedups["odd"] = 1.0
    manifest = promote(space).manifest
    assert manifest is not None and re.match(r"no gain was shown on odd: 1\.00", manifest.trade_offs[0])


def test_large_reports_lie_in_the_evidence_store(tmp_path: Path) -> None:
    space = scripted(tmp_path, evidence="kept/elsewhere")
    report = tmp_path / "large.out"
    report.write_text(CALLGRIND + "# " + "x" * (1 << 20) + "\n")
    manifest = promote(space, evidence=(report,)).manifest
    assert manifest is not None
    stored = [f for f in manifest.files if f.stored]
    assert [f.path for f in stored] == ["profiles/counters.callgrind"]
    assert manifest.reports[0].made == "elsewhere"
    assert (tmp_path / "kept/elsewhere" / stored[0].sha256[:2] / stored[0].sha256).read_bytes() == report.read_bytes()
    assert run_verify(space, TASK, retest=False, hashes=True, gain=False).exit_status == 0
    (tmp_path / "kept/elsewhere" / stored[0].sha256[:2] / stored[0].sha256).unlink()
    assert run_verify(space, TASK, retest=False, hashes=True, gain=False).exit_status == 4


Case = Callable[[Scripted, pytest.MonkeyPatch], PromoteAnswer]


def _bad_version(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    return promote(space, "../1.0.0")


def _exists(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    assert promote(space).released
    return promote(space)


def _index_broken(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    assert promote(space, "0.9.0").released
    index = shelf(space).folder / "index.jsonl"
    index.write_bytes(index.read_bytes().replace(b"0.9.0", b"0.8.0"))
    return promote(space)


def _unknown(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    folder = space.root / "elsewhere"
    folder.mkdir()
    (folder / "kernel.c").write_text(PLAIN + "/* unknown */\n")
    (folder / "candidate.toml").write_text('toolchain = "c"\nsources = ["kernel.c"]\nentry = "kernel"\n')
    return promote(space, candidate=str(folder), evidence=_report(space))


def _task_changed(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    page = space.root / "tasks" / TASK / "task.toml"
    page.write_text(page.read_text().replace("weight = 0.25", "weight = 0.5"))
    return promote(space, evidence=_report(space, 2))


def _sources_missing(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    candidate = submitted(space, {"kernel.c": PLAIN})
    space.blobs.path(candidate.sources[0].content).unlink()
    return promote(space, candidate=candidate.id[:12])


def _sources_changed(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    candidate = submitted(space, {"kernel.c": PLAIN})
    space.blobs.path(candidate.sources[0].content).write_text("int other;")
    return promote(space, candidate=candidate.id[:12])


def _wrong(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    space.script.status = Status.wrong_values
    return promote(space)


def _no_correctness(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    space.script.calls = 0
    return promote(space)


def _not_judged(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    space.script.trust = Trust.harness_reported
    return promote(space)


def _findings(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    space.script.sanitizer = "failed"
    return promote(space)


def _no_sanitizer(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    space.script.sanitizer = "unavailable"
    return promote(space)


def _no_such_sanitizer(space: Scripted, patch: pytest.MonkeyPatch) -> PromoteAnswer:
    patch.setattr(sanitizing, "tools_for", lambda task, candidate: ())
    return promote(space)


def _regression(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    space.script.speedups["odd"] = 0.9
    return promote(space)


def _not_faster(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    space.script.speedups = {"4M": 1.0, "odd": 1.0}
    return promote(space)


def _below_gate(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    space.script.speedups = {"4M": 1.015, "odd": 1.015}
    return promote(space)


def _other_artefact(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    space.script.binary = "0" * 64
    return promote(space)


def _no_evidence(space: Scripted, patch: pytest.MonkeyPatch) -> PromoteAnswer:
    def no_profiler(*_: object) -> None:
        raise ProfilerFailed("valgrind was not found on PATH.", "Install valgrind.")

    patch.setattr(promotion, "kept", lambda *_: None)
    patch.setattr(promotion, "take", no_profiler)
    return promote(space)


def _wrong_evidence(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    report = space.root / "other.out"
    report.write_text(CALLGRIND.replace("kernel", "another"))
    return promote(space, evidence=(report,))


def _too_large(space: Scripted, _: pytest.MonkeyPatch) -> PromoteAnswer:
    text = '#include "big.h"\n' + PLAIN
    candidate = submitted(space, {"kernel.c": text, "big.h": "/*" + "x" * MOST_BYTES + "*/\n"})
    return promote(space, candidate=candidate.id[:12])


def _report(space: Scripted, count: int = 1) -> tuple[Path, ...]:
    """Reports from elsewhere, where none is kept."""
    paths = tuple(space.root / f"callgrind.out.{i}" for i in range(count))
    for path in paths:
        path.write_text(CALLGRIND)
    return paths


CASES: dict[str, tuple[Case, int, set[str]]] = {
    "bad version": (_bad_version, 3, {"bad_version"}),
    "exists": (_exists, 3, {"exists"}),
    "index broken": (_index_broken, 3, {"index_broken"}),
    "unknown candidate": (_unknown, 3, {"unknown_candidate"}),
    "task changed": (_task_changed, 3, {"task_changed"}),
    "sources missing": (_sources_missing, 3, {
        "sources_missing", "no_correctness", "no_sanitizer_run", "evidence_missing",
    }),
    "sources changed": (_sources_changed, 3, {
        "sources_missing", "no_correctness", "no_sanitizer_run", "evidence_missing",
    }),
    "wrong": (_wrong, 1, {"wrong", "evidence_missing"}),
    "no correctness": (_no_correctness, 1, {"no_correctness"}),
    "not judged": (_not_judged, 1, {"not_judged"}),
    "sanitizer findings": (_findings, 1, {"sanitizer_findings"}),
    "no sanitizer run": (_no_sanitizer, 1, {"no_sanitizer_run"}),
    "no sanitizer knows it": (_no_such_sanitizer, 1, {"no_sanitizer_run"}),
    "regression": (_regression, 1, {"regression"}),
    "not faster": (_not_faster, 2, {"not_faster", "below_gate"}),
    "below the gate": (_below_gate, 2, {"below_gate"}),
    "other artefact": (_other_artefact, 1, {"other_artefact"}),
    "no evidence": (_no_evidence, 1, {"evidence_missing"}),
    "wrong evidence": (_wrong_evidence, 1, {"evidence_wrong"}),
    "too large": (_too_large, 1, {"too_large"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, status, reasons = CASES[name]
    space = scripted(tmp_path)
    answer = case(space, monkeypatch)
    assert {r.reason for r in answer.refusals} == reasons, answer.refusals
    assert all(r.message and r.remedy for r in answer.refusals)
    assert (answer.exit_status, answer.released, answer.manifest) == (status, False, None)
    there = shelf(space)
    assert not (there.folder / "my/axpy/1.0.0").exists() or name == "exists"
    assert not list(there.folder.glob(".*")), "something was left"


def test_every_reason_has_a_case() -> None:
    covered = set().union(*(reasons for _, _, reasons in CASES.values()))
    assert covered | {"guardrail", "installed_path"} == set(get_args(Reason))  # test_installed.py has the last


def test_a_broken_guardrail_is_refused(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    page = space.root / "tasks" / TASK / "task.toml"
    page.write_text(page.read_text() + '\n[[guardrails]]\nmetric = "time"\nlimit = 0.0\n')
    space.script.speedups["odd"] = 0.98
    answer = promote(space, evidence=_report(space, 2))
    assert "guardrail" in {r.reason for r in answer.refusals}


def test_every_reason_at_once(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    assert promote(space).released
    space.script.speedups = {"4M": 1.01, "odd": 0.9}
    space.script.sanitizer = "failed"
    (space.home / "sanitized").rename(space.home / "forgotten")
    report = tmp_path / "empty.ncu-rep"
    report.touch()
    answer = promote(space, evidence=(report,))
    reasons = {r.reason for r in answer.refusals}
    assert reasons == {"exists", "sanitizer_findings", "regression", "not_faster", "below_gate", "evidence_wrong"}
    assert answer.exit_status == 3 and exit_status([r for r in answer.refusals if r.reason != "exists"]) == 1


def test_what_became_of_it_is_kept(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    for change, result in (
        ({"speedups": {"4M": 1.015, "odd": 1.015}}, "short_circuit"),
        ({"speedups": {"4M": 0.9, "odd": 0.9}}, "rejected"),
        ({"speedups": {"4M": 1.5, "odd": 1.5}, "binary": "0" * 64}, "accepted"),
    ):
        for name, value in change.items():
            setattr(space.script, name, value)
        assert not promote(space).released
        assert decisions(space)[-1].result == result
    assert "not released" in decisions(space)[-1].reason


def test_what_is_not_there_is_bad_input(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    with pytest.raises(BadInput, match="names no candidate"):
        promote(space, candidate="nobody")
    with pytest.raises(BadInput, match="there is no task"):
        space.task("no/such")
    with pytest.raises(BadInput, match="no campaign tagged"):
        promote_candidate(space, space.task(TASK), "1", "entry", "", (), (), "other")


def test_a_rolled_back_index_takes_no_more(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    assert promote(space, "1").released and promote(space, "2").released
    index = tmp_path / "releases/index.jsonl"
    index.write_bytes(index.read_bytes().splitlines(keepends=True)[0])
    answer = promote(space, "3")
    assert {r.reason for r in answer.refusals} == {"index_broken"}
    assert len(index.read_bytes().splitlines()) == 1
