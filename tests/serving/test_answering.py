"""What is shown of an answer while stop texts are looked for: never more than what stands before the first of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from warpsmith.serving.answering import Chunk, chunks
from warpsmith.serving.backend import Ask, Piece
from warpsmith.serving.bytetokens import END, ByteTokens


class Says:
    """A backend that says these texts, one per token, and knows whether it was closed."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.closed = False

    async def generate(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        try:
            for at, text in enumerate(self.texts):
                yield Piece(at, text, -1.0, "length" if at == len(self.texts) - 1 else "")
        finally:
            self.closed = True


def shown(texts: Sequence[str], stops: Sequence[str]) -> list[Chunk]:
    backend: Any = Says(texts)

    async def collect() -> list[Chunk]:
        return [chunk async for chunk in chunks(backend, Ask((1,), len(texts)), stops)]

    found = asyncio.run(collect())
    assert backend.closed
    return found


texts = st.lists(st.text("abc", max_size=3), min_size=1, max_size=12)
stops = st.lists(st.text("abc", min_size=1, max_size=4), max_size=3)


@given(texts=texts, stops=stops)
def test_the_answer_ends_where_the_first_stop_text_begins(texts: list[str], stops: list[str]) -> None:
    found = shown(texts, stops)
    said = ""
    for text in texts:  # a stop text counts once its last character is there
        said += text
        if ends := [said.index(stop) for stop in stops if stop in said]:
            said = said[: min(ends)]
            break
    else:
        ends = []
    assert "".join(chunk.text for chunk in found) == said
    assert found[-1].finish == ("stop" if ends else "length") and not any(chunk.finish for chunk in found[:-1])
    tokens = [piece.token for chunk in found for piece in chunk.pieces]
    assert tokens == list(range(len(tokens))) and (ends or len(tokens) == len(texts))


def test_nothing_is_held_back_that_cannot_begin_a_stop_text() -> None:
    assert [chunk.text for chunk in shown(["x", "a", "y", "a", "b"], ["abc"])] == ["x", "ay", "ab"]


@given(text=st.text(max_size=20))
def test_bytes_become_the_text_that_they_are_of(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    tokens = ByteTokens(300)
    reader = tokens.reader()
    said = tokens.encode(text)
    assert "".join(reader.read(t, last=n == len(said)) for n, t in enumerate(said, 1)) == text
    assert tokens.text(299) == " w299" and tokens.text(END) == ""
