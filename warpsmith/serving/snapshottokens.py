"""The tokenizer of a snapshot, as transformers reads it. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BROKEN = "�"
"""What a decoder writes for the beginning of a character."""


@dataclass(frozen=True)
class SnapshotTokens:
    """The tokenizer."""

    tokenizer: Any
    ends: frozenset[int]

    @classmethod
    def of(cls, snapshot: Path, ends: int | list[int] | None) -> SnapshotTokens:
        """That of a snapshot; ``ends`` are what the model's own settings say. Raises OSError and ValueError."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(snapshot, local_files_only=True)
        said = ends if isinstance(ends, list) else [ends, tokenizer.eos_token_id]
        return cls(tokenizer, frozenset(token for token in said if token is not None))

    def encode(self, text: str) -> Sequence[int]:
        """With the marks that it puts before a prompt."""
        found: list[int] = self.tokenizer(text)["input_ids"]
        return found

    def chat(self, messages: Sequence[Mapping[str, str]]) -> Sequence[int]:
        """By its template; where it has none, a line per message."""
        if not self.tokenizer.chat_template:
            return self.encode("".join(f"{m['role']}: {m['content']}\n" for m in messages) + "assistant:")
        found: list[int] = self.tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return found

    def text(self, token: int) -> str:
        """One token by itself."""
        return str(self.tokenizer.decode([token]))

    def reader(self) -> SnapshotReader:
        """For one answer."""
        return SnapshotReader(self.tokenizer)


class SnapshotReader:
    """Tokens to text: what a token adds is what the text of the last few grows by, since spaces depend on what stands
    before; characters that are not whole yet wait.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._from = 0
        """Where the text that is compared begins."""
        self._shown = 0
        """Tokens whose text was given already."""

    def read(self, token: int, *, last: bool = False) -> str:
        """What ``token`` adds to the text."""
        self._tokens.append(token)
        before = self._text(self._tokens[self._from : self._shown])
        now = self._text(self._tokens[self._from :])
        if now.endswith(BROKEN) and not last:
            return ""
        self._from, self._shown = self._shown, len(self._tokens)
        return now[len(before) :]

    def _text(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))
