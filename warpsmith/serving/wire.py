"""What goes over the wire: OpenAI's requests, answers, chunks and errors. Owns the format; generates nothing.

What OpenAI's format has no place for is added as vLLM does: ``token_ids`` in each choice, ``ignore_eos`` and
``return_token_ids`` in requests. Fields that are unknown are passed over; known ones that cannot be met are refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from warpsmith.serving.backend import Ask, Likely, Piece

MOST_TOP = 20
"""Likeliest tokens that a request may ask for."""
UNMET = {
    "best_of": (None, 1), "presence_penalty": (None, 0), "frequency_penalty": (None, 0), "logit_bias": (None, {}),
    "response_format": (None, {"type": "text"}), "tools": (None, []), "functions": (None, []), "suffix": (None, ""),
    "echo": (None, False), "n": (None, 1), "audio": (None,), "modalities": (None, ["text"]),
}  # fmt: skip
"""Fields that a client may send, with the values under which they ask for nothing."""


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code

    @property
    def document(self) -> dict[str, Any]:
        """As OpenAI says it."""
        kinds = {404: "invalid_request_error", 429: "rate_limit_error", 503: "service_unavailable_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class StreamOptions(_Open):
    """What a stream carries beside its chunks."""

    include_usage: bool = False


class Asked(_Open):
    """What both kinds of requests share."""

    model: str
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    ignore_eos: bool = False
    return_token_ids: bool = False

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts at which the answer ends."""
        said = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in said if text)

    @property
    def limit(self) -> int | None:
        """Tokens of the answer, at most; None: as the server likes."""
        return self.max_tokens

    @property
    def top(self) -> int | None:
        """Likeliest tokens that each token's log-probability comes with; None: no log-probabilities are asked for."""
        raise NotImplementedError

    def ask(self, prompt: Sequence[int], tokens: int) -> Ask:
        """The generation that is asked for; OpenAI's temperature is 1 where none is said."""
        return Ask(
            prompt=tuple(prompt), max_tokens=tokens, temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p, seed=self.seed, ignore_eos=self.ignore_eos,
            top=self.top or 0,
        )  # fmt: skip


class Message(_Open):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str

    @field_validator("content", mode="before")
    @classmethod
    def _text_only(cls, said: Any) -> Any:
        """Parts of text are joined; other parts cannot be met."""
        if not isinstance(said, list):
            return "" if said is None else said
        if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in said):
            raise ValueError("only parts of type text can be served")
        return "".join(part["text"] for part in said)


class ChatAsked(Asked):
    """A chat completion that is asked for."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None

    @property
    def limit(self) -> int | None:
        """The newer name goes over the older one."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def top(self) -> int | None:
        """As many as are said, where log-probabilities are asked for."""
        return (self.top_logprobs or 0) if self.logprobs else None


class PlainAsked(Asked):
    """A completion that is asked for: of a text, or of tokens."""

    prompt: str | list[int] | list[str] | list[list[int]]
    logprobs: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None

    @property
    def top(self) -> int | None:
        """As many as are said."""
        return self.logprobs

    @property
    def only_prompt(self) -> str | list[int]:
        """The one prompt. Raises Refusal for several."""
        if isinstance(self.prompt, str) or (self.prompt and isinstance(self.prompt[0], int)):
            return self.prompt
        if len(self.prompt) != 1:
            raise Refusal(400, f"one prompt per request can be served, not {len(self.prompt)}.", param="prompt")
        return self.prompt[0]  # type: ignore[return-value]


A = TypeVar("A", bound=Asked)


def read(kind: type[A], body: bytes) -> A:
    """A request. Raises Refusal that names the field."""
    try:
        asked = kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("list[", "str", "int")))
        message = first["msg"].removeprefix("Value error, ")
        raise Refusal(400, f"{where}: {message}" if where else message, param=where or None) from None
    for name, nothing in UNMET.items():
        if (said := (asked.model_extra or {}).get(name)) not in nothing:
            raise Refusal(400, f"{name}={json.dumps(said)} cannot be served; leave it out.", param=name)
    if asked.stream_options is not None and not asked.stream:
        raise Refusal(400, "stream_options: only with stream=true.", param="stream_options")
    return asked


def usage(prompt: int, said: int) -> dict[str, int]:
    """How many tokens were read and said."""
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}


class Format(Protocol):
    """How an answer is written."""

    def begin(self) -> bytes:
        """What a stream begins with."""

    def chunk(self, text: str, pieces: Sequence[Piece]) -> bytes:
        """Some text of a stream, with its tokens."""

    def finish(self, why: str) -> bytes:
        """What ends the text of a stream."""

    def count(self, prompt: int, said: int) -> bytes:
        """The last chunk of a stream that was to carry its usage."""

    def whole(self, text: str, pieces: Sequence[Piece], why: str, prompt: Sequence[int]) -> bytes:
        """An answer in one."""


class _Written:
    """What both formats share: the head that all documents of an answer have."""

    def __init__(self, asked: Asked, identity: str, created: int, whole: str, part: str) -> None:
        self.asked = asked
        self.id = identity
        self._head = {"id": identity, "object": whole, "created": created, "model": asked.model}
        part_head = json.dumps({**self._head, "object": part})[:-1]
        self._part = f'data: {part_head}, "choices": '.encode()
        counted = bool(asked.stream_options and asked.stream_options.include_usage)
        self._tail = b', "usage": null}\n\n' if counted else b"}\n\n"

    def _event(self, choice: dict[str, Any]) -> bytes:
        return b"%s[%s]%s" % (self._part, json.dumps(choice).encode(), self._tail)

    def count(self, prompt: int, said: int) -> bytes:
        """No choice, only the usage."""
        return b'%s[], "usage": %s}\n\n' % (self._part, json.dumps(usage(prompt, said)).encode())

    def _document(self, choice: dict[str, Any], said: int, prompt: Sequence[int]) -> bytes:
        more = {"prompt_token_ids": list(prompt)} if self.asked.return_token_ids else {}
        return json.dumps({**self._head, "choices": [choice], "usage": usage(len(prompt), said), **more}).encode()


class Chat(_Written):
    """Chat completions."""

    def __init__(self, asked: ChatAsked, identity: str, created: int) -> None:
        super().__init__(asked, f"chatcmpl-{identity}", created, "chat.completion", "chat.completion.chunk")

    def begin(self) -> bytes:
        """The role comes first."""
        delta = {"role": "assistant", "content": ""}
        return self._event({"index": 0, "delta": delta, "logprobs": None, "finish_reason": None})

    def chunk(self, text: str, pieces: Sequence[Piece]) -> bytes:
        """A delta."""
        return self._event(
            {
                "index": 0, "delta": {"content": text}, "logprobs": self._logprobs(pieces), "finish_reason": None,
                "token_ids": [p.token for p in pieces],
            }
        )  # fmt: skip

    def finish(self, why: str) -> bytes:
        """An empty delta with the reason."""
        return self._event({"index": 0, "delta": {}, "logprobs": None, "finish_reason": why})

    def whole(self, text: str, pieces: Sequence[Piece], why: str, prompt: Sequence[int]) -> bytes:
        """A message."""
        choice = {
            "index": 0, "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": self._logprobs(pieces), "finish_reason": why, "token_ids": [p.token for p in pieces],
        }  # fmt: skip
        return self._document(choice, len(pieces), prompt)

    def _logprobs(self, pieces: Sequence[Piece]) -> dict[str, Any] | None:
        if self.asked.top is None:
            return None
        content = [{**_entry(p), "top_logprobs": [_entry(t) for t in p.top]} for p in pieces]
        return {"content": content, "refusal": None}


class Plain(_Written):
    """Plain completions."""

    def __init__(self, asked: PlainAsked, identity: str, created: int) -> None:
        super().__init__(asked, f"cmpl-{identity}", created, "text_completion", "text_completion")
        self._offset = 0

    def begin(self) -> bytes:
        """Nothing comes first."""
        return b""

    def chunk(self, text: str, pieces: Sequence[Piece]) -> bytes:
        """Some text."""
        return self._event(self._choice(text, pieces, None))

    def finish(self, why: str) -> bytes:
        """No text, and the reason."""
        return self._event({"index": 0, "text": "", "logprobs": None, "finish_reason": why})

    def whole(self, text: str, pieces: Sequence[Piece], why: str, prompt: Sequence[int]) -> bytes:
        """All of the text."""
        return self._document(self._choice(text, pieces, why), len(pieces), prompt)

    def _choice(self, text: str, pieces: Sequence[Piece], why: str | None) -> dict[str, Any]:
        said = {"index": 0, "text": text, "logprobs": self._logprobs(pieces), "finish_reason": why}
        return {**said, "token_ids": [p.token for p in pieces]}

    def _logprobs(self, pieces: Sequence[Piece]) -> dict[str, Any] | None:
        if self.asked.top is None:
            return None
        offsets = []
        for piece in pieces:
            offsets.append(self._offset)
            self._offset += len(piece.text)
        return {
            "tokens": [p.text for p in pieces], "token_logprobs": [p.logprob for p in pieces],
            "top_logprobs": [{t.text: t.logprob for t in p.top} for p in pieces], "text_offset": offsets,
        }  # fmt: skip


def _entry(said: Piece | Likely) -> dict[str, Any]:
    return {"token": said.text, "logprob": said.logprob, "bytes": list(said.text.encode())}
