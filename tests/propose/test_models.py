"""Both wire formats through the real SDKs against a real server: tries, continuations, caches, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.propose.askers import ENVIRONMENT, NEVER, RULES, Still, ask
from tests.propose.server import KEY, Received, Server, fails, tokens
from tests.propose.speaking import Scripted
from warpsmith.model.asks import AskRecord, Usage
from warpsmith.model.campaign import Budget
from warpsmith.propose.llm.asking import AskError, Block, Declined, Message, Refused, Unreachable, said
from warpsmith.propose.llm.caller import Caller, Pace
from warpsmith.propose.llm.connecting import connect
from warpsmith.propose.llm.names import parse
from warpsmith.propose.llm.prices import Prices
from warpsmith.propose.llm.purse import Purse, Spent
from warpsmith.propose.llm.wire import Timeouts, Wire

Naming = Callable[[Server], str]
NAMINGS: dict[str, Naming] = {"anthropic": Server.anthropic, "openai": Server.openai}
OPEN: list[Wire] = []
"""Connections of the test under way."""
LONG = "".join(f"line {n} of the file\n" for n in range(200))


@pytest.fixture(params=sorted(NAMINGS))
def naming(request: pytest.FixtureRequest) -> Naming:
    return NAMINGS[request.param]


@pytest.fixture
def still() -> Still:
    return Still()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def connections_are_closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def caller(name: str, pace: Pace, read: float = 10.0) -> Caller:
    model = parse(name)
    key = model.key(ENVIRONMENT)
    wire = connect(model, key, Timeouts(connect=2.0, read=read), "5m")
    OPEN.append(wire)
    return Caller(model, wire, Prices().of(str(model)), pace, key)


def purse() -> Purse:
    return Purse(Budget(), Spent())


def failed(record: AskRecord) -> list[str]:
    return [t.ending for t in record.tries]


def test_an_answer_comes_whole_with_what_the_provider_counted(naming: Naming, still: Still) -> None:
    with Server(["Here: é and 核.\n" * 40]) as server:
        text, record = caller(naming(server), still.pace()).call(ask(), purse(), NEVER)
    assert text == "Here: é and 核.\n" * 40
    sent = server.requests[0]
    assert record.usage == sent.usage
    assert record.usage.prompt == tokens(RULES) + tokens("Make it faster.")
    assert (failed(record), record.tries[0].request_id, record.tries[0].estimated) == (["answered"], "req_1", False)
    assert (record.role, record.continuations, record.truncated, record.error) == ("propose", 0, False, "")
    assert record.model == naming(server).removesuffix("#TEST_KEY")
    assert sent.key == KEY
    assert sent.body["stream"] is True
    assert RULES in sent.prompt


def test_every_failure_that_may_pass_is_tried_again(naming: Naming, still: Still) -> None:
    script = [
        fails(429, retry_after=7),
        fails(529),
        fails(500),
        Scripted(text=LONG, cut_after=300),
        Scripted(text=LONG, cut_after=300, ends_early=True),
        "whole",
    ]
    with Server(script) as server:
        text, record = caller(naming(server), still.pace()).call(ask(), purse(), NEVER)
    assert text == "whole"
    endings = ["rate_limited", "overloaded", "server_error", "stream_cut", "stream_cut", "answered"]
    assert failed(record) == endings
    assert [t.status for t in record.tries[:3]] == [429, 529, 500]
    assert [t.request_id for t in record.tries] == [f"req_{n}" for n in range(1, 7)]
    assert still.waits[0] == 7, "the server asked for that"
    assert [t.waited for t in record.tries] == [*still.waits, 0.0]
    assert all(2.0 ** (n - 1) / 2 <= w <= 2.0 ** (n - 1) for n, w in enumerate(still.waits[1:], 2))
    cut = record.tries[3]
    assert cut.estimated
    assert cut.usage.output >= 300 // 8, "what came before the cut is paid for"
    assert record.usage.total == sum(t.usage.total for t in record.tries)
    assert record.cost == sum((t.cost for t in record.tries if t.cost is not None), Decimal())


def test_an_error_inside_a_stream_says_what_it_is(still: Still) -> None:
    script = [Scripted(text=LONG, cut_after=100, stream_error="overloaded_error"), "whole"]
    with Server(script) as server:
        _, record = caller(server.anthropic(), still.pace()).call(ask(), purse(), NEVER)
    assert failed(record) == ["overloaded", "answered"]
    assert record.tries[0].status == 529
    assert record.tries[0].usage.prompt == record.tries[1].usage.prompt, "the prompt was read, and is billed"


def test_after_the_last_try_the_ask_failed(naming: Naming, still: Still) -> None:
    with Server([fails(529)] * 4) as server, pytest.raises(Unreachable) as caught:
        caller(naming(server), still.pace(tries=4)).call(ask(), purse(), NEVER)
    assert "4 tries" in caught.value.message
    assert len(still.waits) == 3, "nobody waits after the last"
    (record,) = caught.value.asks
    assert failed(record) == ["overloaded"] * 4
    assert record.error == caught.value.message
    assert record.cost == 0


def test_a_server_that_is_not_there(naming: Naming, still: Still) -> None:
    with Server() as server:
        name = naming(server)
    with pytest.raises(Unreachable) as caught:
        caller(name, still.pace(tries=2)).call(ask(), purse(), NEVER)
    assert failed(caught.value.asks[0]) == ["unreachable"] * 2


def test_a_server_that_stalls_is_left_after_a_while(naming: Naming, still: Still) -> None:
    held = Event()
    with Server([Scripted(text="late", waits=held), "in time"]) as server:
        text, record = caller(naming(server), still.pace(), read=0.2).call(ask(), purse(), NEVER)
        held.set()
    assert text == "in time"
    assert failed(record) == ["timed_out", "answered"]


def test_a_cut_answer_is_continued_until_it_is_whole(naming: Naming, still: Still) -> None:
    with Server([LONG]) as server:
        text, record = caller(naming(server), still.pace()).call(ask(max_tokens=333), purse(), NEVER)
    assert text == LONG
    parts = -(-tokens(LONG) // 333)
    assert failed(record) == ["cut_short"] * (parts - 1) + ["answered"]
    assert record.continuations == parts - 1 == len(server.requests) - 1
    assert not record.truncated
    assert record.usage.output == sum(r.usage.output for r in server.requests)
    assert "Go on with the very next character" in server.requests[1].last


def test_models_that_take_the_beginning_of_their_answer_get_it(still: Still) -> None:
    text = "word  \n\n" * 300
    with Server([text]) as server:
        whole, record = caller(server.anthropic("claude-haiku-4-5"), still.pace()).call(
            ask(max_tokens=101), purse(), NEVER
        )
    assert whole == text, "white space at a seam is neither lost nor doubled"
    assert record.continuations > 3
    assert server.requests[1].body["messages"][-1]["role"] == "assistant"


def test_what_a_model_repeats_at_a_seam_is_left_out(naming: Naming, still: Still) -> None:
    source = "```c k.c\n" + "".join(f"float x{n} = a[{n}] * b[{n}];\n" for n in range(60)) + "```\n"

    class Repeating(Server):
        def _next(self, received: Received) -> Scripted:
            scripted = super()._next(received)
            if not scripted.goes_on:
                return scripted
            said_again = "```c\n" + scripted.goes_on[-50:] + scripted.text
            return Scripted(text=said_again, goes_on=scripted.goes_on)

    with Repeating([source]) as server:
        text, record = caller(naming(server), still.pace()).call(ask(max_tokens=300), purse(), NEVER)
    assert text == source
    assert record.continuations == 1


def test_an_answer_that_never_ends_is_cut_and_says_so(naming: Naming, still: Still) -> None:
    with Server([LONG]) as server:
        text, record = caller(naming(server), still.pace(continuations=2)).call(ask(max_tokens=50), purse(), NEVER)
    assert LONG.startswith(text)
    assert len(text) == 3 * 200
    assert record.truncated
    assert record.continuations == 2


def test_where_all_went_into_thinking_the_next_try_gets_more_room(still: Still) -> None:
    with Server([Scripted(text="thought through", thinking=64)]) as server:
        text, record = caller(server.anthropic(), still.pace()).call(ask(max_tokens=64), purse(), NEVER)
    assert text == "thought through"
    assert [r.body["max_tokens"] for r in server.requests] == [64, 128]
    assert record.tries[0].usage.output == 64


def test_a_model_that_declines(naming: Naming, still: Still) -> None:
    with Server([Scripted(text="I would rather not.", declines=True)]) as server, pytest.raises(Declined) as caught:
        caller(naming(server), still.pace()).call(ask(), purse(), NEVER)
    assert "I would rather not" in caught.value.message
    assert failed(caught.value.asks[0]) == ["declined"]
    assert caught.value.asks[0].usage.output > 0


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_what_is_refused_is_not_tried_again(naming: Naming, still: Still, status: int) -> None:
    with Server([fails(status, message=f"bad, like the key {KEY}")]) as server, pytest.raises(Refused) as caught:
        caller(naming(server), still.pace()).call(ask(), purse(), NEVER)
    assert len(server.requests) == 1
    assert caught.value.remedy
    assert KEY not in str(caught.value) + caught.value.asks[0].model_dump_json()


def test_a_wrong_key_is_named_by_its_variable(naming: Naming, still: Still) -> None:
    with Server(["never said"], key="another") as server, pytest.raises(Refused) as caught:
        caller(naming(server), still.pace()).call(ask(), purse(), NEVER)
    assert "TEST_KEY" in caught.value.message
    assert KEY[:12] not in str(caught.value) + caught.value.asks[0].model_dump_json()


def test_no_money_left_at_the_provider_is_no_rate_limit(naming: Naming, still: Still) -> None:
    with Server([fails(429, message="insufficient_quota: check your plan")]) as server, pytest.raises(Refused):
        caller(naming(server), still.pace()).call(ask(), purse(), NEVER)
    assert len(server.requests) == 1


def stopped(one: Caller, stop: Event, reached: Event) -> AskError:
    """How an ask ends that is stopped once ``reached`` is set; that it ends at all."""
    found: list[AskError] = []

    def run() -> None:
        try:
            one.call(ask(), purse(), stop)
        except AskError as error:
            found.append(error)

    thread = Thread(target=run)
    thread.start()
    assert reached.wait(10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    return found[0]


def test_stopping_ends_a_pause_and_a_stream(naming: Naming) -> None:
    stop = Event()
    paused = Event()

    def wait(event: Event, seconds: float) -> None:
        paused.set()
        event.wait(30)

    with Server([fails(529), "never asked for"]) as server:
        assert isinstance(stopped(caller(naming(server), Pace(wait=wait)), stop, paused), Unreachable)
    assert len(server.requests) == 1

    with Server([LONG]) as server, pytest.raises(Unreachable, match="stopped"):
        caller(naming(server), Pace()).call(ask(), purse(), stop)


def test_stopping_does_not_wait_for_a_silent_server(naming: Naming, still: Still) -> None:
    stop, held, asked = Event(), Event(), Event()

    def answer(received: Received) -> Scripted:
        asked.set()
        return Scripted(text="late", waits=held)

    with Server(answer=answer) as server:
        end = stopped(caller(naming(server), still.pace(), read=60.0), stop, asked)
        held.set()
    assert isinstance(end, Unreachable)
    assert failed(end.asks[0]) == ["stream_cut"]


def test_stable_blocks_are_read_from_the_cache_from_the_second_ask_on(still: Still) -> None:
    with Server(answer=lambda received: Scripted(text="ok")) as server:
        one = caller(server.anthropic(), still.pace())
        records = [one.call(ask(f"attempt {n}", facts=f"facts {n}"), purse(), NEVER)[1] for n in range(3)]
    assert records[0].usage.cache_write == tokens(RULES)
    assert records[0].usage.cache_read == 0
    for record in records[1:]:
        assert (record.usage.cache_read, record.usage.cache_write) == (tokens(RULES), 0)
    stable = {b.digest for r in records for b in r.blocks if b.stable}
    assert len(stable) == 1
    assert len({b.digest for r in records for b in r.blocks if b.name == "facts"}) == 3


def test_one_changed_byte_in_a_stable_block_is_read_anew(still: Still) -> None:
    with Server(answer=lambda received: Scripted(text="ok")) as server:
        one = caller(server.anthropic(), still.pace())
        one.call(ask(), purse(), NEVER)
        record = one.call(ask(rules=RULES + "!"), purse(), NEVER)[1]
    assert record.usage.cache_read == 0
    assert record.usage.cache_write == tokens(RULES + "!")


def test_a_conversation_that_is_sent_again_is_cached_up_to_its_mark(still: Still) -> None:
    first = ask()
    source = Message(role="user", blocks=(Block(name="source", text="float x;" * 100),), stable=True)
    again = first.model_copy(update={"messages": (source, said("assistant", "tried"), said("user", "fix it"))})
    with Server(answer=lambda received: Scripted(text="ok")) as server:
        one = caller(server.anthropic(), still.pace())
        one.call(first.model_copy(update={"messages": (source,)}), purse(), NEVER)
        record = one.call(again, purse(), NEVER)[1]
    assert record.usage.cache_read == tokens(RULES) + tokens(source.text)


def test_a_prefix_below_the_providers_minimum_is_no_cache_read(still: Still) -> None:
    with Server(answer=lambda received: Scripted(text="ok"), minimum=4096) as server:
        one = caller(server.anthropic(), still.pace())
        records = [one.call(ask(), purse(), NEVER)[1] for _ in range(2)]
    assert [r.usage.cache_read + r.usage.cache_write for r in records] == [0, 0]


def test_an_openai_server_says_what_it_cached_by_itself(still: Still) -> None:
    rules = RULES * 4
    with Server(answer=lambda received: Scripted(text="ok")) as server:
        one = caller(server.openai(), still.pace())
        records = [one.call(ask(f"{n}", rules=rules), purse(), NEVER)[1] for n in range(2)]
    assert records[0].usage.cache_read == 0
    assert tokens(rules) - 128 < records[1].usage.cache_read <= tokens(rules)
    assert records[1].usage.prompt == server.requests[1].usage.prompt


def test_where_a_server_counts_nothing_tokens_are_estimated_and_that_is_said(still: Still) -> None:
    with Server([Scripted(text=LONG, silent=True)]) as server:
        _, record = caller(server.openai(), still.pace()).call(ask(), purse(), NEVER)
    assert record.tries[0].estimated
    assert 0.5 < record.usage.output / tokens(LONG) < 2.5
    assert record.usage.input > 0


def test_the_server_speaks_without_streaming_too() -> None:
    import anthropic
    import openai

    with Server(["one", "two"]) as server:
        with anthropic.Anthropic(api_key=KEY, base_url=server.url, max_retries=0) as client:
            said_so = client.messages.create(
                model="claude-opus-5-5", max_tokens=9, messages=[{"role": "user", "content": "?"}]
            )
        with openai.OpenAI(api_key=KEY, base_url=f"{server.url}/v1", max_retries=0) as other:
            completed = other.chat.completions.create(
                model="gpt", max_tokens=9, messages=[{"role": "user", "content": "?"}]
            )
    assert said_so.content[0].to_dict()["text"] == "one"
    assert completed.choices[0].message.content == "two"
    assert Usage(input=said_so.usage.input_tokens, output=said_so.usage.output_tokens) == server.requests[0].usage


def test_a_missing_sdk_names_the_extra(naming: Naming, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    from warpsmith.errors import Missing

    name = "anthropic" if naming is Server.anthropic else "openai"
    monkeypatch.setitem(sys.modules, name, None)
    with Server() as server, pytest.raises(Missing, match=r"pip install 'warpsmith\[llm\]'"):
        caller(naming(server), Pace())
