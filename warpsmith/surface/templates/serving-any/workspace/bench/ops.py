"""Every implementation of every operation beside float64, on the widths and types that models use."""

from dataclasses import dataclass

import torch

from ops import Absent, Unusable, choice

WIDTHS = (64, 128, 1001, 4096, 5120)
ROWS = (1, 3, 257)
EPS = 1e-5
LIMITS = {torch.float32: 1e-6, torch.float16: 5e-4, torch.bfloat16: 4e-3}
"""Largest root mean square of the difference, relative to that of the right answer."""


@dataclass(frozen=True)
class Row:
    """What was found of one implementation."""

    op: str
    name: str
    state: str
    """``right``, ``WRONG``, ``NOT TRIED`` (something it needs is not here), or ``FAILED``."""
    detail: str


def compare(only: list[str]) -> list[Row]:
    """Each implementation that ``only`` names, or all."""
    rows = []
    for op, said in choice.manifest().items():
        for name in said["implementations"]:
            if not only or name in only:
                rows.append(_one(op, name))
    return rows


def _one(op: str, name: str) -> Row:
    try:
        chosen = choice.choose(op, name)
    except Absent as reason:
        return Row(op, name, "NOT TRIED", str(reason))
    except Unusable as reason:
        return Row(op, name, "FAILED", str(reason))
    device = chosen.guard.get("device", "cuda" if torch.cuda.is_available() else "cpu")
    tried, worst, wrong = 0, 0.0, ""
    for x, weight in _inputs(device):
        if choice.outside(chosen.guard, x, weight):
            continue
        tried += 1
        off = _off(chosen.function(x, weight, EPS), x, weight) / LIMITS[x.dtype]
        if not off <= worst:
            worst = off
        if not off <= 1:
            wrong = wrong or f"{tuple(x.shape)} {x.dtype}: {off:.3g} times the limit"
    if not tried:
        return Row(op, name, "FAILED", "its guard let none of the inputs through")
    return Row(
        op, name, "WRONG" if wrong else "right", wrong or f"{chosen.how}; {tried} inputs, {worst:.2f} of the limit"
    )


def _inputs(device: str):
    draw = torch.Generator().manual_seed(0)
    for dtype in LIMITS:
        for width in WIDTHS:
            weight = (1 + 0.1 * torch.randn(width, generator=draw)).to(device, dtype)
            for rows in ROWS:
                yield (3 * torch.randn(rows, width, generator=draw)).to(device, dtype), weight


def _off(y: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> float:
    wide = x.double()
    right = weight.double() * wide / torch.sqrt(wide.square().mean(-1, keepdim=True) + EPS)
    return ((y.double() - right).square().mean().sqrt() / right.square().mean().sqrt()).item()
