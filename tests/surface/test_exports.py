"""``benchmark.csv`` and ``solutions.jsonl`` against the ledger that they are views of, value by value."""

from __future__ import annotations

import csv
import hashlib
import json
import statistics
from pathlib import Path

from tests.projects import project
from tests.surface.histories import BY_HAND, kept, labelled
from warpsmith.analyse.compare import compare
from warpsmith.model.campaign import Benched, Finished
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Evaluation
from warpsmith.store.history import fold
from warpsmith.store.ledger import read_events
from warpsmith.surface.history_export import COLUMNS, export, folded, ledger_digest
from warpsmith.surface.view import view
from warpsmith.surface.workspace import Workspace


def exported(
    folder: Path, by_hand: bool = False
) -> tuple[Workspace, Path, list[dict[str, str]], list[dict[str, object]]]:
    space = project(folder)
    kept(space)
    if by_hand:
        labelled(space)
    path = space.ledger("my/axpy", "main")
    h, digest = folded(lambda: space.history("my/axpy", "main"), path)
    export(h, view(h, None), space.blobs, digest, folder / "out", csv=True, jsonl=True)
    with (folder / "out/benchmark.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (folder / "out/solutions.jsonl").read_text().splitlines()]
    return space, path, rows, lines


def test_both_say_of_every_metric_what_the_ledger_holds(tmp_path: Path) -> None:
    _, path, rows, lines = exported(tmp_path)
    events = read_events(path)
    ledger = [e.outcome for e in events if isinstance(e, Finished) and isinstance(e.outcome, Evaluation)]
    h = fold(events)
    assert h.campaign is not None
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    assert {r["ledger_sha256"] for r in rows} == {line["ledger_sha256"] for line in lines} == {sha}
    assert [r["candidate"] for r in rows] == list(h.candidates) == [Candidate(**line["candidate"]).id for line in lines]

    told = [Evaluation.model_validate(e) for line in lines for e in line["evaluations"]]
    by_pairing = {(e.candidate, e.rival, e.effort): e for e in told}
    assert by_pairing == {(e.candidate, e.rival, e.effort): e for e in ledger}
    assert len(told) == len(ledger)

    columns = {c for c in rows[0] if ":" in c}
    metrics = {"batch16.tok_s", "single.ttft_p99", "single.tok_s"}
    assert columns == {f"suite/{m}:{side}" for m in metrics for side in ("candidate", "rival")}
    assert set(rows[0]) == {*COLUMNS, *columns}
    broke = 0
    for row in rows:
        (shown,) = [
            e for e in ledger
            if (e.candidate, e.rival, e.effort.value) == (row["candidate"], row["rival"], row["effort"])
        ]  # fmt: skip
        for metric in shown.workloads[0].metrics:
            for side in ("candidate", "rival"):
                assert float(row[f"suite/{metric.name}:{side}"]) == statistics.median(getattr(metric, side))
            assert json.loads(row["units"])[f"suite/{metric.name}"] == metric.unit
        answer = compare(shown, h.campaign)
        assert answer is not None
        assert row["broken"].split() == list(answer.broken)
        broke += bool(answer.broken)
        assert float(row["speedup"]) == answer.overall.speedup
        assert json.loads(row["objective"]) == h.campaign.objective.model_dump(mode="json")
        assert json.loads(row["guardrails"]) == [g.model_dump(mode="json") for g in h.campaign.guardrails]
        assert row["trust"] == "harness_reported"
    assert 0 < broke < len(rows), "some break the guardrail, and some do not"
    assert lines[0]["objective"] == json.loads(rows[0]["objective"])
    assert lines[0]["guardrails"] == json.loads(rows[0]["guardrails"])


def test_labelled_evaluations_are_in_both_and_told_apart(tmp_path: Path) -> None:
    """Row by row against the events of the ledger; what a campaign measured is as it is without them."""
    _, path, rows, lines = exported(tmp_path, by_hand=True)
    events = [e for e in read_events(path) if isinstance(e, Benched)]
    c = fold(read_events(path)).campaign
    assert c is not None
    by_hand, written = ([x for x in some if x["kind"] == "labelled"] for some in (rows, lines))
    ledger = [(event, e) for event in events for e in event.evaluations]
    assert len(ledger) == len(by_hand) == len(written) == 3
    times = {"latest": "1970-01-01T00:00:01Z", "second": "1970-01-02T00:00:00Z"}
    for (event, e), row, line in zip(ledger, by_hand, written, strict=True):
        told = {"notes": event.notes, "report": event.name, "at": times[event.name], "tag": "main", "task": "my/axpy"}
        assert told.items() <= row.items() and told.items() <= line.items()
        assert [Evaluation.model_validate(x) for x in line["evaluations"]] == [e]
        assert Candidate(**line["candidate"]).id == row["candidate"] == e.candidate
        assert (row["rival"], row["status"], row["why"]) == (e.rival, e.status.value, e.detail)
        answer = compare(e, c)
        shown = [row[x] for x in ("verdict", "speedup", "low", "high", "pairs")]
        if answer is None:
            assert shown == [""] * 5
        else:
            low, high = answer.overall.interval
            assert shown[0] == answer.verdict.value
            assert [float(x) for x in shown[1:]] == [answer.overall.speedup, low, high, answer.overall.pairs]
            assert row["broken"].split() == list(answer.broken)
        medians = {
            f"{w.workload}/{m.name}:{side}": statistics.median(getattr(m, side))
            for w in e.workloads for m in w.metrics for side in ("candidate", "rival")
        }  # fmt: skip
        assert {x: float(v) for x, v in row.items() if ":" in x and v} == medians
        assert (row["leader"], row["speedup_over_baseline"], row["origin"]) == ("False", "", "labelled")
    assert [bool(r["broken"]) for r in by_hand] == [False, False, True]
    assert [r["memo"] for r in by_hand] == ["", BY_HAND.memo, BY_HAND.memo]
    assert [line["sources"] for line in written] == [{"k.c": "entry"}, {"k.c": "by hand"}, {"k.c": "by hand"}]
    assert BY_HAND.id not in {r["candidate"] for r in rows if r["kind"] == "campaign"}

    other = tmp_path / "without"
    other.mkdir()
    _, _, plain, alone = exported(other)
    changed = {"ledger_sha256": ""}
    for some, without in ((rows, plain), (lines, alone)):
        of_campaign = [{**x, **changed} for x in some if x["kind"] == "campaign"]
        assert of_campaign == [{**x, **changed} for x in without]
    assert {x[n] for x in plain for n in ("notes", "report", "at")} == {""}


def test_the_hash_is_that_of_the_lines_that_were_folded(tmp_path: Path) -> None:
    """Also where a campaign writes on between reading and hashing."""
    space = project(tmp_path)
    kept(space)
    path = space.ledger("my/axpy", "main")
    whole = path.read_bytes()
    cut = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    path.write_bytes(whole[:cut])
    reads = []

    def read() -> object:
        reads.append(ledger_digest(path))
        found = space.history("my/axpy", "main")
        path.write_bytes(whole)  # the campaign's next line
        return found

    h, digest = folded(read, path)  # type: ignore[arg-type]
    assert len(reads) == 2
    assert digest == reads[-1] == hashlib.sha256(whole).hexdigest()
    assert h == space.history("my/axpy", "main")
