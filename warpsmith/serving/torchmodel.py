"""The transformers backend: real model classes, with the weights of a snapshot, or small random ones of a seed.

The workspace may replace modules and functions of the model before it is warmed up (the option ``install``). Steps are
taken in a thread of their own. Nothing is ever downloaded.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from warpsmith.errors import BadInput, Missing
from warpsmith.serving.backend import Ask, Finish, Given, Likely, Limits, Occupancy, Piece
from warpsmith.serving.bytetokens import LEAST, ByteTokens
from warpsmith.serving.options import Reading

READING = Reading("transformers", "MODEL_", {"max_batch": 1, "layers": 1, "vocabulary": LEAST, "context": 2})
WARM_PROMPT, WARM_TOKENS = 16, 3
log = logging.getLogger("warpsmith.serving")


@dataclass(frozen=True)
class Options:
    """Everything that can be set. The shape of the model counts only where there is no snapshot."""

    architecture: str = "llama"
    """As transformers names it: llama, qwen3, mistral ..."""
    hidden: int = 128
    intermediate: int = 0
    """0: three times ``hidden``."""
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    vocabulary: int = 320
    context: int = 2048
    """Tokens of prompt and answer together, at most; a snapshot's own where there is one."""
    seed: int = 0
    """Of random weights."""
    spread: float = 0.1
    """Standard deviation of random weights: with small ones every token is as likely as any other."""
    device: str = "auto"
    """``cpu``, ``cuda`` or ``cuda:1``; auto: a GPU where torch sees one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: float32 on a CPU, bfloat16 on a GPU."""
    attention: Literal["auto", "sdpa", "eager"] = "auto"
    """auto: as transformers chooses for the architecture."""
    max_batch: int = 8
    """Rows of one pass, at most."""
    batching: Literal["dynamic", "static"] = "dynamic"
    """dynamic: rows join and leave between passes. static: the next rows wait until all have left."""
    threads: int = 0
    """Of torch on the CPU; 0: as torch likes."""
    install: str = ""
    """``module`` or ``module:function`` of the workspace, called with the model before it is warmed up."""


class Reader(Protocol):
    """Turns the tokens of one answer to text."""

    def read(self, token: int, *, last: bool = False) -> str:
        """What ``token`` adds to the text."""


class Tokens(Protocol):
    """A tokenizer."""

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end an answer."""

    def encode(self, text: str) -> Sequence[int]:
        """The tokens of a prompt."""

    def chat(self, messages: Sequence[Mapping[str, str]]) -> Sequence[int]:
        """The tokens of a conversation, up to where the answer begins."""

    def text(self, token: int) -> str:
        """One token by itself."""

    def reader(self) -> Reader:
        """For one answer."""


@dataclass(eq=False)
class _Wanted:
    """A generation that is asked for; its pieces go to the event loop."""

    ask: Ask
    reader: Reader
    pieces: asyncio.Queue[Piece | Exception] = field(default_factory=asyncio.Queue)
    gone: bool = False


class Transformers:
    """The backend."""

    def __init__(self, given: Given) -> None:
        self.options = READING.read(Options, given)
        self.given = given
        self._tokens: Tokens = ByteTokens()
        self._context = self.options.context
        self._vocabulary = self.options.vocabulary
        self._batch: Any = None
        self._rows: dict[Any, _Wanted] = {}
        self._waiting: deque[_Wanted] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def load(self) -> None:
        """Make the model, or read it, and let the workspace change it. Raises Missing and BadInput."""
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
        try:
            import torch

            from warpsmith.serving.torchsteps import Batch
        except ImportError as error:
            raise Missing(f"the transformers backend: {error}.", "Run: pip install 'warpsmith[models]'.") from error
        if self.options.threads:
            torch.set_num_threads(self.options.threads)
        seen = "cuda" if torch.cuda.is_available() else "cpu"
        device = seen if self.options.device == "auto" else self.options.device
        automatic = "float32" if device == "cpu" else "bfloat16"
        dtype = getattr(torch, automatic if self.options.dtype == "auto" else self.options.dtype)
        model = self._model(dtype).to(device=device, dtype=dtype).eval()
        self._vocabulary = model.config.vocab_size
        self._tokens = self._tokenizer(model)
        self._install(model)
        self._batch = Batch(model, device)
        count = sum(p.numel() for p in model.parameters())
        log.info("%s with %d parameters, %s on %s", type(model).__name__, count, dtype, device)

    def warm_up(self) -> None:
        """A few passes of one row, and of a full batch; then steps are taken as they are asked for."""
        from warpsmith.serving.torchsteps import Row

        for rows in sorted({1, self.options.max_batch}):
            made = [Row(Ask(tuple(range(1, WARM_PROMPT + 1)), WARM_TOKENS)) for _ in range(rows)]
            self._batch.join(made)
            for _ in range(WARM_TOKENS):
                self._batch.step()
            self._batch.keep([])
        self._thread = threading.Thread(target=self._steps, name="steps", daemon=True)
        self._thread.start()

    @property
    def limits(self) -> Limits:
        """As the model has them."""
        return Limits(self._context, min(256, self._context - 1), self._vocabulary)

    @property
    def occupancy(self) -> Occupancy:
        """At this moment."""
        return Occupancy(len(self._rows), len(self._waiting))

    def encode(self, text: str) -> Sequence[int]:
        """By the snapshot's tokenizer, or bytes."""
        return self._tokens.encode(text)

    def chat(self, messages: Sequence[Mapping[str, str]]) -> Sequence[int]:
        """By the snapshot's template, or bytes with roles."""
        return self._tokens.chat(messages)

    async def generate(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """The answer, token by token."""
        wanted = _Wanted(ask, self._tokens.reader())
        self._loop = asyncio.get_running_loop()
        with self._changed:
            self._waiting.append(wanted)
            self._changed.notify()
        try:
            while True:
                piece = await wanted.pieces.get()
                if isinstance(piece, Exception):
                    raise piece
                yield piece
                if piece.finish:
                    return
        finally:
            wanted.gone = True

    def stop(self) -> None:
        """End the steps."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(5.0)

    def _steps(self) -> None:
        """Pass after pass while there are rows. A pass that fails fails its rows; the next ones begin anew."""
        while True:
            with self._changed:
                while not self._ended and not self._waiting and not self._rows:
                    self._changed.wait()
                if self._ended:
                    return
                joining = self._joining()
            told: list[tuple[_Wanted, Piece | Exception]] = []
            try:
                self._batch.keep([row for row, wanted in self._rows.items() if not wanted.gone])
                self._rows = {row: self._rows[row] for row in self._batch.rows}
                if self._rows:
                    told += self._pieces(list(self._rows), self._batch.step())
                if joining:
                    self._rows |= joining
                    told += self._pieces(list(joining), self._batch.join(list(joining)))
                self._batch.keep(list(self._rows))
            except Exception as error:  # a kernel of the workspace may raise anything: the rows of its pass fail
                log.exception("a pass failed")
                told = [(wanted, error) for wanted in (self._rows | joining).values()]
                self._rows = {}
                self._batch.keep([])
            if self._loop is not None and told:
                self._loop.call_soon_threadsafe(_deliver, told)

    def _joining(self) -> dict[Any, _Wanted]:
        """Those that begin with the next pass."""
        from warpsmith.serving.torchsteps import Row

        there = sum(not wanted.gone for wanted in self._rows.values())
        room = self.options.max_batch - there if self.options.batching == "dynamic" or not there else 0
        joining: dict[Any, _Wanted] = {}
        while self._waiting and len(joining) < room:
            wanted = self._waiting.popleft()
            if not wanted.gone:
                joining[Row(wanted.ask)] = wanted
        return joining

    def _pieces(self, rows: Sequence[Any], chosen: Sequence[Any]) -> list[tuple[_Wanted, Piece | Exception]]:
        """What each row said; rows that are done leave."""
        told: list[tuple[_Wanted, Piece | Exception]] = []
        for row, one in zip(rows, chosen, strict=True):
            wanted, ask = self._rows[row], row.ask
            row.said += 1
            ends = one.token in self._tokens.ends and not ask.ignore_eos
            finish: Finish = "stop" if ends else "length" if row.said >= ask.max_tokens else ""
            text = wanted.reader.read(one.token, last=bool(finish))
            top = tuple(Likely(token, self._tokens.text(token), logprob) for token, logprob in one.top)
            told.append((wanted, Piece(one.token, text, one.logprob, finish, top, silent=ends)))
            if finish:
                del self._rows[row]
        return told

    def _model(self, dtype: Any) -> Any:
        """The model of the snapshot, or of the options, on the CPU. Raises BadInput."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        o, snapshot = self.options, self.given.snapshot
        attention = None if o.attention == "auto" else o.attention
        try:
            if snapshot is not None and _weights(snapshot):
                model = AutoModelForCausalLM.from_pretrained(
                    snapshot, local_files_only=True, attn_implementation=attention, dtype=dtype
                )
                self._context = int(getattr(model.config, "max_position_embeddings", o.context))
                return model
            config = AutoConfig.from_pretrained(snapshot, local_files_only=True) if snapshot else self._config()
            config.initializer_range = o.spread
            self._context = int(getattr(config, "max_position_embeddings", o.context))
            torch.manual_seed(o.seed)
            return AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise BadInput(f"the transformers backend: {error}", "See the options and the snapshot's files.") from error

    def _config(self) -> Any:
        """The shape that the options give. Raises ValueError for an architecture that is unknown."""
        from transformers import AutoConfig

        o = self.options
        return AutoConfig.for_model(
            o.architecture, vocab_size=o.vocabulary, hidden_size=o.hidden,
            intermediate_size=o.intermediate or 3 * o.hidden, num_hidden_layers=o.layers, num_attention_heads=o.heads,
            num_key_value_heads=o.kv_heads, head_dim=o.hidden // o.heads, max_position_embeddings=o.context,
            bos_token_id=None, eos_token_id=None, pad_token_id=None,
        )  # fmt: skip

    def _tokenizer(self, model: Any) -> Tokens:
        snapshot = self.given.snapshot
        if snapshot is None or not any(snapshot.glob("tokenizer*")):
            if model.config.vocab_size < LEAST:
                raise BadInput("the snapshot has no tokenizer, and too few tokens for one of bytes.", "Add its files.")
            return ByteTokens(model.config.vocab_size)
        from warpsmith.serving.snapshottokens import SnapshotTokens

        return SnapshotTokens.of(snapshot, model.generation_config.eos_token_id)

    def _install(self, model: Any) -> None:
        """Let the workspace replace what it likes. Raises BadInput where there is no such function."""
        if not self.options.install:
            return
        module, _, name = self.options.install.partition(":")
        try:
            function = getattr(import_module(module), name or "install")
        except (ModuleNotFoundError, AttributeError) as error:
            raise BadInput(
                f"install = {self.options.install!r}: {error}.", "Name a module of the workspace."
            ) from error
        log.info("%s installed: %s", self.options.install, function(model))


def make(given: Given) -> Transformers:
    """The backend with its options. Raises BadInput."""
    return Transformers(given)


def _weights(snapshot: Path) -> bool:
    """Whether a snapshot has more than a configuration."""
    return any(any(snapshot.glob(pattern)) for pattern in ("*.safetensors", "*.bin"))


def _deliver(told: Sequence[tuple[_Wanted, Piece | Exception]]) -> None:
    for wanted, piece in told:
        wanted.pieces.put_nowait(piece)
