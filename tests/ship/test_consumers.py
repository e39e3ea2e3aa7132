"""What consumers are handed, what they pin, what is stale, what is rejected, and what verify says beyond hashes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ship.things import TASK, Scripted, promote, restore, scripted, shelved, snapshot
from warpsmith.errors import BadInput, BuildFailed
from warpsmith.model.base import digest_bytes
from warpsmith.model.campaign import Campaign, Decided
from warpsmith.model.evaluation import Status
from warpsmith.model.release import entry_of
from warpsmith.model.target import Target
from warpsmith.ship import index, provenance
from warpsmith.ship.handoff import HandOff
from warpsmith.ship.pins import pin, resolve
from warpsmith.ship.staleness import changes
from warpsmith.store.ledger import read_events
from warpsmith.surface import shelves, verifying
from warpsmith.surface.answers_ship import VerifyAnswer
from warpsmith.surface.campaigns import open_campaign
from warpsmith.surface.listing import hand_over, list_releases
from warpsmith.surface.rejecting import reject_candidate
from warpsmith.surface.shelves import shelf
from warpsmith.surface.verifying import run_verify
from warpsmith.surface.workspace import Known
from warpsmith.toolchains.c import C


def verify(space: Scripted, release: str = TASK, **more: bool) -> tuple[VerifyAnswer, dict[str, tuple[str, str]]]:
    answer = run_verify(space, release, retest=more.get("retest", False), hashes=False, gain=more.get("gain", True))
    return answer, {c.name: (c.result, c.detail) for r in answer.releases for c in r.checks}


def test_each_consumer_is_handed_what_it_needs(tmp_path: Path) -> None:
    space, there = shelved(tmp_path)
    told: list[HandOff] = []
    roles = {}
    for consumer in ("decision", "verification", "runtime"):
        answer = hand_over(space, f"{TASK}@1.1.0", consumer, tmp_path / "out", (told.append,))  # type: ignore[arg-type]
        said = HandOff.model_validate_json(Path(answer.written).read_bytes())
        assert said == answer.handed == told[-1]
        assert said.manifest == "my/axpy/1.1.0/manifest.json" and said.parent == "1.0.0"
        assert said.manifest_sha256 == digest_bytes((there.folder / said.manifest).read_bytes())
        assert set(said.ratios) == {"4M", "odd"} and said.gain.low
        roles[consumer] = {f.role for f in said.files}
    assert roles == {
        "decision": set(),
        "verification": {"benchmark", "profile", "report", "source", "task"},
        "runtime": {"artefact"},
    }


def test_a_pin_resolves_to_the_artefact_that_was_pinned(tmp_path: Path) -> None:
    _, there = shelved(tmp_path)
    wanted = pin(there.folder, f"{TASK}@1.1.0")
    assert pin(there.folder, TASK).version == "2.0.0"
    found = resolve(there.folder, wanted)
    assert Path(found.artefact) == there.folder / "my/axpy/1.1.0/artefact/kernel.so"
    assert resolve(there.folder, wanted, found.variant.guard.architecture) == found
    with pytest.raises(BadInput, match="no measured variant for sm_90"):
        resolve(there.folder, wanted, "sm_90")
    with pytest.raises(BadInput, match="not the release that was pinned"):
        resolve(there.folder, wanted.model_copy(update={"manifest": "0" * 64}))
    Path(found.artefact).chmod(0o644)
    Path(found.artefact).write_bytes(b"other")
    with pytest.raises(BadInput, match="was changed"):
        resolve(there.folder, wanted)
    Path(found.artefact).unlink()
    with pytest.raises(BadInput, match="No such file"):
        resolve(there.folder, wanted)


def test_a_compiled_variant_that_was_never_measured_is_not_resolved(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    manifest = promote(space).manifest
    assert manifest is not None
    other = manifest.variants[0].model_copy(
        update={
            "proof": "compiled, not measured",
            "guard": manifest.variants[0].guard.model_copy(update={"architecture": "sm_100a"}),
        }
    )
    two = manifest.model_copy(update={"version": "2", "variants": (*manifest.variants, other)})
    folder = shelf(space).place(TASK, "1.0.0")
    contents = {f.path: (folder / f.path).read_bytes() for f in manifest.files}
    shelf(space).publish(two, contents, lambda m, raw: provenance.envelope(m, raw, None))
    wanted = pin(shelf(space).folder, f"{TASK}@2")
    assert resolve(shelf(space).folder, wanted).variant.proof == "measured"
    with pytest.raises(BadInput, match=r"sm_100a \(compiled, not measured\)"):
        resolve(shelf(space).folder, wanted, "sm_100a")


def test_what_changed_since_makes_it_stale(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    manifest = promote(space).manifest
    assert manifest is not None
    here = manifest.target
    same: dict[str, Any] = {
        "here": here, "task": manifest.task, "baseline": manifest.baseline_id, "judge": manifest.judge,
    }  # fmt: skip
    assert changes(manifest, **same) == ()
    for change, said in (
        ({"here": here.model_copy(update={"driver": "999"})}, "driver changed"),
        ({"here": here.model_copy(update={"toolkit": "CUDA 99"})}, "toolkit changed"),
        ({"here": here.model_copy(update={"libraries": {"numpy": "9"}})}, "numpy changed"),
        ({"task": "0" * 64}, "the task changed"),
        ({"task": None}, "no such task"),
        ({"baseline": "0" * 64}, "the baseline changed"),
        ({"judge": "99"}, "the judge changed"),
    ):
        found = changes(manifest, **{**same, **change})
        assert len(found) == 1 and said in found[0]
    other = here.model_copy(update={"device": "another", "driver": "999"})
    assert changes(manifest, **{**same, "here": other}) == (), "software of other hardware says nothing"


def test_releases_marks_what_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, _ = shelved(tmp_path)
    assert [r.stale for r in list_releases(space, "").releases] == [(), (), ()]
    assert list_releases(space, "other/task").releases == ()
    baseline = tmp_path / "tasks" / TASK / "baseline/kernel.c"
    baseline.write_text(baseline.read_text() + "/* changed */\n")
    assert [r.stale for r in list_releases(space, "").releases] == [("the baseline changed",)] * 3
    now = shelves.here("cpu")
    assert now is not None
    monkeypatch.setattr(shelves, "here", lambda _: now.model_copy(update={"driver": "Linux 99"}))
    assert any("driver changed" in why for why in list_releases(space, "").releases[0].stale)


@pytest.mark.slow
def test_stale_releases_are_tested_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, _ = shelved(tmp_path)
    assert verify(space, "", retest=True)[0].releases == (), "none is stale"
    now = shelves.here("cpu")
    assert now is not None
    changed = now.model_copy(update={"driver": "Linux 99"})
    monkeypatch.setattr(shelves, "here", lambda _: changed)
    monkeypatch.setattr(verifying, "here", lambda _: changed)
    monkeypatch.setattr(verifying, "open_campaign", _campaign)
    result, detail = verify(space)[1]["gain"]
    assert (result, "software changed since: driver changed" in detail) == ("skipped", True)
    answer, checks = verify(space, "", retest=True)
    assert len(answer.releases) == 3 and checks["gain"][0] == "passed" and answer.exit_status == 0


def _campaign(space: Scripted, known: Known, _: Target, *rest: Any) -> Campaign:
    return open_campaign(space, known, space.target(known), *rest)


def test_verify_goes_all_the_way(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    assert promote(space).released
    answer, checks = verify(space)
    assert answer.exit_status == 0
    assert [n for n, (result, _) in checks.items() if result != "passed"] == []
    assert list(checks)[-4:] == ["task", "rebuild", "correctness", "gain"]
    assert verify(space, gain=False)[1]["gain"][0] == "skipped"


@pytest.mark.parametrize(
    ("speedups", "result", "status"),
    [
        ({"4M": 0.9, "odd": 0.9}, "failed", 1),
        ({"4M": 1.0, "odd": 1.0}, "failed", 1),
        ({"4M": 1.5, "odd": 0.9}, "failed", 1),
        ({"4M": 1.015, "odd": 1.015}, "failed", 1),
        ({"4M": 1.2, "odd": 1.2}, "unclear", 2),
        ({"4M": 1.6, "odd": 1.5}, "passed", 0),
    ],
)
def test_a_gain_that_is_gone(speedups: dict[str, float], result: str, status: int, tmp_path: Path) -> None:
    space = scripted(tmp_path)
    assert promote(space).released
    space.script.speedups = speedups
    answer, checks = verify(space)
    assert (checks["gain"][0], answer.exit_status) == (result, status), checks["gain"]


def test_wrong_is_wrong(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    assert promote(space).released
    space.script.status = Status.wrong_values
    answer, checks = verify(space)
    assert (checks["correctness"][0], answer.exit_status, "gain" in checks) == ("failed", 1, False)


def test_a_machine_without_the_device_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = scripted(tmp_path)
    assert promote(space).released
    monkeypatch.setattr(verifying, "here", lambda _: None)
    answer, checks = verify(space)
    assert (checks["correctness"][0], answer.exit_status) == ("lacking", 4)


def test_other_hardware_times_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = scripted(tmp_path)
    assert promote(space).released
    now = shelves.here("cpu")
    assert now is not None
    monkeypatch.setattr(verifying, "here", lambda _: now.model_copy(update={"device": "another"}))
    answer, checks = verify(space)
    assert checks["gain"][0] == "skipped" and "another" in checks["gain"][1] and answer.exit_status == 0


def test_nothing_of_a_changed_release_is_run(tmp_path: Path) -> None:
    space = scripted(tmp_path)
    assert promote(space).released
    source = tmp_path / "releases/my/axpy/1.0.0/candidate/kernel.c"
    source.chmod(0o644)
    source.write_text("#error")
    space.script.measured = 0
    answer, checks = verify(space)
    assert answer.exit_status == 1 and "rebuild" not in checks and space.script.measured == 0


def test_a_rebuild_that_differs_is_explained_or_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release whose artefact is another build, forged so that every hash agrees."""
    space = scripted(tmp_path)
    assert promote(space).released
    _forge_artefact(space)
    result, detail = verify(space)[1]["rebuild"]
    assert (result, "no reason" in detail) == ("failed", True)
    monkeypatch.setattr(C, "version", lambda self: "gcc 99")
    answer, checks = verify(space)
    assert checks["rebuild"][0] == "explained" and "gcc 99" in checks["rebuild"][1]
    assert answer.exit_status == 0

    def broken(*_: object) -> None:
        raise BuildFailed("gcc ended with status 1")

    monkeypatch.setattr(verifying, "build", broken)
    assert verify(space)[1]["rebuild"][0] == "failed"


def _forge_artefact(space: Scripted) -> None:
    there = shelf(space)
    entry = there.entries()[0]
    manifest = there.manifest(entry)
    files = snapshot(there.folder)
    at = "my/axpy/1.0.0/"
    other = b"\x7fELF another"
    digest = digest_bytes(other)
    said = tuple(
        f.model_copy(update={"sha256": digest, "bytes": len(other)}) if f.role == "artefact" else f
        for f in manifest.files
    )
    forged = manifest.model_copy(
        update={"files": said, "build": manifest.build.model_copy(update={"binary": digest, "binary_bytes": 12})}
    )
    raw = forged.model_dump_json(indent=1).encode() + b"\n"
    proof = provenance.envelope(forged, raw, None)
    line = entry_of(forged, digest_bytes(raw), digest_bytes(proof), ())
    files.update(
        {
            at + "artefact/kernel.so": other,
            at + "manifest.json": raw,
            at + "provenance.json": proof,
            "index.jsonl": line.line + b"\n",
            "index.json": index.derived([line]),
        }
    )
    restore(there.folder, files)
    there.witness.unlink()


def test_what_was_rejected_is_kept_and_found(tmp_path: Path) -> None:
    from warpsmith.knowledge.recall import remember

    space = scripted(tmp_path)
    known = space.task(TASK)
    words = ("wider vectors help", "it waits for memory", ("report.json", "1.00x"), "fewer bytes")
    answer = reject_candidate(space, known, "entry", words[0], words[1], words[2], words[3], "main")
    assert answer.exit_status == 0
    event = read_events(space.ledger(TASK, "main"))[-1]
    assert isinstance(event, Decided)
    assert (event.claim, event.reason, event.evidence, event.blocker) == words
    assert event.result == "rejected"
    remember(read_events(space.ledger(TASK, "main")))
    with pytest.raises(BadInput, match="--why is empty"):
        reject_candidate(space, known, "entry", "x", " ", (), "", "main")
    with pytest.raises(BadInput, match="names no candidate"):
        reject_candidate(space, known, "nobody", "x", "y", (), "", "main")


def test_a_damaged_manifest_is_listed_as_such(tmp_path: Path) -> None:
    space, there = shelved(tmp_path)
    path = there.place(TASK, "1.1.0") / "manifest.json"
    path.chmod(0o644)
    path.write_text(json.dumps({}))
    answer = list_releases(space, "")
    assert answer.exit_status == 1
    assert [bool(r.problem) for r in answer.releases] == [False, True, False]
