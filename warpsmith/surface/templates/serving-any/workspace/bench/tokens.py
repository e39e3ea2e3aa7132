"""The model's tokens with and without the workspace's operations, and how far their log-probabilities are apart."""

import os
from contextlib import contextmanager

from backend import hooks
from bench import harness
from bench.ops import Row
from ops import Absent, Unusable, choice


def compare(wanted: str, count: int = 8, length: int = 24, tokens: int = 16) -> list[Row]:
    """Each operation switched to ``wanted``, beside the model as it is; equal is what task.toml takes for equal."""
    rows = []
    switches = {op: said["switch"] for op, said in choice.manifest().items()}
    with _switched(dict.fromkeys(switches.values(), "off")), harness.loaded() as backend:
        asked = harness.prompts(backend, count, length)
        own = harness.ask(backend, asked, tokens)
    for op, switch in switches.items():
        others = dict.fromkeys(switches.values(), "off")
        try:
            with _switched(others | {switch: wanted}), harness.loaded() as backend:
                ours = harness.ask(backend, asked, tokens)
        except Absent as reason:
            rows.append(Row(op, wanted, "NOT TRIED", str(reason)))
        except (Unusable, RuntimeError) as reason:
            rows.append(Row(op, wanted, "FAILED", str(reason)))
        else:
            rows.append(_row(op, wanted, own, ours) if op in hooks.replaced else _untouched(op, wanted))
    return rows


def _row(op: str, wanted: str, own: list, ours: list) -> Row:
    pairs = [list(zip(a, b, strict=True)) for a, b in zip(own, ours, strict=True)]
    total = sum(map(len, pairs))
    same, worst = 0, 0.0
    for answer in pairs:
        for a, b in answer:
            if a.token != b.token:
                break  # what follows a difference follows from it
            same += 1
            worst = max(worst, abs(a.logprob - b.logprob))
    said = f"{same} of {total} tokens equal, log-probabilities within {worst:.2g} nats; {hooks.replaced[op]}"
    limits = harness.task()["parity"]
    right = same >= limits.get("matched", 1.0) * total and worst <= limits.get("tolerance", 1e-3)
    return Row(op, wanted, "right" if right else "WRONG", f"in the model: {said}")


def _untouched(op: str, wanted: str) -> Row:
    return Row(op, wanted, "NOT TRIED", "it stood in for nothing: the switch is off, or the model has no such module")


@contextmanager
def _switched(variables: dict[str, str]):
    kept = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)
