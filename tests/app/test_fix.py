"""``integrate --fix``: a model mends what holds alone and not in the application, through a server that is scripted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.app.products import binary, tree
from tests.app.released import LEDGER, opened, submitted
from tests.propose.server import KEY, Received, Server
from tests.propose.speaking import Scripted
from warpsmith.model.app import FIXES
from warpsmith.model.campaign import Consulted, Decided
from warpsmith.store.ledger import read_events
from warpsmith.surface import cli

INLINE = "__attribute__((always_inline)) void some_rows"
BREAKS = INLINE.replace("always_inline", 'always_inline, target("sse3")')
"""The judge's compiler is told to use what the processor has; the application's is not, and refuses to inline this."""
Ask = Callable[..., tuple[int, dict[str, Any]]]


def section(asked: Received) -> str:
    """What was to be mended, as it stands in the prompt."""
    return asked.last.partition("The section, in src/product.c:\n\n```\n")[2].partition("```")[0]


def answers(*changes: tuple[str, str]) -> Callable[[Received], Scripted]:
    """Replies one after another, each with one change of the section; the last one for ever, numbered."""
    count = 0

    def answer(asked: Received) -> Scripted:
        nonlocal count
        old, new = changes[min(count, len(changes) - 1)]
        count += 1
        assert old in section(asked)
        text = section(asked).replace(old, new) + f"/* try {count} */\n"
        return Scripted(text=f"What fails is the build.\n```c\n{text}```\n")

    return answer


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The application with a candidate in ``task/submitted`` that its build refuses."""
    space = opened(tmp_path)
    entry = (space.root / "task/src/product.c").read_text()
    assert INLINE in entry
    submitted(space, entry.replace(INLINE, BREAKS))
    monkeypatch.chdir(space.root)
    monkeypatch.setenv("TEST_KEY", KEY)
    return space.root


def integrated(
    root: Path, capfd: pytest.CaptureFixture[str], server: Server, *more: str
) -> tuple[int, dict[str, Any], list[Consulted]]:
    (root / "warpsmith.toml").write_text(f'models_fix = "{server.anthropic()}"\n')
    capfd.readouterr()
    status = cli.run(["integrate", "task/submitted", "--app", "app.toml", "--fix", "--json", *more])
    answer = json.loads(capfd.readouterr().out)
    return status, answer, [e for e in read_events(root / LEDGER) if isinstance(e, Consulted)]


def own(root: Path) -> dict[str, tuple[str, int]]:
    """The application's tree, without what the project keeps."""
    kept = (".warpsmith/", "warpsmith.toml")
    return {name: said for name, said in tree(root).items() if not name.startswith(kept)}


@pytest.mark.slow
def test_what_the_second_reply_mends_is_kept(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = own(root)
    with Server(answer=answers(('target("sse3")', 'target("ssse3")'), (', target("ssse3")', ""))) as server:
        status, answer, consulted = integrated(root, capfd, server)
    made = answer["integration"]
    assert status == 0 and made["outcome"] == "kept", made["reason"]
    assert [(m["kind"], m["answered"]) for m in made["mended"]] == [("compile", True), ("compile", True)]
    assert "target specific option mismatch" in server.requests[0].last
    assert 'target("ssse3")' in section(server.requests[1]), "the second is asked of what the first gave"
    text = (root / "src/product.c").read_text()
    assert "/* try 2 */" in text and "sse3" not in text
    assert {n for n, said in own(root).items() if before.get(n) != said} == {"src/product.c"}
    assert [c.about for c in consulted] == ["integrate: compile"] * 2
    assert all(ask.cost for event in consulted for ask in event.asks), "and paid for, in the ledger"
    decided = [e for e in read_events(root / LEDGER) if isinstance(e, Decided)]
    assert [(d.decision, d.result) for d in decided] == [("integrate", "deployed")]


@pytest.mark.slow
def test_what_nobody_mends_is_rolled_back_after_so_many_replies(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = own(root)
    with Server(answer=answers(("some_rows", "some_rows"))) as server:
        status, answer, consulted = integrated(root, capfd, server)
    made = answer["integration"]
    assert status == 1 and made["outcome"] == "rolled_back" and made["proved"] and made["rebuilt"]
    assert f"after {FIXES} fixes" in made["reason"]
    assert len(server.requests) == len(consulted) == len(made["mended"]) == FIXES
    assert own(root) == before
    assert binary(root)
    decided = [e for e in read_events(root / LEDGER) if isinstance(e, Decided)]
    assert [(d.decision, d.result) for d in decided] == [("integrate", "rolled_back")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "asked", "script"),
    [
        (("--budget", "calls=2"), 2, None),
        ((), 1, Scripted(text="I would rather not.")),
        ((), 1, Scripted(status=401, message="no such key")),
    ],
    ids=["spent", "no section", "refused"],
)
def test_where_no_section_comes_the_tree_goes_back(
    root: Path, capfd: pytest.CaptureFixture[str], more: tuple[str, ...], asked: int, script: Scripted | None
) -> None:
    before = own(root)
    answer = (lambda received: script) if script else answers(("some_rows", "some_rows"))
    with Server(answer=answer) as server:
        status, said, _ = integrated(root, capfd, server, *more)
    made = said["integration"]
    assert status == 1 and made["outcome"] == "rolled_back" and made["proved"], made
    assert len(server.requests) == asked and not made["mended"][-1]["answered"]
    assert own(root) == before


def test_a_candidate_of_no_campaign_is_not_mended(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (root / LEDGER).unlink()
    before = own(root)
    with Server() as server:
        status, answer, _ = integrated(root, capfd, server)
    assert status == 3 and "no campaign knows the candidate" in answer["error"]
    assert own(root) == before and not server.requests
