"""Anthropic's Messages format over its own SDK: one streamed request. Retries, money and joining are the caller's.

What is stable is marked with ``cache_control``: the end of the stable system blocks, and the messages that say so.
The provider then bills that prefix as a cache read in the next asks, as long as it is byte-identical and long enough
(512 to 4,096 tokens, by model), and no more than five minutes (or an hour) went by.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from warpsmith.errors import Missing
from warpsmith.model.asks import Ending, Usage
from warpsmith.propose.llm.asking import Ask, Block
from warpsmith.propose.llm.wire import Answer, Timeouts, TryFailed, continuation, cut, from_status, seconds_of

if TYPE_CHECKING:
    import anthropic

Lifetime = Literal["5m", "1h"]
"""How long a cached prefix lives after its last use."""
PREFILLS = re.compile(r"claude-(opus|sonnet|haiku)-4-5(-\d+)?")
"""Models that go on from the beginning of their own answer. Later ones refuse that, so they are asked to go on."""
IN_STREAM = {"overloaded_error": 529, "rate_limit_error": 429, "api_error": 500, "timeout_error": 504}
"""Kinds of errors that come inside a stream which began with status 200."""
ENDINGS: dict[str, Ending] = {
    "max_tokens": "cut_short",
    "refusal": "declined",
    "model_context_window_exceeded": "declined",
}


class AnthropicWire:
    """One model of one server. Raises Missing where the SDK is not installed."""

    def __init__(self, name: str, key: str, url: str | None, timeouts: Timeouts, lifetime: Lifetime = "5m") -> None:
        try:
            import anthropic
            import httpx2
        except ImportError:
            raise Missing("the package 'anthropic' is not installed.", "Run: pip install 'warpsmith[llm]'.") from None
        self.name = name
        self.prefills = PREFILLS.fullmatch(name) is not None
        self.lifetime = lifetime
        times = httpx2.Timeout(timeouts.read, connect=timeouts.connect)
        self._client = anthropic.Anthropic(api_key=key or "none", base_url=url, max_retries=0, timeout=times)

    def send(self, ask: Ask, partial: str, max_tokens: int, stopped: Callable[[], bool]) -> Answer:
        """See :class:`Wire`."""
        seen = _Seen()
        with _failures(seen):
            stream = self._client.messages.create(
                model=self.name,
                max_tokens=max_tokens,
                system=self._system(ask),
                messages=self._messages(ask, partial),
                stream=True,
            )
            with stream:
                seen.request_id = stream.response.headers.get("request-id", "")
                for event in stream:
                    seen.take(event)
                    if stopped():
                        raise seen.cut("stopped")
        return seen.answer()

    def close(self) -> None:
        """See :class:`Wire`."""
        self._client.close()

    def _system(self, ask: Ask) -> Any:
        last = max((i for i, b in enumerate(ask.system) if b.stable), default=None)
        return [self._part(b, cached=i == last) for i, b in enumerate(ask.system)]

    def _messages(self, ask: Ask, partial: str) -> Any:
        turns: list[dict[str, Any]] = [
            {
                "role": m.role,
                "content": [self._part(b, cached=m.stable and b is m.blocks[-1]) for b in m.blocks],
            }
            for m in ask.messages
        ]
        if not partial:
            return turns
        turns.append({"role": "assistant", "content": partial.rstrip()})  # it may not end in white space
        if not self.prefills:
            turns.append({"role": "user", "content": continuation(partial)})
        return turns

    def _part(self, block: Block, *, cached: bool) -> dict[str, Any]:
        part: dict[str, Any] = {"type": "text", "text": block.text}
        if cached:
            part["cache_control"] = {"type": "ephemeral", "ttl": self.lifetime}
        return part


class _Seen:
    """What a stream has said so far."""

    def __init__(self) -> None:
        self.request_id = ""
        self.usage: Usage | None = None
        self.text = ""
        self.model = ""
        self.reason: str | None = None
        self.over = False

    def take(self, event: anthropic.types.RawMessageStreamEvent) -> None:
        """Note one event. The counts of an event go over those of earlier ones: they are cumulative."""
        if event.type == "message_start":
            counted = event.message.usage
            self.model = event.message.model
            self.usage = Usage(
                input=counted.input_tokens,
                cache_write=counted.cache_creation_input_tokens or 0,
                cache_read=counted.cache_read_input_tokens or 0,
                output=counted.output_tokens,
            )
        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
            self.text += event.delta.text
        elif event.type == "message_delta":
            self.reason = event.delta.stop_reason
            self.usage = (self.usage or Usage()).model_copy(update={"output": event.usage.output_tokens})
        elif event.type == "message_stop":
            self.over = True

    def cut(self, why: str) -> TryFailed:
        """The stream broke."""
        return cut(self.usage, self.text, why, self.request_id)

    def answer(self) -> Answer:
        """The answer. Raises TryFailed where the stream ended before the message did."""
        if not self.over or self.usage is None:
            raise self.cut("the stream ended before the message did")
        ending = ENDINGS.get(self.reason or "", "answered")
        return Answer(self.text, ending, self.usage, self.model, self.request_id)


@contextmanager
def _failures(seen: _Seen) -> Iterator[None]:
    """Turn what the SDK and the network raise into TryFailed."""
    import anthropic
    import httpx2

    try:
        yield
    except anthropic.APITimeoutError as error:
        raise TryFailed("timed_out", error.message) from None
    except anthropic.APIConnectionError as error:
        raise TryFailed("unreachable", f"{error.message} {error.__cause__ or ''}".strip()) from None
    except anthropic.APIStatusError as error:
        status, detail = error.status_code, error.api_message or error.message
        after = seconds_of(error.response.headers.get("retry-after"))
        if status < 400:
            status = IN_STREAM.get(str(error.type), 500)
        failed = from_status(status, detail, after, error.request_id or seen.request_id)
        failed.usage = seen.cut("").usage
        raise failed from None
    except (httpx2.HTTPError, ValueError) as error:  # the connection, or half a line of JSON
        raise seen.cut(f"{type(error).__name__}: {error}") from None
