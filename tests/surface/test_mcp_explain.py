"""Explain over MCP without a GPU: the official client has a profile in a campaign's ledger explained."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from tests.machines import no_gpu
from tests.surface.test_mcp import call, client
from warpsmith.errors import Missing
from warpsmith.judge import VERSION
from warpsmith.model.campaign import Budget, Campaign, Finished, Opened
from warpsmith.model.profile import KernelProfile, Profile
from warpsmith.model.step import Explain
from warpsmith.model.target import Target
from warpsmith.store.ledger import Ledger
from warpsmith.surface.api import explain
from warpsmith.surface.stamp import stamp
from warpsmith.surface.workspace import Workspace

GOLDEN = Path(__file__).parents[1] / "golden/bottlenecks/matmul_tiled.json"
TASK = "my/axpy"


def profiled(root: Path) -> str:
    """A CUDA task whose campaign, on another machine, profiled the entry; returns the entry's id."""
    stamp(root / "tasks", TASK, "kernel", "cuda")
    space = Workspace(root)
    known = space.task(TASK)
    head, golden = known.loaded.head, json.loads(GOLDEN.read_text())
    target = Target.model_validate(golden["target"])
    campaign = Campaign(
        tag="main", task_name=head.name, task=known.loaded.digest, target=target, judge=VERSION, proposer="sweep",
        budget=Budget(), seed=0, baseline=known.baseline.id, entry=known.entry.id,
        weights={w.name: w.weight for w in head.workloads}, objective=head.objective, min_gain=0.02, noise_floor=0.0,
    )  # fmt: skip
    kernel = KernelProfile.model_validate(golden["profile"])
    found = Profile(candidate=known.entry.id, tool="ncu", target=target.key, kernels=(kernel,))
    with Ledger(space.ledger(TASK, "main")) as ledger:
        ledger.append(Opened(campaign=campaign, candidates=known.all, at=0.0))
        step = Explain(candidate=known.entry.id, round=0)
        ledger.append(Finished(step=step, outcome=found, seconds=1.0, at=0.0))
    return known.entry.id


@pytest.mark.slow
@pytest.mark.skipif(not no_gpu(), reason="this machine would profile anew: what is shown is that it need not")
def test_a_profile_in_the_ledger_is_explained_without_its_device(tmp_path: Path) -> None:
    entry = profiled(tmp_path)

    async def ask() -> None:
        async with client(tmp_path) as connected:
            told = await call(connected, "explain", task=TASK, candidate="entry")
            assert (told["candidate"], told["reused"]) == (entry, True)
            (kernel,) = told["diagnoses"]
            assert kernel["kernel"] == "matmul_tiled" and kernel["findings"]
            assert told["edit"]["edit"] and told["edit"]["check"]["metric"]
            assert told["skills"]

    anyio.run(ask)


@pytest.mark.skipif(not no_gpu(), reason="this machine would profile anew")
def test_what_no_ledger_holds_needs_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiled(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert explain(TASK, "entry").reused
    for candidate, more in (("entry", {"again": True}), ("entry", {"effort": "full"}), ("baseline", {})):
        with pytest.raises(Missing):
            explain(TASK, candidate, **more)  # type: ignore[arg-type]
