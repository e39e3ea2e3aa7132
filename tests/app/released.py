"""The application ``c-product`` as a project of its own, with a campaign of its task, and a release of that."""

from __future__ import annotations

import time
from pathlib import Path

from tests.app.products import product
from tests.projects import calibrate
from tests.ship.things import Script, Scripted
from warpsmith.model.campaign import Budget, Opened, Submitted
from warpsmith.store.folders import load_candidate
from warpsmith.store.ledger import Ledger
from warpsmith.surface.campaigns import open_campaign
from warpsmith.surface.releasing import promote_candidate

TASK = "apps/c-product"
SPEC = f"{TASK}@1.0.0"
LEDGER = f".warpsmith/campaigns/{TASK}/main/ledger.jsonl"
"""Below the application's folder."""
COUNTED = """\
# callgrind format
version: 1
creator: callgrind-3.19.0
positions: line
events: Ir Dr Dw
fl=(1) /src/product.c
fn=(1) product
8 10 4 2
"""


def opened(folder: Path) -> Scripted:
    """The application's folder as a project whose campaign measured nothing yet; measurements would be scripted."""
    root = product(folder)
    calibrate(root)
    space = Scripted(root)
    space.script = Script(speedups={"224": 1.5, "96x160x224": 1.5})
    known = space.task(str(root / "task"))
    with Ledger(space.ledger(TASK, "main")) as ledger:
        campaign = open_campaign(space, known, space.target(known), "main", "none", Budget(rounds=0))
        ledger.append(Opened(campaign=campaign, candidates=known.all, at=time.time()))
    return space


def submitted(space: Scripted, text: str) -> Path:
    """A candidate beside the entry, with its settings and another source, which the campaign knows; its folder."""
    entry, made = space.root / "task/src", space.root / "task/submitted"
    made.mkdir()
    (made / "candidate.toml").write_text((entry / "candidate.toml").read_text())
    (made / "product.c").write_text(text)
    with Ledger(space.root / LEDGER) as ledger:
        ledger.append(Submitted(candidate=load_candidate(made, space.blobs), at=time.time()))
    return made


def released(folder: Path) -> Path:
    """The application's folder with a release whose numbers are scripted; the artefact is built."""
    space = opened(folder)
    reports = [folder / f"{name}.callgrind" for name in ("candidate", "baseline")]
    for report in reports:
        report.write_text(COUNTED)
    known = space.task(str(space.root / "task"))
    answer = promote_candidate(space, known, "1.0.0", "entry", "", (), tuple(reports), "main")
    assert answer.released, answer.refusals
    return space.root
