"""What a backend is: the model behind the shim. Owns the protocol, and how a backend is found by its name.

A backend is made, loaded and warmed up in a thread of its own, then asked for generations on the event loop. It decides
alone how generations share its steps. Imports no server and no model.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

from warpsmith.errors import BadInput
from warpsmith.model.harness import Scalar

Finish = Literal["", "stop", "length"]
"""Why a generation ends with this token: not yet, the model ended it, or the count was reached."""
BACKENDS = {
    "mock": "warpsmith.serving.mock:make",
    "transformers": "warpsmith.serving.torchmodel:make",
}
"""Those that come with the package."""


class Refused(Exception):
    """The backend takes no more for now; the client is told to come again (status 429)."""


@dataclass(frozen=True)
class Given:
    """What a factory is called with."""

    options: Mapping[str, Scalar]
    """Those of the task's ``[server.options]``."""
    model: str
    """The name under which it is served."""
    workspace: Path
    """The folder that it was started in."""
    snapshot: Path | None
    """The folder of the model's files, where there is one."""
    environment: Mapping[str, str]
    """The variables of the process."""


@dataclass(frozen=True)
class Ask:
    """One generation that is asked for."""

    prompt: tuple[int, ...]
    """Token ids; at least one."""
    max_tokens: int
    temperature: float = 0.0
    """0: the likeliest token, always."""
    top_p: float = 1.0
    seed: int | None = None
    """Of sampling; the same seed gives the same tokens again."""
    ignore_eos: bool = False
    """Go on to ``max_tokens`` whatever the model says."""
    top: int = 0
    """How many likeliest tokens each piece is to name."""


@dataclass(frozen=True, slots=True)
class Likely:
    """A token that might have been."""

    token: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Piece:
    """One token of an answer."""

    token: int
    text: str
    """What it adds to the text; empty where it ends inside a character."""
    logprob: float
    """Natural logarithm of its probability under the model, before temperature."""
    finish: Finish = ""
    top: tuple[Likely, ...] = ()
    silent: bool = False
    """Whether it only ends the answer, and is no part of it: an end-of-text token."""


@dataclass(frozen=True)
class Occupancy:
    """How many generations are in a backend's steps, and how many wait for them."""

    running: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class Limits:
    """What a backend can take."""

    context: int
    """Tokens of prompt and answer together, at most."""
    default_tokens: int = 256
    """What a chat completion gets that says no count."""
    vocabulary: int = field(default=1 << 31)
    """Prompts may name token ids below it."""


class Backend(Protocol):
    """A model that can be served. One is used by one server; :meth:`generate` is called on the event loop."""

    def load(self) -> None:
        """Get the model into memory. Called once, in a thread; whatever it raises ends the server."""

    def warm_up(self) -> None:
        """Run what is slow the first time. Called once, after :meth:`load`, in the same thread."""

    @property
    def limits(self) -> Limits:
        """Known once it is loaded."""

    @property
    def occupancy(self) -> Occupancy:
        """At this moment; asked for on the event loop."""

    def encode(self, text: str) -> Sequence[int]:
        """The tokens of a text."""

    def chat(self, messages: Sequence[Mapping[str, str]]) -> Sequence[int]:
        """The tokens of a conversation, up to where the answer begins; each message has a role and its content."""

    def generate(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """The answer, token by token; the last piece has a ``finish``. Closed early where nobody wants it any more.

        Raises :class:`Refused` before the first piece where it takes no more.
        """

    def stop(self) -> None:
        """Give everything back. Called once, at the end; nothing is asked for any more."""


Factory = Callable[[Given], Backend]


def factory(name: str) -> Factory:
    """The factory of a backend: ``mock``, ``transformers``, or ``module:factory`` on the search path. Raises
    BadInput where there is none; what the import of a module raises is its own.
    """
    where = BACKENDS.get(name, name)
    module, _, attribute = where.partition(":")
    if not module or not attribute:
        raise BadInput(f"{name!r} is no backend.", f"Known: {', '.join(BACKENDS)}, or module:factory in the workspace.")
    try:
        made: Factory = getattr(import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise BadInput(
            f"backend {name!r}: {error}.", "Name a module of the workspace, and a function of it."
        ) from error
    return made
