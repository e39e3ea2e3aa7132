"""Handlers: what a kernel's shape asks of prompt and reply, one small file each.

A handler hints (in the cached part of the prompt), mends what is beyond doubt, and complains in sentences that go back
to the model. A new one is a file here with a class ``Handler``, and a name in ``NAMES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol

from warpsmith.model.candidate import Candidate

NAMES = ("prose", "namespaces", "templates", "several")
"""In the order in which they mend."""


class Handler(Protocol):
    """What a handler can do; each method may do nothing."""

    name: str

    def hint(self, candidate: Candidate, texts: Mapping[str, str]) -> str:
        """What a model must know of this shape, where the entry has it; empty elsewhere."""

    def mend(self, path: str, text: str) -> str:
        """The file without what is beyond doubt no part of it."""

    def problems(self, candidate: Candidate, texts: Mapping[str, str]) -> list[str]:
        """What cannot work in a candidate of this shape."""


def handlers() -> tuple[Handler, ...]:
    """All of them."""
    return tuple(import_module(f"{__name__}.{name}").Handler() for name in NAMES)


def hints(candidate: Candidate, texts: Mapping[str, str]) -> tuple[str, ...]:
    """The hints that the entry calls for."""
    return tuple(said for one in handlers() if (said := one.hint(candidate, texts)))


def mended(files: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The files after every handler, and a note for each that one changed."""
    after, notes = dict(files), []
    for one in handlers():
        for path, text in after.items():
            if (better := one.mend(path, text)) != text:
                after[path] = better
                notes.append(f"{one.name}: {path} was mended")
    return after, tuple(notes)


def problems(candidate: Candidate, texts: Mapping[str, str]) -> list[str]:
    """What every handler has against a candidate."""
    return [said for one in handlers() for said in one.problems(candidate, texts)]
