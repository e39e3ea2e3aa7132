"""The knowledge verbs on the command line: a campaign, its export, a real git clone, and a wiki, as people use them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaign.driver import ScriptedWorkspace
from tests.knowledge.things import ledger_folder, run
from tests.projects import project
from tests.surface.test_session import PROGRAM
from warpsmith.knowledge.skill import rule_ids
from warpsmith.model.campaign import Budget
from warpsmith.surface.campaigns import run_campaign
from warpsmith.surface.submission import submit_candidate


def knowledge(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(PROGRAM), "knowledge", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def answer(folder: Path, *words: str) -> dict:
    return json.loads(knowledge(folder, *words, "--json").stdout)


def git(folder: Path, *words: str) -> None:
    told = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main", *words]
    subprocess.run(told, cwd=folder, check=True, capture_output=True)


@pytest.mark.slow  # a real campaign: half a minute of processes
def test_a_campaign_is_remembered_by_a_clone(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    project(here)
    space = ScriptedWorkspace(here, {"batch": 2, "seed": 5})
    known = space.task("my/axpy")
    run_campaign(space, known, "main", Budget(rounds=1))
    memo = "[vectorise] wider vectors, as no_tma_or_vector_loads says"
    submit_candidate(space, known, (), memo, ("VEC=16", "UNROLL=2"), "main", "a test")

    overview = answer(here)
    assert overview["exit_status"] == 0 and overview["problems"] == []
    tried = sum(overview["tasks"]["my/axpy"].values())
    assert overview["own"] == tried >= 4
    exported = knowledge(here, "export")
    assert exported.returncode == 0 and "wrote" in exported.stdout
    (here / ".gitignore").write_text(".warpsmith/\n")
    git(here, "init", "-q")
    git(here, "add", ".")
    git(here, "commit", "-qm", "knowledge")
    git(tmp_path, "clone", "-q", str(here), str(there))

    assert not (there / ".warpsmith").exists()
    cloned = answer(there)
    assert cloned["tasks"] == overview["tasks"] and cloned["patterns"] == overview["patterns"] and cloned["own"] == 0
    found = answer(there, "search", "wider", "vectors", "--kind", "memory")
    assert [h["title"] for h in found["found"]["hits"]] == [f"accepted on my/axpy: {memo}"]
    imported = answer(there, "import", "knowledge")["imported"]
    assert (imported["attempts"], imported["new_attempts"]) == (tried, 0)
    assert answer(there)["tasks"] == overview["tasks"]
    page = here / "knowledge/memory/my/axpy.md"
    again = knowledge(there, "export")
    assert again.returncode == 0 and "wrote" not in again.stdout
    assert (there / "knowledge/memory/my/axpy.md").read_bytes() == page.read_bytes()
    shown = knowledge(there, "show", "my/axpy")
    assert memo in shown.stdout


@pytest.mark.slow
def test_a_wiki_is_imported_searched_and_updated(tmp_path: Path) -> None:
    wiki = tmp_path / "notes"
    wiki.mkdir()
    (wiki / "a.md").write_text("---\nconfidence: verified\n---\n# Zebra stripes\n\nSwizzle zebra tiles, [b](b.md).\n")
    (wiki / "bad.md").write_bytes(b"\0")
    done = knowledge(tmp_path, "import", "notes")
    assert done.returncode == 1
    assert "added: a.md" in done.stdout and "refused: bad.md: binary" in done.stdout
    assert "warning: a.md: a link to b.md, which is not there" in done.stdout
    (wiki / "bad.md").unlink()
    assert knowledge(tmp_path, "import", "notes").returncode == 0
    found = knowledge(tmp_path, "search", "zebras")
    assert found.returncode == 0 and "wiki/notes/a.md" in found.stdout and "verified" in found.stdout
    assert "Swizzle zebra tiles" in knowledge(tmp_path, "show", "wiki/notes/a.md").stdout
    assert answer(tmp_path)["wikis"] == [
        {"name": "notes", "source": str(wiki.resolve()), "pages": {"verified": 1}},
    ]
    text = knowledge(tmp_path).stdout
    assert "wiki notes: 1 verified" in text and f"{len(rule_ids())} skills" in text


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("search", "bank", "conflicts"), 0, "smem_bank_conflicts"),
        (("search", "bank AND (conflicts"), 0, "smem_bank_conflicts"),
        (("search", "bank", "zebra"), 0, "nothing holds all of these words"),
        (("search", "zebra"), 2, "nothing is known of 'zebra'"),
        (("search",), 3, "no word to search for"),
        (("search", '"*"'), 3, "no word to search for"),
        (("search", "bank", "--kind", "x"), 3, "--kind: 'x' is not known"),
        (("search", "bank", "--limit", "0"), 3, "--limit: 0"),
        (("show", "wgmma"), 0, "asynchronous matrix instructions"),
        (("show", "nobody"), 3, "names nothing that is known"),
        (("import", "nowhere"), 3, "no such file or folder"),
        (("import",), 3, "path"),
        (("export",), 2, "0 attempts"),
        ((), 0, f"{len(rule_ids())} skills"),
        (("frobnicate",), 3, "frobnicate"),
    ],
)
def test_statuses_and_words(words: tuple[str, ...], status: int, said: str, tmp_path: Path) -> None:
    done = knowledge(tmp_path, *words)
    assert done.returncode == status, done.stdout + done.stderr
    assert said.lower() in (done.stdout + done.stderr).lower()


@pytest.mark.slow
def test_damage_is_shown_and_is_a_no(tmp_path: Path) -> None:
    run(ledger_folder(tmp_path))
    assert knowledge(tmp_path, "export").returncode == 0
    page = tmp_path / "knowledge/memory/fake/kernel.md"
    page.write_text(page.read_text()[:-6])
    done = knowledge(tmp_path)
    assert done.returncode == 1 and "no whole record" in done.stdout
    assert knowledge(tmp_path, "export").returncode == 1
    (tmp_path / "elsewhere").write_text("")
    refused = knowledge(tmp_path, "export", "--output", "elsewhere")
    assert refused.returncode == 3 and "elsewhere" in refused.stderr


def test_the_answer_is_the_same_where_the_cache_cannot_be_kept(tmp_path: Path) -> None:
    wanted = answer(tmp_path, "search", "coalescing")
    shutil.rmtree(tmp_path / ".warpsmith")
    (tmp_path / ".warpsmith").mkdir()
    (tmp_path / ".warpsmith/knowledge").write_text("in the way")
    found = answer(tmp_path, "search", "coalescing")
    assert found["found"]["hits"] == wanted["found"]["hits"]
    assert "could not be kept" in found["found"]["notes"][0]


def test_knowing_imports_nothing_heavy(tmp_path: Path) -> None:
    told = (
        "import sys; from warpsmith.surface.cli import run; run(['knowledge', 'search', 'bank']);"
        "print([m for m in ('torch', 'optuna', 'anthropic', 'openai', 'scipy') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr.strip() == "[]"
