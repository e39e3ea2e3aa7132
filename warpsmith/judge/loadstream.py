"""What one answer says, read as it arrives: server-sent events, and the tokens and usage in them.

No sockets, no clocks: whoever reads gives each piece of an answer's body with the time of its arrival, wherever the
pieces begin and end.
"""

from __future__ import annotations

import json
from typing import Any

LONGEST = 1 << 22
"""Bytes of one event; what is longer is none."""
DONE = b"[DONE]"


class NoAnswer(Exception):
    """A request that got no whole, right answer; its text is the cause under which it is counted."""


class Events:
    """Server-sent events out of a stream of bytes: CR, LF or CRLF, comments, several ``data`` lines of one event."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._carriage = False
        self._first = True

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that end in the next piece. Raises NoAnswer("malformed") for an endless one."""
        if self._carriage and piece[:1] == b"\n":
            piece = piece[1:]
            self._carriage = False
        if not piece:
            return []
        self._carriage = piece[-1:] == b"\r"
        lines = (self._rest + piece).splitlines(keepends=True)
        self._rest = b"" if lines[-1][-1:] in b"\r\n" else lines.pop()
        if len(self._rest) + sum(map(len, self._data)) > LONGEST:
            raise NoAnswer("malformed")
        ended = []
        for line in lines:
            said = line.rstrip(b"\r\n")
            if self._first:
                said, self._first = said.removeprefix(b"\xef\xbb\xbf"), False
            if said:
                self._field(said)
            elif self._data:
                ended.append(b"\n".join(self._data))
                self._data = []
        return ended

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))


class Reading:
    """One answer as far as it has come. Times are whole nanoseconds of whatever clock the caller has."""

    def __init__(self, asked: int) -> None:
        self.asked = asked
        """Output tokens that were asked for."""
        self.times: list[int] = []
        """When each event with text came: one or more tokens."""
        self.end = 0
        """When the last event came."""
        self.input_tokens = 0
        self.output_tokens = 0
        """Both as the server counts them."""
        self.texts: list[str] = []
        """What each event said: the judge holds some answers against the baseline's."""
        self._events = Events()
        self._done = False
        self._used = False

    def feed(self, piece: bytes, when: int) -> None:
        """Read the next piece of the body. Raises NoAnswer for what is no stream of completions."""
        for data in self._events.feed(piece):
            if self._done:
                raise NoAnswer("malformed")
            if data == DONE:
                self._done, self.end = True, when
            else:
                self._take(data, when)

    def finish(self) -> None:
        """The body has ended. Raises NoAnswer with what is missing or cannot be."""
        if not self._done:
            raise NoAnswer("cut")
        if not self._used:
            raise NoAnswer("no_usage")
        if not self.times or not 0 < self.output_tokens <= self.asked:
            raise NoAnswer("wrong_length")

    def _take(self, data: bytes, when: int) -> None:
        try:
            said = json.loads(data)
        except (ValueError, RecursionError):
            raise NoAnswer("malformed") from None
        if not isinstance(said, dict):
            raise NoAnswer("malformed")
        if said.get("error"):
            raise NoAnswer("stream_error")
        choices = said.get("choices", [])
        if not isinstance(choices, list):
            raise NoAnswer("malformed")
        if any(carries(choice) for choice in choices):
            self.times.append(when)
            self.texts += map(spoken, choices)
        if said.get("usage") is not None:
            self._usage(said["usage"])

    def _usage(self, usage: Any) -> None:
        if not isinstance(usage, dict):
            raise NoAnswer("malformed")
        counts = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if any(type(count) is not int or not 0 <= count < 1 << 40 for count in counts):
            raise NoAnswer("malformed")
        self.input_tokens, self.output_tokens = counts  # type: ignore[assignment]
        self._used = True


def carries(choice: Any) -> bool:
    """Whether a choice brings a token: text, or a token without any, as half of a character is.

    The event that only names the role, and the one that only says why the answer ended, bring none. Raises NoAnswer.
    """
    if not isinstance(choice, dict):
        raise NoAnswer("malformed")
    delta = choice.get("delta", choice)
    if not isinstance(delta, dict):
        raise NoAnswer("malformed")
    texts = [delta[key] for key in ("content", "text", "reasoning_content", "reasoning") if delta.get(key) is not None]
    if not all(isinstance(text, str) for text in texts):
        raise NoAnswer("malformed")
    if any(texts) or delta.get("tool_calls") or choice.get("token_ids"):
        return True
    return bool(texts) and "role" not in delta and choice.get("finish_reason") is None


def spoken(choice: dict[str, Any]) -> str:
    """The text of a choice that :func:`carries` found right."""
    delta = choice.get("delta", choice)
    return str(delta.get("content") or delta.get("text") or "")
