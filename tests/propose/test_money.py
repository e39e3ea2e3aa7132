"""Money: exact prices, budgets that are never exceeded, what a gain cost."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import BASELINE, ENTRY, KERNEL, candidate, measured
from tests.propose.askers import ask, asker, opened, started, step
from tests.propose.server import Server, fails
from tests.propose.speaking import Scripted
from warpsmith.analyse.costs import costs
from warpsmith.analyse.standing import standing
from warpsmith.campaign import asking_ends
from warpsmith.errors import BadInput
from warpsmith.model.asks import AskRecord, Try, Usage
from warpsmith.model.campaign import Budget, Finished, Opened
from warpsmith.model.evaluation import Effort
from warpsmith.model.step import Fault, Measure, Proposal, Step
from warpsmith.propose.llm.asking import BudgetSpent
from warpsmith.propose.llm.prices import Price, Prices, cents
from warpsmith.propose.llm.purse import LEAST, Purse, Spent
from warpsmith.store.history import History
from warpsmith.surface.asked import sentence

OPUS = {"input": "4", "cache_write": "5", "cache_read": "0.20", "output": "20"}
COUNTS = st.integers(min_value=0, max_value=3_000_000)
USAGES = st.builds(Usage, input=COUNTS, cache_write=COUNTS, cache_read=COUNTS, output=COUNTS)
LONG = "".join(f"line {n} of the file\n" for n in range(300))


def test_prices_are_those_of_the_providers_pages() -> None:
    opus = Prices().of("anthropic:claude-opus-5-5")
    assert opus is not None
    usage = Usage(input=1_000_000, cache_write=1_000_000, cache_read=1_000_000, output=1_000_000)
    assert opus.of(Usage(input=1000, cache_write=2000, cache_read=3000, output=400)) == Decimal("0.0226")
    assert opus.of(usage, long_cache=True) - opus.of(usage) == Decimal(3)


def test_a_long_prompt_costs_other_rates_altogether() -> None:
    haiku = Prices().of("anthropic:claude-haiku-5-5")
    assert haiku is not None
    assert haiku.of(Usage(input=100_000, output=1000)) == Decimal("0.0105")
    assert haiku.of(Usage(input=50_000, cache_read=50_001, output=1000)) == Decimal("0.0300000500").normalize()


def test_names_find_their_price(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(
        '[models."openai:local@http://here/v1"]\ninput = 0\noutput = 0\n'
        '[models."openai:gpt-6.2-sol@http://dear/v1"]\ninput = 20\noutput = 0.1\n'
    )
    prices = Prices(own)
    assert prices.of("anthropic:claude-opus-5-5@http://gateway") == prices.of("anthropic:claude-opus-5-5")
    assert prices.of("anthropic:claude-haiku-4-5-20251001") == prices.of("anthropic:claude-haiku-4-5") is not None
    assert prices.of("openai:nobody") is None
    free, dear = prices.of("openai:local@http://here/v1"), prices.of("openai:gpt-6.2-sol@http://dear/v1")
    assert free is not None
    assert dear is not None
    assert free.of(Usage(input=10**6, output=10**6)) == 0
    assert dear.output == Decimal("0.1"), "a decimal of the file, not the nearest binary fraction"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x", "not TOML"),
        ("rates = 1", r"only tables \[models"),
        ('[models."a:b"]\ninput = -1\noutput = 1', "a:b: input"),
        ('[models."a:b"]\ninput = 1', "a:b: output"),
        ('[models."a:b"]\ninput = 1\noutput = 1\nfoo = 1', "a:b: foo"),
    ],
)
def test_a_wrong_price_table_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(text)
    with pytest.raises(BadInput, match=complaint) as caught:
        Prices(own)
    assert str(own) in caught.value.message
    with pytest.raises(BadInput, match="nowhere"):
        Prices(tmp_path / "nowhere.toml")


@given(st.lists(USAGES, max_size=20))
def test_costs_add_up_to_the_last_digit(usages: list[Usage]) -> None:
    opus = Prices().of("anthropic:claude-opus-5-5")
    assert opus is not None
    hundredths = sum(u.input * 400 + u.cache_write * 500 + u.cache_read * 20 + u.output * 2000 for u in usages)
    assert sum((opus.of(u) for u in usages), Decimal()) * 10**8 == hundredths


@pytest.mark.parametrize(
    ("money", "text"),
    [("0", "$0.00"), ("1.005", "$1.00"), ("1.015", "$1.02"), ("12.3", "$12.30"), ("0.01", "$0.01"),
     ("0.00123456", "$0.0012"), ("0.0000004", "$0.00000040")],
)  # fmt: skip
def test_money_is_shown_to_the_cent_and_below_it(money: str, text: str) -> None:
    assert cents(Decimal(money)) == text


@given(
    money=st.decimals(min_value=0, max_value=5, places=4),
    limit=st.integers(min_value=0, max_value=300_000),
    calls=st.integers(min_value=0, max_value=9),
    asks=st.lists(st.tuples(st.integers(1, 50_000), st.integers(1, 64_000), st.floats(0, 1), st.floats(0, 1))),
)
def test_no_budget_is_ever_exceeded(
    money: Decimal, limit: int, calls: int, asks: list[tuple[int, int, float, float]]
) -> None:
    price = Prices().of("anthropic:claude-opus-5-5")
    assert price is not None
    purse = Purse(Budget(money=money, tokens=limit, calls=calls), Spent())
    spent = Spent()
    for prompt, wanted, read, written in asks:
        try:
            grant = purse.grant(prompt, wanted, price)
        except BudgetSpent:
            continue
        assert min(LEAST, wanted) <= grant.max_tokens <= wanted
        usage = Usage(cache_write=int(prompt * read), output=int(grant.max_tokens * written))
        purse.settle(grant, usage, price.of(usage))
        spent += Spent(price.of(usage), usage.total, 1)
        assert purse.spent == spent, "what was reserved is given back"
    assert spent.money <= money
    assert spent.tokens <= limit
    assert spent.calls <= calls


def test_asks_side_by_side_share_what_is_left() -> None:
    price = Price(input=Decimal(0), output=Decimal(10))
    purse = Purse(Budget(money=Decimal("0.10")), Spent())
    first = purse.grant(100, 8000, price)
    assert first.max_tokens == 8000
    assert purse.grant(100, 8000, price).max_tokens == 2000, "the first may still take its eight cents"
    with pytest.raises(BudgetSpent):
        purse.grant(100, 8000, price)
    purse.settle(first, Usage(output=100), price.of(Usage(output=100)))
    assert purse.grant(100, 8000, price).max_tokens == 7900


def test_the_bill_of_a_sitting_is_that_of_the_server(tmp_path: Path) -> None:
    script: list[str | Scripted] = ["one", fails(429), "two" * 50, LONG]
    with Server(script) as server:
        door = asker(server, tmp_path)
        sitting = door.sitting(step(), opened())
        replies = [sitting.ask(ask(f"ask {n}", max_tokens=700)) for n in range(3)]
        door.close()
    assert sum((r.cost or Decimal() for r in replies), Decimal()) == server.bill(**OPUS)
    assert server.bill(**OPUS) > 0
    h = started(opened(), step()) + finished(step(), Proposal(candidates=(), asks=sitting.asks))
    assert h.money == server.bill(**OPUS)
    assert h.calls == len(server.requests)
    assert h.tokens == sum(r.usage.total for r in server.requests)


@pytest.mark.parametrize("limit", ["calls", "tokens", "money"])
def test_a_budget_ends_a_chain_of_retries(tmp_path: Path, limit: str) -> None:
    budget = {"calls": Budget(calls=2), "tokens": Budget(tokens=0), "money": Budget(money=Decimal("0.0001"))}[limit]
    with Server([fails(529)] * 9) as server:
        door = asker(server, tmp_path, budget)
        sitting = door.sitting(step(), opened(budget))
        with pytest.raises(BudgetSpent) as caught:
            sitting.ask(ask())
        door.close()
    assert caught.value.limit == limit
    assert len(server.requests) == (2 if limit == "calls" else 0)
    assert sum(len(r.tries) for r in caught.value.asks) == len(server.requests)


def test_a_budget_ends_a_chain_of_continuations_with_what_there_is(tmp_path: Path) -> None:
    budget = Budget(calls=3)
    with Server([LONG]) as server:
        door = asker(server, tmp_path, budget)
        reply = door.sitting(step(), opened(budget)).ask(ask(max_tokens=100))
        door.close()
    assert reply.truncated
    assert reply.text == LONG[: 3 * 400]
    assert len(server.requests) == 3


def test_the_last_reply_is_shortened_to_what_money_is_left(tmp_path: Path) -> None:
    budget = Budget(money=Decimal("0.06"))
    with Server([LONG * 20]) as server:
        door = asker(server, tmp_path, budget)
        sitting = door.sitting(step(), opened(budget))
        reply = sitting.ask(ask(max_tokens=30_000))
        with pytest.raises(BudgetSpent) as caught:
            sitting.ask(ask("more", max_tokens=30_000))
        door.close()
    assert reply.truncated
    assert 0 < server.requests[0].body["max_tokens"] < 30_000
    assert server.bill(**OPUS) <= budget.money
    assert caught.value.limit == "money"


def test_what_was_spent_before_counts(tmp_path: Path) -> None:
    budget = Budget(calls=2)
    before = started(opened(budget), step())
    before = before + finished(step(), Proposal(candidates=(), asks=(record(calls=2),)))
    with Server() as server:
        door = asker(server, tmp_path, budget)
        with pytest.raises(BudgetSpent):
            door.sitting(step(1), before).ask(ask())
        door.close()
        assert not server.requests


def test_a_budget_of_money_needs_a_price(tmp_path: Path) -> None:
    with Server() as server:
        name = server.openai("nobody-knows")
        with pytest.raises(BadInput, match="no price is known for openai:nobody-knows"):
            asker(name, tmp_path, Budget(money=Decimal(1)))
        own = tmp_path / "prices.toml"
        own.write_text(f'[models."{name.partition("#")[0]}"]\ninput = 0\noutput = 0\n')
        asker(name, tmp_path, Budget(money=Decimal(1)), prices=str(own)).close()


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (Budget(money=Decimal("0.02")), "$0.02 were spent"),
        (Budget(tokens=150), "150 tokens were spent"),
        (Budget(calls=3), "3 calls were made"),
    ],
)
def test_a_spent_budget_ends_asking(budget: Budget, reason: str) -> None:
    h = opened(budget)
    assert asking_ends(budget, h, standing(h)) is None
    h = started(h, step()) + finished(step(), Fault(what="lost", asks=(record("0.02", calls=3),)))
    assert asking_ends(budget, h, standing(h)) == reason, "what a fault cost counts too"


def test_a_budget_that_leaves_no_room_ends_asking_until_the_next_start() -> None:
    budget = Budget(money=Decimal(1))
    h = started(opened(budget), step()) + finished(step(), Proposal(candidates=(), short_of="money"))
    assert asking_ends(budget, h, standing(h)) == "the budget of money leaves no room for another ask"
    again = h + opened_event(Budget(money=Decimal(2)))
    assert asking_ends(Budget(money=Decimal(2)), again, standing(again)) is None


def record(cost: str | None = "0.01", calls: int = 1, role: str = "propose", **changes: object) -> AskRecord:
    usage = Usage(input=40, cache_read=60, output=50)
    fields = {
        "role": role,
        "model": "anthropic:claude-opus-5-5",
        "prompt": "0" * 64,
        "tries": tuple(Try(ending="answered") for _ in range(calls)),
        "usage": usage,
        "cost": cost,
        **changes,
    }
    return AskRecord.model_validate(fields)


def finished(what: Step, outcome: Proposal | Fault) -> Finished:
    return Finished(step=what, outcome=outcome, seconds=1.0, at=0.0)


def opened_event(budget: Budget) -> Opened:
    campaign = opened(budget).campaign
    assert campaign is not None
    return Opened(campaign=campaign, candidates=(BASELINE, ENTRY), at=1.0)


def test_what_a_candidate_and_a_gain_cost() -> None:
    """Round 0 brings two in vain, round 1 is lost once and then brings the gain, round 2 brings nothing."""
    slow, dull, fast = candidate("slow"), candidate("dull"), candidate("fast")
    times = {BASELINE.id: 1.0, ENTRY.id: 1.0, slow.id: 1.2, dull.id: 1.1, fast.id: 0.5}
    h = opened()
    baseline = Measure(candidate=BASELINE.id, rival=BASELINE.id, effort=Effort.screen, round=0)
    h = _measure(h, baseline, lambda c: times[c.id])
    h = h + finished(step(0), Proposal(candidates=(slow, dull), asks=(record("0.01"), record("0.02", role="fix"))))
    h = h + finished(step(1), Fault(what="lost", asks=(record("0.005", error="gone"),)))
    h = h + finished(step(1), Proposal(candidates=(fast,), asks=(record("0.04"),)))
    for effort in (Effort.screen, Effort.confirm):
        h = _measure(h, Measure(candidate=fast.id, rival=BASELINE.id, effort=effort, round=2), lambda c: times[c.id])
    h = h + finished(step(2), Proposal(candidates=(), asks=(record(None, replayed=True), record("0.10"))))
    found = costs(h, standing(h))
    assert found.total.money == Decimal("0.175")
    assert (found.total.asks, found.total.unpriced, found.total.unanswered, found.replayed) == (6, 1, 1, 1)
    assert found.total.cached == 0.6
    assert {r: s.money for r, s in found.roles.items()} == {"propose": Decimal("0.155"), "fix": Decimal("0.02")}
    assert found.share == {slow.id: Decimal("0.015"), dull.id: Decimal("0.015"), fast.id: Decimal("0.045")}
    (gain,) = found.gains
    assert gain.candidate == fast.id
    assert gain.spent.money == Decimal("0.075"), "everything up to the gain, what was lost too"
    assert found.after.money == Decimal("0.10")
    said = sentence(found)
    assert "6 asks in 6 requests" in said
    assert "60% from the cache" in said
    assert "$0.18" in said
    assert "1 ask without a known price" in said
    assert "paid when it was recorded" in said


def test_a_campaign_without_asks_says_nothing_of_money() -> None:
    h = opened()
    assert sentence(costs(h, standing(h))) == ""


def _measure(h: History, what: Measure, time_of: Callable[..., float]) -> History:
    return h + Finished(step=what, outcome=measured(KERNEL, what, h, time_of), seconds=1.0, at=0.0)
