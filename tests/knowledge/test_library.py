"""The library: ledgers, committed pages and imported ones in one view, and none of them lost to another's damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.fakes import ENTRY
from tests.knowledge.things import GIFT, decided, ledger_folder, library, run
from warpsmith.errors import BadInput
from warpsmith.knowledge.memory import Outcome
from warpsmith.model.campaign import Finished
from warpsmith.model.profile import KernelProfile, Profile
from warpsmith.model.step import Explain
from warpsmith.store.ledger import Ledger


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with one campaign."""
    run(ledger_folder(tmp_path / "here"))
    return tmp_path / "here"


def clone(root: Path, to: Path) -> Path:
    """What git carries: the committed pages, not the ledgers."""
    shutil.copytree(root / "knowledge", to / "knowledge")
    return to


def test_a_clone_remembers_without_being_told(root: Path, tmp_path: Path) -> None:
    done = library(root).export()
    assert [Path(p).relative_to(root).as_posix() for p in done.written] == [
        "knowledge/memory/fake/kernel.md",
        "knowledge/patterns.md",
    ]
    there = library(clone(root, tmp_path / "there"))
    assert there.attempts == library(root).attempts
    assert there.trials == library(root).trials
    assert there.patterns == library(root).patterns
    assert (there.own, library(root).own) == (0, len(there.attempts))
    assert any(h.kind == "memory" for h in there.search("vectorise loads").hits)


def test_export_is_deterministic_and_writes_only_what_changed(root: Path) -> None:
    library(root).export()
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (root / "knowledge").rglob("*.md")}
    again = library(root).export()
    assert again.written == () and len(again.unchanged) == 2
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (root / "knowledge").rglob("*.md")} == before
    shutil.rmtree(root / "knowledge")
    library(root).export()
    assert {p: p.read_bytes() for p in before} == {p: content for p, (content, _) in before.items()}


def test_own_pages_beside_own_ledgers_count_once(root: Path) -> None:
    alone = library(root)
    counted = (len(alone.attempts), len(alone.trials), [p.tried for p in alone.patterns])
    alone.export()
    library(root).import_folder(root / "knowledge")
    both = library(root)
    assert (len(both.attempts), len(both.trials), [p.tried for p in both.patterns]) == counted


def test_a_ledger_that_went_on_goes_over_its_older_pages(root: Path) -> None:
    library(root).export()
    path = ledger_folder(root) / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.append(decided("rolled_back"))
    after = {a.candidate: a for a in library(root).attempts}
    assert after[GIFT.id].outcome is Outcome.rolled_back
    library(root).export()
    path.unlink()
    assert {a.candidate: a for a in library(root).attempts} == after, "pages say what the lost ledger said"


def test_two_machines_add_up(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run(ledger_folder(other))
    ours, theirs = library(root).attempts, library(other).attempts
    library(other).export()
    done = library(root).import_folder(other / "knowledge")
    assert (done.attempts, done.new_attempts) == (len(theirs), len(theirs))
    assert done.new_trials == done.trials > 0
    both = library(root)
    assert len(both.attempts) == len(ours) + len(theirs)
    again = library(root).import_folder(other / "knowledge")
    assert (again.new_attempts, again.new_trials) == (0, 0)
    both.export()
    assert len(library(clone(root, tmp_path / "third")).attempts) == len(both.attempts)


def test_patterns_come_back_without_the_memory_behind_them(root: Path, tmp_path: Path) -> None:
    library(root).export()
    shared = tmp_path / "shared"
    shared.mkdir()
    shutil.copy(root / "knowledge" / "patterns.md", shared)
    stranger = tmp_path / "stranger"
    done = library(stranger).import_folder(shared / "patterns.md")
    assert (done.attempts, done.trials) == (0, len(library(root).trials))
    assert library(stranger).patterns == library(root).patterns
    library(stranger).import_folder(root / "knowledge")
    assert library(stranger).patterns == library(root).patterns, "the attempts behind them add nothing"


def test_a_page_in_conflict_is_named_left_and_loses_nothing(root: Path) -> None:
    library(root).export()
    page = root / "knowledge/memory/fake/kernel.md"
    page.write_text(page.read_text().replace("```json\n", "```json\n<<<<<<< ours\n"))
    before = page.read_text()
    done = library(root).export()
    assert page.read_text() == before
    assert len(done.problems) == 1 and "kernel.md, record line 1: not JSON" in done.problems[0]
    assert done.attempts == len(library(root).attempts) > 0


def test_a_damaged_ledger_is_named_and_the_rest_is_used(root: Path) -> None:
    other = ledger_folder(root, "fake/other")
    (other / "ledger.jsonl").write_text('{"kind": "nonsense"}\n')
    shelf = library(root)
    assert shelf.attempts and any("fake/other" in p for p in shelf.problems)
    assert shelf.search("vectorise").hits
    assert any("fake/other" in p for p in shelf.export().problems)


def test_a_ledger_whose_last_line_is_torn_is_read_up_to_there(root: Path) -> None:
    whole = library(root).attempts
    with (ledger_folder(root) / "ledger.jsonl").open("a") as file:
        file.write('{"kind": "fini')
    assert library(root).attempts == whole and library(root).problems == ()


def test_a_damaged_page_is_refused_on_import_and_the_rest_is_taken(root: Path, tmp_path: Path) -> None:
    library(root).export()
    page = root / "knowledge/memory/fake/kernel.md"
    page.write_text(page.read_text()[:-6])
    there = tmp_path / "there"
    done = library(there).import_folder(root / "knowledge")
    assert [r.path for r in done.refused] == ["memory/fake/kernel.md"]
    assert done.trials > 0 and library(there).patterns


def test_an_imported_page_that_broke_here_stands_in_nobodys_way(root: Path, tmp_path: Path) -> None:
    library(root).export()
    there = tmp_path / "there"
    library(there).import_folder(root / "knowledge")
    kept = there / ".warpsmith/knowledge/memory/fake/kernel.md"
    kept.write_text("---\nwarpsmith: memory\nversion: 1\n---\n")
    done = library(there).import_folder(root / "knowledge")
    assert [r.path for r in done.refused] == [str(kept)]
    assert kept.read_text().endswith("version: 1\n---\n")


def test_exporting_elsewhere_merges_with_what_is_there(root: Path, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    library(root).export(shelf)
    other = tmp_path / "other"
    run(ledger_folder(other))
    done = library(other).export(shelf)
    assert done.attempts == len(library(root).attempts) + len(library(other).attempts)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="file"):
        library(root).export(tmp_path / "file")


def test_what_can_be_shown(root: Path) -> None:
    shelf = library(root)
    assert shelf.show("poor_coalescing").id == "skill/poor_coalescing"
    assert shelf.show("wgmma").kind == "glossary"
    assert shelf.show("fake/kernel").body.startswith("---\nwarpsmith: memory")
    gift = shelf.show(GIFT.id[:10])
    assert gift.kind == "memory" and "[vectorise] 16-byte loads" in gift.body and GIFT.id in gift.body
    assert shelf.show("vectorise@none").kind == "pattern"
    for name, message in (("nobody", "names nothing"), ("", "could be any of"), ("\udcff", "names nothing")):
        with pytest.raises(BadInput, match=message):
            shelf.show(name)


def test_an_empty_project_knows_its_skills(tmp_path: Path) -> None:
    shelf = library(tmp_path)
    assert shelf.attempts == shelf.patterns == shelf.problems == () and shelf.hit_rates == {}
    assert shelf.search("bank conflicts").hits
    assert shelf.export().written == () and not (tmp_path / "knowledge").exists()


@pytest.mark.parametrize(
    ("kinds", "limit", "message"), [(("nonsense",), 1, "--kind: 'nonsense'"), ((), 0, "--limit: 0")]
)
def test_bad_questions(kinds: tuple[str, ...], limit: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message):
        library(tmp_path).search("bank", kinds, limit)


def test_the_index_follows_every_source(root: Path, tmp_path: Path) -> None:
    assert not library(root).search("zebra", ["memory", "wiki"]).hits
    with Ledger(ledger_folder(root) / "ledger.jsonl") as ledger:
        ledger.append(decided("deployed", reason="runs in the zebra server"))
    assert library(root).search("zebra", ["memory"]).hits
    (tmp_path / "wiki").mkdir()
    (tmp_path / "wiki/a.md").write_text("# Giraffe\n")
    library(root).import_folder(tmp_path / "wiki")
    assert library(root).search("giraffe").hits
    (tmp_path / "wiki/a.md").write_text("# Ostrich\n")
    library(root).import_folder(tmp_path / "wiki")
    assert library(root).search("ostrich").hits and not library(root).search("giraffe").hits


def profiled(identity: str, sectors: float, ipc: float) -> Finished:
    kernel = KernelProfile(
        kernel="k",
        grid=(1, 1, 1),
        block=(32, 1, 1),
        metrics={"sectors_over_ideal": sectors, "ipc": ipc, "duration": 1e-3},
    )
    outcome = Profile(candidate=identity, tool="ncu", kernels=(kernel,))
    return Finished(step=Explain(candidate=identity, round=0), outcome=outcome, seconds=1.0, at=0.0)


def test_hit_rates_are_of_all_that_is_remembered_and_survive_a_clone(root: Path, tmp_path: Path) -> None:
    with Ledger(ledger_folder(root) / "ledger.jsonl") as ledger:
        ledger.append(profiled(ENTRY.id, 4.0, 0.4))
        ledger.append(profiled(GIFT.id, 1.0, 0.2))
    rates = library(root).hit_rates
    assert {key: (r.hits, r.tries) for key, r in rates.items()} == {
        ("poor_coalescing", "scripted"): (1, 1),
        ("low_ipc", "scripted"): (0, 1),
    }
    assert library(root).trust("scripted") == {"poor_coalescing": 1.0, "low_ipc": pytest.approx(0.8)}
    assert library(root).trust("another device") == {}
    library(root).export()
    there = library(clone(root, tmp_path / "there"))
    assert there.hit_rates == rates
    there.import_folder(root / "knowledge")
    assert library(tmp_path / "there").hit_rates == rates, "nothing counts twice"
