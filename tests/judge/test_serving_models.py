"""A real transformers model end to end: a kernel of the workspace replaces its RMSNorm, rightly and wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.judge.served import BASELINE, TASK, judged
from tests.judge.test_serving import left_behind
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.evaluation import Effort, Status
from warpsmith.model.harness import Parity, Server
from warpsmith.store.blobs import Blobs

OPTIONS = {"hidden": 64, "heads": 4, "kv_heads": 2, "layers": 2, "device": "cpu", "threads": 1, "install": "swap:norms"}
MODEL = TASK.model_copy(
    update={
        "workspace": "workspace",
        "mutable": ("ops/*",),
        "server": Server(backend="transformers", options=OPTIONS, ready_s=300, drain_s=5),
        "parity": Parity(mode="logprobs", prompts=4, prompt_tokens=12, output_tokens=8, tolerance=1e-3),
        "timeout_s": 120,
    }
)
SWAP = """
from ops.norm import rmsnorm


def norms(model):
    for layer in model.modules():
        if type(layer).__name__.endswith("RMSNorm"):
            layer.forward = lambda x, of=layer: rmsnorm(x, of.weight, of.variance_epsilon)
"""
PLAIN = """
import torch


def rmsnorm(x, weight, epsilon):
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon))
"""
FUSED = """
import torch


def rmsnorm(x, weight, epsilon):
    return torch.nn.functional.rms_norm(x, weight.shape, weight, epsilon)
"""
WRONG = PLAIN.replace(".mean(", ".sum(")


def workspace(folder: Path) -> Blobs:
    (folder / "workspace/ops").mkdir(parents=True)
    (folder / "workspace/swap.py").write_text(SWAP)
    (folder / "workspace/ops/norm.py").write_text(PLAIN)
    return Blobs(folder / "blobs")


def norm(blobs: Blobs, text: str) -> Candidate:
    source = SourceFile(path="ops/norm.py", content=blobs.put(text.encode()))
    return BASELINE.model_copy(update={"sources": (source,)})


@pytest.mark.slow
def test_another_kernel_of_the_same_norm_is_at_par_and_measured(tmp_path: Path) -> None:
    blobs = workspace(tmp_path)
    found = judged(tmp_path, MODEL, norm(blobs, FUSED), blobs=blobs)
    assert found.passed, found.detail
    (suite,) = found.workloads
    tokens = suite.metric("batch.tok_s")
    assert tokens is not None and len(tokens.candidate) == len(tokens.rival) == 3
    (said,) = (c for c in found.conditions if c.startswith("parity: "))
    assert "token ids" in said and "nats off" in said
    assert not left_behind(tmp_path)


@pytest.mark.slow
def test_a_wrong_kernel_is_told_by_prompt_and_position(tmp_path: Path) -> None:
    blobs = workspace(tmp_path)
    found = judged(tmp_path, MODEL, norm(blobs, WRONG), effort=Effort.check, blobs=blobs)
    assert found.status is Status.wrong_values
    assert "parity, asked alone: " in found.detail and "prompt 1: " in found.detail
    assert not left_behind(tmp_path)
