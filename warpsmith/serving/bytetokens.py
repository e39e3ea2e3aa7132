"""A tokenizer of bytes, for models without one: it needs no files and no download.

Tokens 0 to 255 are bytes, then come the marks of a conversation; a larger vocabulary is filled up with words that only
a model with random weights says.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BEGIN, END, ROLE = 256, 257, 258
"""Begins every prompt; ends an answer or message; parts a role from its message."""
LEAST = 259
"""The smallest vocabulary."""


@dataclass(frozen=True)
class ByteTokens:
    """The tokenizer; one token per byte of UTF-8."""

    vocabulary: int = LEAST

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return frozenset({END})

    def encode(self, text: str) -> tuple[int, ...]:
        """The tokens of a prompt."""
        return (BEGIN, *text.encode("utf-8", "surrogatepass"))

    def chat(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """The tokens of a conversation, up to where the answer begins."""
        said: list[int] = [BEGIN]
        for message in messages:
            said += [*message["role"].encode(), ROLE, *message["content"].encode("utf-8", "surrogatepass"), END]
        return (*said, *b"assistant", ROLE)

    def text(self, token: int) -> str:
        """One token by itself."""
        return self.reader().read(token, last=True)

    def reader(self) -> ByteReader:
        """What turns the tokens of one answer to text."""
        return ByteReader()


class ByteReader:
    """Tokens to text, one by one; bytes inside a character wait for its end."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self, token: int, *, last: bool = False) -> str:
        """What ``token`` adds to the text."""
        if token < BEGIN:
            return self._decoder.decode(bytes((token,)), last)
        broken = self._decoder.decode(b"", True)
        return broken if token < LEAST else f"{broken} w{token}"
