"""What became of each integration, on disk, and who is still to be told: also where the command that knew was killed.

An integration's folder holds, in this order: ``untold.json`` from its begin on (what was tried, and the ledger that is
to know), ``pending.json`` once it is decided, ``integration.json`` once tree and journal are as they stay. A pending
report whose work is closed is the outcome, so whoever comes next renames it; a work that was undone for its command
gets a report that says so. ``untold.json`` goes once the ledger holds the outcome, which is looked up before it is
written.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from warpsmith.app.site import BUILT, Site
from warpsmith.errors import LedgerError
from warpsmith.model.app import Integration
from warpsmith.model.base import Digest, Record
from warpsmith.model.campaign import Decided
from warpsmith.store.files import write_atomic
from warpsmith.store.ledger import Ledger

REPORT, PENDING, UNTOLD = "integration.json", "pending.json", "untold.json"
RESULT = {"kept": "deployed", "rolled_back": "rolled_back", "short_circuit": "short_circuit"}
INTERRUPTED = "interrupted before it was decided"
R = TypeVar("R", bound=Record)


class Untold(Record):
    """An integration that was begun, whose ledger does not know yet how it ended."""

    work: str
    candidate: Digest
    of: str
    ledger: str
    """Empty where no campaign knows the candidate."""


def folder_of(site: Site, work: str) -> Path:
    """Where everything about one integration lies."""
    return site.folder / "evidence" / work


def announce(site: Site, untold: Untold) -> None:
    """Before anything is done: whatever happens, somebody is to be told."""
    write_atomic(folder_of(site, untold.work) / UNTOLD, untold.model_dump_json())


def settle(site: Site, made: Integration, recovered: str = "") -> Integration:
    """The report as it stays, beside its journal."""
    folder = folder_of(site, made.id)
    if recovered:
        made = made.model_copy(update={"notes": (recovered, *made.notes)})
    if made.outcome != "short_circuit":
        write_atomic(folder / "journal.jsonl", site.journal.path.read_bytes())
    write_atomic(folder / REPORT, made.model_dump_json(indent=1))
    (folder / PENDING).unlink(missing_ok=True)
    return made


def interrupted(site: Site, untold: Untold, why: str = INTERRUPTED) -> Integration:
    """The report of an integration that is, or was, undone before it came to its end."""
    return Integration(
        id=untold.work, app=site.app.name, root=str(site.root), candidate=untold.candidate, of=untold.of,
        outcome="rolled_back", reason=why, at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        evidence=str(folder_of(site, untold.work)),
    )  # fmt: skip


def recover(site: Site) -> str:
    """Finish what an interrupted command left, its report included; returns what was done, or nothing."""
    left = site.journal.open_work()
    phases = {e.phase for e in left}
    if "saved" in phases and "kept" not in phases:  # it will be undone, whatever had been about to be decided
        folder = folder_of(site, left[0].work)
        untold, pending = _read(folder / UNTOLD, Untold), _read(folder / PENDING, Integration)
        if untold is not None and (pending is None or pending.outcome != "rolled_back"):
            write_atomic(folder / PENDING, interrupted(site, untold).model_dump_json(indent=1))
    done = site.recover()
    for folder in _folders(site, PENDING):
        made = _read(folder / PENDING, Integration)
        if made is None:
            (folder / PENDING).unlink()
        elif made.outcome == "rolled_back":  # a work is closed only where the tree was proved to be as it was
            made = made.model_copy(update={"proved": True, "rebuilt": (site.folder / BUILT).is_file()})
            write_atomic(folder / PENDING, made.model_dump_json(indent=1))
        if made is not None:
            os.replace(folder / PENDING, folder / REPORT)
    return done


def tell(site: Site) -> tuple[str, ...]:
    """Write every outcome that a ledger does not know yet into it, exactly once; the ledgers that know them now.

    Raises LedgerError where one cannot be written; the others were, and the next command tries again.
    """
    told, troubles = [], []
    still_open = {e.work for e in site.journal.open_work()}
    for folder in _folders(site, UNTOLD):
        if folder.name in still_open:  # its tree could not be put back yet
            continue
        untold, made = _read(folder / UNTOLD, Untold), _read(folder / REPORT, Integration)
        if untold is not None and made is not None and Path(untold.ledger).is_file():
            try:
                _write(Path(untold.ledger), made)
            except LedgerError as error:
                troubles.append(error)
                continue
            told.append(untold.ledger)
        (folder / UNTOLD).unlink()
        if made is None and not any(folder.iterdir()):  # it changed nothing, so there is nothing to be known
            folder.rmdir()
    if troubles:
        raise troubles[0]
    return tuple(told)


def _write(path: Path, made: Integration) -> None:
    event = Decided.model_validate(
        {
            "candidate": made.candidate,
            "decision": "integrate",
            "result": RESULT[made.outcome],
            "reason": f"{made.app}: {made.reason.splitlines()[0]}",
            "at": time.time(),
            "evidence": (made.evidence,),
        }
    )
    with Ledger(path) as ledger:
        known = (e for e in ledger.events() if isinstance(e, Decided) and e.decision == "integrate")
        if not any(Path(one).name == made.id for e in known for one in e.evidence):
            ledger.append(event)


def _folders(site: Site, name: str) -> tuple[Path, ...]:
    """The folders of integrations that hold a file of that name, oldest first."""
    found = sorted((site.folder / "evidence").glob(f"*/{name}"), key=lambda p: p.stat().st_mtime)
    return tuple(path.parent for path in found)


def _read(path: Path, kind: type[R]) -> R | None:
    """The record there; None where there is none, or one that cannot be read."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
