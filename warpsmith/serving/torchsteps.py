"""Steps of a transformers model: rows that share a forward pass, joining and leaving between passes.

Owns the key-value cache of all rows together: padded on the left, trimmed when the longest row leaves. Knows tokens,
no text and no server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from warpsmith.errors import BadInput
from warpsmith.serving.backend import Ask


@dataclass(eq=False)
class Row:
    """One generation in a batch."""

    ask: Ask
    chooser: Any = None
    """Its own source of random numbers, where it samples."""
    said: int = 0

    def __post_init__(self) -> None:
        if self.ask.temperature > 0:
            self.chooser = torch.Generator()
            self.chooser.seed() if self.ask.seed is None else self.chooser.manual_seed(self.ask.seed % (1 << 63))


@dataclass(frozen=True)
class Chosen:
    """The next token of a row."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass
class Batch:
    """Rows that are decoded together. All tensors have one row each, in the order of ``rows``."""

    model: Any
    device: str
    rows: list[Row] = field(default_factory=list)
    cache: list[tuple[Any, Any]] = field(default_factory=list)
    """Keys and values of each layer, (rows, heads, length, head size)."""
    mask: Any = None
    """(rows, length): 1 where the cache holds a token of the row, 0 where it is padded."""
    last: Any = None
    """(rows, 1): the token that each row said last, which no pass has read yet."""

    def join(self, rows: Sequence[Row]) -> list[Chosen]:
        """Read the prompts of new rows in one pass; returns their first tokens."""
        most = max(len(row.ask.prompt) for row in rows)
        pads = [most - len(row.ask.prompt) for row in rows]
        tokens = torch.tensor([[0] * p + list(r.ask.prompt) for p, r in zip(pads, rows, strict=True)])
        mask = torch.tensor([[0] * p + [1] * (most - p) for p in pads])
        logits, cache = self._forward(tokens.to(self.device), mask.to(self.device), [])
        chosen = choose(logits, rows)
        self._merge(rows, cache, mask.to(self.device), self._column(chosen))
        return chosen

    def step(self) -> list[Chosen]:
        """One token for each row."""
        self.mask = torch.nn.functional.pad(self.mask, (0, 1), value=1)
        logits, self.cache = self._forward(self.last, self.mask, self.cache)
        chosen = choose(logits, self.rows)
        self.last = self._column(chosen)
        return chosen

    def keep(self, rows: Sequence[Row]) -> None:
        """Let all others go, and the padding that only they needed."""
        staying = [at for at, row in enumerate(self.rows) if row in rows]
        if len(staying) == len(self.rows):
            return
        self.rows = [self.rows[at] for at in staying]
        if not staying:
            self.cache, self.mask, self.last = [], None, None
            return
        index = torch.tensor(staying, device=self.device)
        self.mask, self.last = self.mask[index], self.last[index]
        unused = int((self.mask.cumsum(1) == 0).sum(1).min())
        self.mask = self.mask[:, unused:]
        self.cache = [(k[index][:, :, unused:], v[index][:, :, unused:]) for k, v in self.cache]

    def _forward(self, tokens: Any, mask: Any, cache: list[tuple[Any, Any]]) -> tuple[Any, list[tuple[Any, Any]]]:
        """Logits of the last position, in f32, and the cache after the pass."""
        held = DynamicCache()
        for at, (keys, values) in enumerate(cache):
            held.update(keys, values, at)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        with torch.inference_mode():
            said = self.model(
                input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=held, use_cache=True,
                logits_to_keep=1,
            )  # fmt: skip
        layers = [(getattr(one, "keys", None), getattr(one, "values", None)) for one in held.layers]
        if not layers or any(keys is None or values is None for keys, values in layers):
            raise BadInput("the model keeps no key-value cache in every layer.", "Serve it with another backend.")
        return said.logits[:, -1].float(), layers

    def _merge(self, rows: Sequence[Row], cache: list[tuple[Any, Any]], mask: Any, last: Any) -> None:
        """Put rows below those that are there, all padded to the longest."""
        if not self.rows:
            self.rows, self.cache, self.mask, self.last = list(rows), cache, mask, last
            return
        width = max(self.mask.shape[1], mask.shape[1])
        self.rows += rows
        self.cache = [
            (_stack(k, old_k, width), _stack(v, old_v, width))
            for (old_k, old_v), (k, v) in zip(self.cache, cache, strict=True)
        ]
        self.mask = torch.cat([_left(self.mask, width, 1), _left(mask, width, 1)])
        self.last = torch.cat([self.last, last])

    def _column(self, chosen: Sequence[Chosen]) -> Any:
        return torch.tensor([[one.token] for one in chosen], device=self.device)


def choose(logits: Any, rows: Sequence[Row]) -> list[Chosen]:
    """The next token of each row, from logits of (rows, vocabulary) in f32."""
    logprobs = logits.log_softmax(-1)
    tokens = logits.argmax(-1).tolist()
    for at, row in enumerate(rows):
        if row.ask.temperature > 0:
            tokens[at] = _sample(logits[at], row)
    own = logprobs.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()
    found = []
    for at, row in enumerate(rows):
        top: tuple[tuple[int, float], ...] = ()
        if row.ask.top:
            best = logprobs[at].topk(min(row.ask.top, logprobs.shape[1]))
            top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        found.append(Chosen(tokens[at], own[at], top))
    return found


def _sample(logits: Any, row: Row) -> int:
    """A token drawn on the CPU, so that a seed gives the same on every device."""
    shares = (logits.cpu() / row.ask.temperature).softmax(-1)
    if row.ask.top_p < 1:
        ordered, index = shares.sort(descending=True)
        ordered[ordered.cumsum(0) - ordered >= row.ask.top_p] = 0
        shares = torch.zeros_like(shares).scatter(0, index, ordered)
    return int(torch.multinomial(shares, 1, generator=row.chooser))


def _left(tensor: Any, width: int, dim: int) -> Any:
    """Padded with zeros at the beginning of the dimension."""
    missing = width - tensor.shape[dim]
    after = [0, 0] * (tensor.dim() - 1 - dim)
    return torch.nn.functional.pad(tensor, (*after, missing, 0)) if missing else tensor


def _stack(new: Any, old: Any, width: int) -> Any:
    return torch.cat([_left(old, width, 2), _left(new, width, 2)])
