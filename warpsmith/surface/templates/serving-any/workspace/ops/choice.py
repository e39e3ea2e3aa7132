"""Which implementation of an operation runs here: read from ``kernel_manifest.yaml``, chosen once, and said."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import torch
import yaml

from ops import Absent, Unusable, plain

MANIFEST = Path(__file__).with_name("kernel_manifest.yaml")
Function = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


@dataclass(frozen=True)
class Chosen:
    """An implementation that can run here."""

    op: str
    name: str
    how: str
    """What built it."""
    function: Function
    """Without its guard."""
    guard: dict
    refused: dict[str, str] = field(default_factory=dict)
    """Those that ``auto`` passed over, with the reason."""


def manifest() -> dict:
    """The operations by name."""
    return yaml.safe_load(MANIFEST.read_text())["ops"]


def say(text: str) -> None:
    """One line for the server's log."""
    sys.stderr.write(f"ops: {text}\n")
    sys.stderr.flush()


def choose(op: str, wanted: str, like: tuple[torch.Tensor, ...] = (), **options: int) -> Chosen:
    """The implementation by that name, or the first of ``auto``, that works and lets tensors ``like`` these through.

    Raises Unusable with every reason; Absent where all that is wrong is what this machine lacks.
    """
    said = manifest()[op]
    names = said["auto"] if wanted == "auto" else [wanted]
    refused: dict[str, str] = {}
    kinds = set()
    for name in names:
        if name not in said["implementations"]:
            raise Unusable(f"{said['switch']}={name}: {op} has {', '.join(said['implementations'])}; or off, or auto")
        one = said["implementations"][name]
        module, _, maker = one["entry"].partition(":")
        try:
            if like and (reason := outside(one["guard"], *like)):
                raise Unusable(f"it does not take {reason}")
            function, how = getattr(import_module(module), maker)(**options)
        except Unusable as reason:
            refused[name] = str(reason)
            kinds.add(type(reason))
            continue
        return Chosen(op, name, how, function, one["guard"], refused)
    kind = Absent if kinds == {Absent} else Unusable
    raise kind(f"{op}: " + "; ".join(f"{name}: {reason}" for name, reason in refused.items()))


def outside(guard: dict, x: torch.Tensor, weight: torch.Tensor) -> str:
    """Why the guard does not let these tensors through; empty where it does."""
    row = x.shape[-1] * x.element_size()
    if "device" in guard and x.device.type != guard["device"]:
        return f"a tensor on {x.device.type}"
    if "dtypes" in guard and str(x.dtype).removeprefix("torch.") not in guard["dtypes"]:
        return f"{x.dtype}"
    if weight.dtype != x.dtype:
        return f"a weight of {weight.dtype} with {x.dtype}"
    if row % guard.get("row_bytes", 1) or x.data_ptr() % guard.get("row_bytes", 1):
        return f"rows of {row} bytes that are no multiple of {guard['row_bytes']}, or do not begin at one"
    if x.shape[-1] > guard.get("most", x.shape[-1]):
        return f"rows of {x.shape[-1]} elements"
    return "" if x.is_contiguous() and weight.is_contiguous() else "tensors that are not contiguous"


def guarded(chosen: Chosen) -> Function:
    """The implementation behind its guard: what it does not take goes to plain torch, said once per reason."""
    fallback = getattr(plain, chosen.op)
    seen: set[str] = set()

    def call(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        reason = outside(chosen.guard, x, weight)
        if not reason:
            return chosen.function(x, weight, eps)
        if reason not in seen:
            seen.add(reason)
            say(f"{chosen.op}: {chosen.name} does not take {reason}; plain torch for those")
        return fallback(x, weight, eps)

    return call
