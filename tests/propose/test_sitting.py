"""Sittings: every ask in the ledger once, nothing paid twice after a kill, transcripts, replays, and keys nowhere."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.fakes import BASELINE, ENTRY, KERNEL, FakeCrew, campaign, candidate
from tests.propose.askers import ENVIRONMENT, RULES, Still, ask, asker, opened, started, step
from tests.propose.server import KEY, Server, fails
from tests.propose.speaking import Scripted
from warpsmith.campaign import optimize
from warpsmith.errors import BadInput
from warpsmith.model.asks import AskRecord
from warpsmith.model.campaign import Budget, Finished, Opened
from warpsmith.model.step import Fault, Proposal, Propose
from warpsmith.propose.llm import transcript
from warpsmith.propose.llm.asking import Ask, AskError, Block, Differs, Message, NoKey, Refused, Unreachable, said
from warpsmith.propose.llm.names import ModelName, parse, rub_out, without_keys
from warpsmith.propose.llm.replay import Replay
from warpsmith.propose.llm.sitting import CampaignAsker
from warpsmith.store.history import History
from warpsmith.store.ledger import Ledger, read_events


class Asking:
    """The least proposer with a mind: one ask per step, and a candidate named by the answer."""

    name = "asking"

    def __init__(self, door: CampaignAsker) -> None:
        self.door = door

    def propose(self, step: Propose, history: History) -> Proposal:
        sitting = self.door.sitting(step, history)
        reply = sitting.ask(ask(f"round {step.round}"))
        return Proposal(candidates=(candidate(reply.text),), asks=sitting.asks)


def run(door: CampaignAsker, path: Path, rounds: int = 3) -> History:
    told = campaign(KERNEL, budget=Budget(rounds=rounds, patience=9), proposer="asking", explain=False)
    crew = FakeCrew(KERNEL, proposer=Asking(door), time_of=lambda c: 1.0)
    with Ledger(path) as ledger:
        return optimize(told, crew, ledger, (BASELINE, ENTRY))


def answering(text: str = "kernel") -> Server:
    numbers = iter(range(1000))
    return Server(answer=lambda received: Scripted(text=f"{text} {next(numbers)}"))


def test_every_ask_of_a_campaign_is_in_its_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with answering() as server:
        door = asker(server, tmp_path)
        h = run(door, path)
        door.close()
    assert len(h.asked) == len(server.requests) == 3
    assert [a.round for a in h.asked] == [0, 1, 2]
    assert sum(a.record.usage.total for a in h.asked) == sum(r.usage.total for r in server.requests) == h.tokens
    proposals = [e.outcome for e in read_events(path) if isinstance(e, Finished) and isinstance(e.outcome, Proposal)]
    assert [a.record for a in h.asked] == [r for p in proposals for r in p.asks]
    stable = {b.digest for a in h.asked for b in a.record.blocks if b.stable}
    assert len(stable) == 1, "cached blocks are byte-identical between iterations"
    assert all(a.record.usage.cache_write == 0 for a in h.asked[1:])


def test_an_answer_that_was_paid_for_before_a_kill_is_not_paid_again(tmp_path: Path) -> None:
    with Server(["first", "second"]) as server:
        killed = asker(server, tmp_path)
        before = started(opened(), step())
        paid = killed.sitting(step(), before).ask(ask())
        killed.close()  # and the process is gone, before its outcome was in the ledger

        again = asker(server, tmp_path)
        after = started(before + _opened_again(before), step().model_copy(update={"attempt": 1}))
        sitting = again.sitting(step().model_copy(update={"attempt": 1}), after)
        assert sitting.ask(ask()) == paid
        assert len(server.requests) == 1
        assert sitting.ask(ask()).text == "second", "each answer is given out once"
        assert len(sitting.asks) == 2
        h = after + _done(step(), Proposal(candidates=(), asks=sitting.asks))
        assert h.tokens == sum(r.usage.total for r in server.requests)
        again.close()


def test_what_was_paid_before_a_kill_and_not_asked_again_is_in_the_account(tmp_path: Path) -> None:
    """Two steps were under way; after the kill only one of them asks, something else, and is killed as well."""
    with answering() as server:
        first = asker(server, tmp_path)
        h = started(started(opened(), step(0)), step(1))
        first.sitting(step(0), h).ask(ask("a"))
        first.sitting(step(1), h).ask(ask("b"))
        first.close()

        second = asker(server, tmp_path)
        second.sitting(step(0), started(h + _opened_again(h), step(0))).ask(ask("c"))
        second.close()

        third = asker(server, tmp_path)
        h = started(h + _opened_again(h), step(0))
        sitting = third.sitting(step(0), h)
        assert len(sitting.asks) == 3
        assert sitting.purse.spent.tokens == sum(r.usage.total for r in server.requests)
        h = h + _done(step(0), Proposal(candidates=(), asks=sitting.asks))
        assert h.calls == len(server.requests) == 3
        later = third.sitting(step(2), started(h, step(2)))
        assert later.asks == ()
        assert transcript.read(tmp_path / "asks") == [], "what is in the ledger is forgotten"
        third.close()


def test_a_fault_takes_what_it_cost_into_the_ledger(tmp_path: Path) -> None:
    with Server([fails(529)] * 2 + ["better"]) as server:
        door = asker(server, tmp_path, pace=Still().pace(tries=2))
        h = started(opened(), step())
        with pytest.raises(Unreachable) as caught:
            door.sitting(step(), h).ask(ask())
        h = h + _done(step(), Fault(what="the proposer failed", detail=str(caught.value), asks=caught.value.asks))
        assert h.calls == 2
        again = door.sitting(step(), started(h, step()))
        assert again.asks == ()
        assert again.ask(ask()).text == "better"
        door.close()


def test_threads_may_share_a_sitting(tmp_path: Path) -> None:
    with answering() as server:
        door = asker(server, tmp_path)
        sitting = door.sitting(step(), opened())
        replies: list[str] = []
        threads = [
            threading.Thread(target=lambda n=n: replies.append(sitting.ask(ask(f"ask {n}")).text)) for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        door.close()
    assert len(set(replies)) == len(sitting.asks) == len({r.prompt for r in sitting.asks}) == 8
    assert sitting.purse.spent.calls == 8
    assert sitting.purse.spent.tokens == sum(r.usage.total for r in server.requests)


def test_a_transcript_replays_without_network_or_key(tmp_path: Path) -> None:
    with answering() as server:
        door = asker(server, tmp_path, transcript=True)
        recorded = run(door, tmp_path / "ledger.jsonl")
        door.close()
    folder = tmp_path / "transcript"
    assert len(list(folder.glob("*.json"))) == 3

    replaying = asker("anthropic:claude-opus-5-5", tmp_path / "again", replay=folder, environment={})
    replayed = run(replaying, tmp_path / "again.jsonl")
    assert set(replayed.candidates) == set(recorded.candidates)
    assert replayed.money == recorded.money
    assert [a.record.prompt for a in replayed.asked] == [a.record.prompt for a in recorded.asked]
    assert all(a.record.replayed and not a.record.note for a in replayed.asked)
    assert replaying.replay is not None
    assert replaying.replay.differences == []


def test_a_replay_gives_the_failures_too(tmp_path: Path) -> None:
    with Server([fails(404), "fine"]) as server:
        door = asker(server, tmp_path, transcript=True)
        sitting = door.sitting(step(), opened())
        with pytest.raises(Refused) as then:
            sitting.ask(ask("one"))
        sitting.ask(ask("two"))
        door.close()
    sitting = asker("openai:x", tmp_path / "again", replay=tmp_path / "transcript").sitting(step(), opened())
    assert sitting.ask(ask("two")).text == "fine", "found by what is asked, not by its turn"
    with pytest.raises(Refused) as now:
        sitting.ask(ask("one"))
    assert str(now.value) == str(then.value)
    assert now.value.asks[1].tries == then.value.asks[0].tries


def test_a_prompt_that_changed_is_told_with_its_first_differing_block(tmp_path: Path) -> None:
    rules = "Write whole files.\nKeep the contract.\nAnswer the finding."
    with Server(["one", "two"]) as server:
        door = asker(server, tmp_path, transcript=True)
        sitting = door.sitting(step(), opened())
        sitting.ask(ask("same", rules=rules))
        sitting.ask(ask("same too", rules=rules))
        door.close()
    changed = ask("same", rules=rules.replace("Keep", "Break"))
    lenient = asker("openai:x", tmp_path / "again", replay=tmp_path / "transcript").sitting(step(), opened())
    assert lenient.ask(changed).text == "one", "the next recorded answer to that role"
    (record,) = lenient.asks
    for part in ("0000-0-000-", "block 'rules'", "-Keep the contract.", "+Break the contract."):
        assert part in record.note
    assert "Answer the finding" in record.note
    assert record.prompt == changed.digest

    strict = Replay(tmp_path / "transcript", strict=True)
    with pytest.raises(Differs, match="Break the contract"):
        strict.answer(changed)
    assert strict.answer(ask("same", rules=rules))[0] == "one"
    with pytest.raises(Differs, match=r"it has the block .facts. where .user. was recorded"):
        strict.answer(ask("same too", rules=rules, facts="new"))
    with pytest.raises(Differs, match="no recorded answer to a further review ask"):
        strict.answer(ask("same", role="review"))


def test_a_transcript_that_was_changed_or_is_none_is_refused(tmp_path: Path) -> None:
    with Server(["one"]) as server:
        door = asker(server, tmp_path, transcript=True)
        door.sitting(step(), opened()).ask(ask("keep this"))
        door.close()
    (path,) = (tmp_path / "transcript").glob("*.json")
    whole = path.read_text()
    path.write_text(whole.replace("keep this", "keep that"))
    with pytest.raises(BadInput, match=r"what was asked is not what its name says"):
        Replay(tmp_path / "transcript")
    path.write_text("{")
    with pytest.raises(BadInput, match=path.name):
        Replay(tmp_path / "transcript")
    with pytest.raises(BadInput, match="no transcript"):
        Replay(tmp_path / "elsewhere")


@pytest.mark.parametrize("status", [401, 403, 400])
def test_the_key_is_nowhere(tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Not even where the server repeats it: in an error, and in an answer."""
    echo = [fails(status, message=f"your key {KEY} is odd"), f"the key is {KEY}, said the header"]
    with caplog.at_level("DEBUG"), Server([*echo, "kernel", "kernel two", "kernel three"]) as server:
        door = asker(server, tmp_path, transcript=True)
        sitting = door.sitting(step(7), opened())
        with pytest.raises(Refused) as caught:
            sitting.ask(ask("what is wrong?"))
        assert "(key)" in sitting.ask(ask("say it")).text
        run(door, tmp_path / "ledger.jsonl")
        assert KEY not in repr(door.callers) + repr(caught.value) + str(caught.value)
        door.close()
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) > 5
    assert not [p for p in files if KEY.encode() in p.read_bytes()]
    ours = [r.getMessage() for r in caplog.records]
    assert not [line for line in ours if KEY in line]


def test_without_a_key_nothing_begins_and_the_sweep_is_offered(tmp_path: Path) -> None:
    for environment in ({}, {"TEST_KEY": "  "}):
        with Server() as server, pytest.raises(NoKey) as caught:
            asker(server, tmp_path, environment=environment)
        assert caught.value.exit_status == 4
        assert "TEST_KEY" in caught.value.message
        assert "--proposer sweep" in caught.value.remedy
    with pytest.raises(NoKey, match="ANTHROPIC_API_KEY"):
        asker("anthropic:claude-opus-5-5", tmp_path, environment={"OPENAI_API_KEY": "x"})


def test_a_key_goes_to_its_own_host_only(tmp_path: Path) -> None:
    with Server(["fine"], key="") as server:
        name = server.openai().removesuffix("#TEST_KEY")
        door = asker(name, tmp_path, environment={**ENVIRONMENT, "OPENAI_API_KEY": KEY})
        door.sitting(step(), opened()).ask(ask())
        door.close()
        assert KEY not in str(server.requests[0].headers)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("anthropic:claude-opus-5-5", ModelName("anthropic", "claude-opus-5-5", None, "ANTHROPIC_API_KEY")),
        ("openai:gpt-6.2-sol", ModelName("openai", "gpt-6.2-sol", None, "OPENAI_API_KEY")),
        ("openai:qwen3:30b@http://h:1/v1", ModelName("openai", "qwen3:30b", "http://h:1/v1", None)),
        ("openai:org/m@https://h/v1#MY_KEY", ModelName("openai", "org/m", "https://h/v1", "MY_KEY")),
        (" anthropic:c#OTHER ", ModelName("anthropic", "c", None, "OTHER")),
    ],
)
def test_names_of_models(text: str, found: ModelName) -> None:
    assert parse(text) == found
    assert "KEY" not in str(found)


@pytest.mark.parametrize(
    "text",
    ["", "claude", "azure:gpt", "openai:", "openai:a b", "openai:m@ftp://h", "openai:m@https://u:p@h/v1", "a:b#"],
)
def test_what_names_no_model_is_told(text: str) -> None:
    with pytest.raises(BadInput, match=r"^models\.fix: ") as caught:
        parse(text, "models.fix")
    assert caught.value.remedy


def test_processes_of_candidates_get_no_keys() -> None:
    environment = {"PATH": "/bin", "ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "b", "GATEWAY": "c", "OTHER": "d"}
    models = ("openai:m@https://h/v1#GATEWAY", "anthropic:claude-opus-5-5")
    assert without_keys(environment, models) == {"PATH": "/bin", "OTHER": "d"}
    assert rub_out("a secret", ("", "secret")) == "a (key)"


def test_an_ask_that_no_provider_takes_cannot_be_made() -> None:
    stable, loose = Block(name="s", text="s", stable=True), Block(name="l", text="l")
    question = said("user", "?")
    for wrong in (
        {"system": (loose, stable), "messages": (question,)},
        {"system": (stable,), "messages": ()},
        {"system": (stable,), "messages": (question, said("assistant", "!"))},
        {"system": (Block(name="s", text=" \n"),), "messages": (question,)},
        {"system": (), "messages": (*[said("user", "?", stable=True)] * 4,)},
        {"system": (), "messages": (question,), "max_tokens": 0},
    ):
        with pytest.raises(ValueError, match=r"."):
            Ask.model_validate({"role": "propose", **wrong})
    one = Ask(role="propose", system=(stable, loose), messages=(question,))
    assert one.digest == one.model_copy(update={"max_tokens": 5}).digest
    assert one.digest != one.model_copy(update={"role": "fix"}).digest
    assert Message(role="user", blocks=(stable, loose)).text == "s\n\nl"
    assert [b.name for b in one.records()] == ["s", "l", "user"]


def test_errors_bring_the_records_of_the_whole_sitting(tmp_path: Path) -> None:
    with Server(["fine", fails(400)]) as server:
        door = asker(server, tmp_path)
        sitting = door.sitting(step(), opened())
        sitting.ask(ask("one"))
        with pytest.raises(AskError) as caught:
            sitting.ask(ask("two"))
        door.close()
    assert [bool(r.error) for r in caught.value.asks] == [False, True]
    assert caught.value.asks == sitting.asks
    assert all(isinstance(r, AskRecord) for r in caught.value.asks)
    assert RULES not in "".join(r.model_dump_json() for r in sitting.asks), "a ledger holds hashes, not prompts"


def _opened_again(history: History) -> Opened:
    assert history.campaign is not None
    return Opened(campaign=history.campaign, candidates=(BASELINE, ENTRY), at=1.0)


def _done(what: Propose, outcome: Proposal | Fault) -> Finished:
    return Finished(step=what, outcome=outcome, seconds=1.0, at=0.0)
