"""The chat completions format of OpenAI over its SDK, for every server that speaks it: one streamed request.

Such servers cache prefixes by themselves, so stable blocks only have to come first, and they do. Where a server does
not say what it counted, the tokens are estimated, and the record says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from warpsmith.errors import Missing
from warpsmith.model.asks import Ending, Usage
from warpsmith.propose.llm.asking import Ask
from warpsmith.propose.llm.tokens import estimate
from warpsmith.propose.llm.wire import Answer, Timeouts, TryFailed, continuation, cut, from_status, seconds_of

if TYPE_CHECKING:
    from openai.types import CompletionUsage
    from openai.types.chat import ChatCompletionChunk

ENDINGS: dict[str, Ending] = {"length": "cut_short", "content_filter": "declined"}


class OpenAIWire:
    """One model of one server. Raises Missing where the SDK is not installed."""

    def __init__(self, name: str, key: str, url: str | None, timeouts: Timeouts) -> None:
        try:
            import httpx2
            import openai
        except ImportError:
            raise Missing("the package 'openai' is not installed.", "Run: pip install 'warpsmith[llm]'.") from None
        self.name = name
        self.prefills = False
        self._limit = "max_completion_tokens" if url is None else "max_tokens"
        """Older servers know only the older word; OpenAI's models refuse it."""
        times = httpx2.Timeout(timeouts.read, connect=timeouts.connect)
        self._client = openai.OpenAI(api_key=key or "none", base_url=url, max_retries=0, timeout=times)

    def send(self, ask: Ask, partial: str, max_tokens: int, stopped: Callable[[], bool]) -> Answer:
        """See :class:`Wire`."""
        messages = _messages(ask, partial)
        seen = _Seen(sum(estimate(m["content"]) for m in messages))
        limit: dict[str, Any] = {self._limit: max_tokens}
        with _failures(seen):
            stream = self._client.chat.completions.create(
                model=self.name, messages=messages, stream=True, stream_options={"include_usage": True}, **limit
            )
            seen.begun = True
            with stream:
                seen.request_id = stream.response.headers.get("x-request-id", "")
                for chunk in stream:
                    seen.take(chunk)
                    if stopped():
                        raise seen.cut("stopped")
        return seen.answer()

    def close(self) -> None:
        """See :class:`Wire`."""
        self._client.close()


def _messages(ask: Ask, partial: str) -> Any:
    system = "\n\n".join(b.text for b in ask.system)
    turns = [{"role": "system", "content": system}] if system else []
    turns += [{"role": m.role, "content": m.text} for m in ask.messages]
    if partial:
        turns += [{"role": "assistant", "content": partial}, {"role": "user", "content": continuation(partial)}]
    return turns


class _Seen:
    """What a stream has said so far; ``prompt`` is our estimate of its tokens."""

    def __init__(self, prompt: int) -> None:
        self.request_id = ""
        self.begun = False
        self.prompt = prompt
        self.usage: Usage | None = None
        self.text = ""
        self.refusal = ""
        self.model = ""
        self.reason: str | None = None

    def take(self, chunk: ChatCompletionChunk) -> None:
        """Note one chunk. The last one has usage and no choices."""
        self.model = chunk.model or self.model
        if chunk.usage is not None:
            self.usage = _usage(chunk.usage)
        for choice in chunk.choices:
            self.text += choice.delta.content or ""
            self.refusal += choice.delta.refusal or ""
            self.reason = choice.finish_reason or self.reason

    def cut(self, why: str) -> TryFailed:
        """The stream broke."""
        begun = Usage(input=self.prompt) if self.text else None
        return cut(self.usage or begun, self.text, why, self.request_id)

    def answer(self) -> Answer:
        """The answer. Raises TryFailed where the stream ended before the message did."""
        if self.reason is None:
            raise self.cut("the stream ended before the message did")
        ending: Ending = "declined" if self.refusal else ENDINGS.get(self.reason, "answered")
        guessed = Usage(input=self.prompt, output=estimate(self.text))
        return Answer(
            self.text or self.refusal, ending, self.usage or guessed, self.model, self.request_id, self.usage is None
        )


def _usage(counted: CompletionUsage) -> Usage:
    details = counted.prompt_tokens_details
    read = (details.cached_tokens or 0) if details else 0
    written = (details.cache_write_tokens or 0) if details else 0
    return Usage(
        input=max(0, counted.prompt_tokens - read - written),
        cache_write=written,
        cache_read=read,
        output=counted.completion_tokens,
    )


@contextmanager
def _failures(seen: _Seen) -> Iterator[None]:
    """Turn what the SDK and the network raise into TryFailed."""
    import httpx2
    import openai

    try:
        yield
    except openai.APITimeoutError as error:
        raise _broken(seen, "timed_out", error.message) from None
    except openai.APIConnectionError as error:
        raise _broken(seen, "unreachable", f"{error.message} {error.__cause__ or ''}".strip()) from None
    except openai.APIStatusError as error:
        after = seconds_of(error.response.headers.get("retry-after"))
        detail = f"{error.code or ''} {error.message}".strip()
        raise from_status(error.status_code, detail, after, error.request_id or seen.request_id) from None
    except openai.APIError as error:  # an error inside a stream
        raise seen.cut(error.message) from None
    except (httpx2.HTTPError, ValueError) as error:  # the connection, or half a line of JSON
        raise seen.cut(f"{type(error).__name__}: {error}") from None


def _broken(seen: _Seen, ending: Ending, detail: str) -> TryFailed:
    """A connection that failed: before an answer began, or in the middle of one."""
    return seen.cut(detail) if seen.begun else TryFailed(ending, detail)
