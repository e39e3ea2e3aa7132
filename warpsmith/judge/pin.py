"""The one GPU of a step: which it is, why, and what every process is told so that it sees no other.

Whoever is at the head of a command chooses once and writes it into its own environment; what it starts inherits that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from warpsmith.errors import BadInput, Missing
from warpsmith.judge.nvml import Gpu, dashed
from warpsmith.model.target import Target

VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
CHOSEN = "WARPSMITH_CHOSEN"
"""How the GPU that is visible was come by, in words: for the conditions of the evidence. Not read as a setting."""
BUS = "PCI_BUS_ID"
Look = Callable[[], tuple[Gpu, ...]]
"""What the driver says of this machine: :func:`warpsmith.judge.nvml.gpus`. Raises OSError where there is no driver."""


@dataclass(frozen=True)
class Chosen:
    """The GPU that is used."""

    uuid: str
    name: str
    how: str
    """Pinned by what, or why this one."""
    worth_saying: bool = True
    """Whether somebody might have expected another one, or is in its way."""

    @property
    def said(self) -> str:
        """In words, for people and for the conditions of the evidence."""
        return f"GPU {self.uuid} ({self.name}): {self.how}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process see this one alone."""
        return {VISIBLE: self.uuid, ORDER: BUS, CHOSEN: self.said}


def choose(found: Sequence[Gpu], pin: str, by: str, environment: Mapping[str, str]) -> Chosen | None:
    """The GPU to use; None where none can be used and none is asked for. Pure.

    Args:
        found: What the driver says.
        pin: The UUID that is asked for, or empty.
        by: Who asks for it.
        environment: What this process was started with: GPUs that it hides are not used.

    Raises Missing for a pin that is not here, and BadInput for one that cannot be used.
    """
    open_to_us = visible(found, environment)
    if pin:
        if not pin.startswith(("GPU-", "MIG-")):
            raise BadInput(f"{by}: {pin!r} is no UUID of a GPU.", "'warpsmith gpu select INDEX' writes the right one.")
        one = named(found, pin, f"{by} names")
        if one not in open_to_us:
            hidden = f"{VISIBLE}={environment.get(VISIBLE)}"
            raise Missing(f"{by} names {one.uuid} ({one.name}), and {hidden} hides it.", f"Unset {VISIBLE}.")
        return Chosen(one.uuid, one.name, f"pinned by {by}{_company(one)}", bool(one.processes))
    if not open_to_us:
        return None
    best = min(open_to_us, key=lambda g: (g.processes != (), -g.free_bytes, found.index(g)))
    if len(open_to_us) == 1:
        only = f"the only one that {VISIBLE} leaves" if environment.get(VISIBLE) else "the only one here"
        return Chosen(best.uuid, best.name, f"{only}{_company(best)}", bool(best.processes))
    free = f"{best.free_bytes / 2**30:.1f} GiB free"
    why = f"nobody computes on it, {free}" if best.processes == () else f"none is free{_company(best)}, {free}"
    return Chosen(best.uuid, best.name, f"chosen of {len(open_to_us)}: {why}")


def _company(gpu: Gpu) -> str:
    if gpu.processes is None:
        return "; who computes on it cannot be told"
    return "".join(f"; {p.name} (pid {p.pid}) computes on it too" for p in gpu.processes)


def named(found: Sequence[Gpu], name: str, who: str = "there is no GPU") -> Gpu:
    """The GPU of that index or UUID (or its beginning, as CUDA takes it). Raises Missing with the list of those that
    are here, and BadInput for one that no program can use.
    """
    fits = [g for g in found if name == g.index or (name == g.uuid and name)]
    fits = fits or [g for g in found if len(name) > len("GPU-") and g.uuid.startswith(name)]
    if len(fits) != 1:
        problem = f"{who} {name}, and that fits several" if fits else f"{who} {name}, which this machine lacks"
        raise Missing(f"{problem}.", f"Here: {listed(found)}. 'warpsmith gpu select' changes it.")
    if fits[0].unusable:
        raise BadInput(f"{who} {fits[0].uuid or name}, and {fits[0].unusable}.", f"Here: {listed(found)}.")
    return fits[0]


def listed(found: Sequence[Gpu]) -> str:
    """Every GPU in a line."""
    said = (f"{g.index} {g.uuid} ({g.name}{f'; {g.unusable}' if g.unusable else ''})" for g in found)
    return ", ".join(said) or "no GPU"


def visible(found: Sequence[Gpu], environment: Mapping[str, str]) -> list[Gpu]:
    """Those that a process with that environment can use, in CUDA's order. Raises BadInput where indices count in an
    order that the driver does not say.
    """
    usable = [g for g in found if not g.unusable]
    said = environment.get(VISIBLE)
    if said is None:
        return usable
    whole = [g for g in found if ":" not in g.index]
    words = [word.strip() for word in said.split(",")]
    by_speed = any(map(str.isdigit, words)) and environment.get(ORDER) != BUS
    if by_speed and len({g.name for g in whole}) > 1:
        raise BadInput(
            f"{VISIBLE}={said} counts GPUs of different kinds, the fastest first, and only CUDA knows which that is.",
            f"Name them by UUID, or set {ORDER}={BUS}.",
        )
    seen: list[Gpu] = []
    for word in words:
        fits = [whole[int(word)]] if word.isdigit() and int(word) < len(whole) else []
        fits = fits or [g for g in found if word.startswith(("GPU-", "MIG-")) and g.uuid.startswith(word)]
        if not fits:  # CUDA ends its list at the first that it does not know
            break
        seen += [g for g in fits[:1] if not g.unusable and g not in seen]
    return seen


def same(uuid: str, other: str) -> bool:
    """Whether two UUIDs, each with ``GPU-`` or as 32 digits, are of one device."""
    return _digits(uuid) == _digits(other)


def _digits(uuid: str) -> str:
    return uuid.removeprefix("GPU-").removeprefix("MIG-").replace("-", "").lower()


def must_be(target: Target, uuid: str, name: str) -> None:
    """Raise Missing where what is seen is not the device that the evidence will name."""
    if target.uuid and not same(target.uuid, uuid):
        wanted = f"GPU-{dashed(target.uuid)}" if "-" not in target.uuid else target.uuid
        seen = f"GPU-{dashed(uuid)}" if "-" not in uuid else uuid
        raise Missing(
            f"another GPU: the target is {wanted} ({target.device}), and the judge sees {seen} ({name}).",
            "Start the command anew; 'warpsmith gpu list' says what is here.",
        )


def must_see(target: Target, look: Look, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """What the evidence says of the GPU of a step. Raises Missing where what this process starts sees another
    one first than the target.
    """
    if target.hardware != "cuda":
        return ()
    given = os.environ if environment is None else environment
    if not same(target.uuid, given.get(VISIBLE, "")):  # else there is nothing to look up
        try:
            seen = visible(look(), given)
        except OSError:  # without the library CUDA itself says which one it is, once it is asked
            seen = []
        if seen:
            must_be(target, seen[0].uuid, seen[0].name)
    return chosen_as(given)


def chosen_as(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """How the one GPU was come by, for the conditions of whatever was seen on it; nothing where nobody chose one."""
    given = os.environ if environment is None else environment
    return (given[CHOSEN],) if CHOSEN in given else ()
