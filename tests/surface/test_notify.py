"""Notifications: what is told and recorded, what a bad webhook may do to a run (nothing), and that no secret shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.fakes import BASELINE, ENTRY, SERVING, FakeCrew, campaign
from tests.projects import project
from tests.surface.histories import kept
from tests.surface.webhooks import How, closed_port, until, webhook
from warpsmith.analyse.standing import standing
from warpsmith.campaign import optimize
from warpsmith.errors import BadInput, CampaignError, Missing
from warpsmith.model.base import short
from warpsmith.notify import post as posting
from warpsmith.notify.channels import HIDDEN, Channels, channels, masked, rub_out
from warpsmith.notify.post import Post, ask
from warpsmith.notify.record import Book, Kind, Notice, Notification
from warpsmith.propose.llm.names import without_keys
from warpsmith.settings import Settings, load
from warpsmith.store.history import History
from warpsmith.store.ledger import Ledger
from warpsmith.surface import api
from warpsmith.surface.notices import FILE, Notices

PROGRAM = Path(sys.executable).parent / "warpsmith"
SECRET = "Zk9tokenThatNobodyMaySee"


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy stands between this machine and itself."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def notice(kind: Kind = "finished", line: str = "it happened", at: float | None = None) -> Notice:
    return Notice(kind=kind, line=line, task="a/b", tag="main", at=time.time() if at is None else at)


def records(folder: Path) -> list[Notification]:
    return Book(folder / FILE).latest()


def what(record: Notification) -> tuple[bool, ...]:
    return (
        record.webhook_enabled_by_config, record.webhook_disabled_by_flag, record.webhook_expected,
        record.webhook_attempted, record.webhook_sent,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"discord://123456789/{SECRET}", "discord://***"),
        (f"https://discord.com/api/webhooks/123456789/{SECRET}", "https://discord.com/***"),
        (f"slack://TAAAAAAAA/BBBBBBBBB/{SECRET}", "slack://***"),
        (f"mailto://me:{SECRET}@mail.example?to=you@example.org", "mailto://***"),
        (f"jsons://user:{SECRET}@hooks.example:8443/a/b?key={SECRET}x", "jsons://hooks.example:8443/***"),
        (SECRET, "***"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert masked(url) == shown
    complaint = f"could not reach {url}: no route to /{url.partition('://')[2].partition('/')[2]}, with {SECRET}"
    assert SECRET not in rub_out(complaint, [url])
    assert HIDDEN in rub_out(complaint, [url])
    assert SECRET not in repr(Channels((url,))) + repr(Settings(notify_urls=(url,)))


def test_a_short_password_is_rubbed_out_too() -> None:
    assert rub_out("login with pw1 was refused", ["mailto://me:pw1@mail.example"]) == "login with *** was refused"


def test_addresses_come_from_settings_environment_and_a_file_elsewhere(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.write_text(f"# mine\n\n discord://1/{SECRET} \njson://one\n")
    (root / "warpsmith.toml").write_text(f'[notify]\nurls = ["json://one", "json://two"]\nfile = "{elsewhere}"\n')
    assert channels(load(root, {}, {}), root).urls == ("json://one", "json://two", f"discord://1/{SECRET}")
    environment = {"WARPSMITH_NOTIFY_URLS": " json://three\n json://four ", "WARPSMITH_NOTIFY_FILE": ""}
    assert channels(load(root, {}, environment), root).urls == ("json://three", "json://four")
    gone = channels(load(root, {}, {"WARPSMITH_NOTIFY_FILE": str(tmp_path / "gone")}), root)
    assert gone.urls == ("json://one", "json://two")
    assert "gone" in gone.problem
    (root / "warpsmith.toml").write_text(f'notify_urls = [3, "discord://1/{SECRET}"]\n')
    with pytest.raises(BadInput, match="notify_urls: not a list of strings") as caught:
        load(root, {}, {})
    assert SECRET not in str(caught.value)


def test_no_process_of_a_candidate_sees_an_address() -> None:
    assert without_keys({"WARPSMITH_NOTIFY_URLS": SECRET, "PATH": "/bin"}) == {"PATH": "/bin"}


def test_records_say_what_was_not_sent_and_why(tmp_path: Path) -> None:
    for to, disabled in ((Channels(), False), (Channels(), True), (Channels((f"json://127.0.0.1:1/{SECRET}",)), True)):
        post = Post(to, Book(tmp_path / FILE), disabled=disabled)
        post.send(notice())
        post.close()
    found = records(tmp_path)
    assert [what(r) for r in found] == [
        (False, False, False, False, False), (False, True, False, False, False), (True, True, False, False, False),
    ]  # fmt: skip
    assert [r.webhook_status for r in found] == ["not_configured", "disabled_by_flag", "disabled_by_flag"]
    assert SECRET not in (tmp_path / FILE).read_text()


def test_records_are_only_ever_appended_and_a_broken_line_is_passed_over(tmp_path: Path) -> None:
    book = Book(tmp_path / "home" / FILE)
    post = Post(Channels(), book)
    post.send(notice(line="one"))
    before = book.path.read_bytes()
    with book.path.open("ab") as file:
        file.write(b'{"half": \n')
    post.send(notice(line="two"))
    assert book.path.read_bytes().startswith(before)
    assert [r.notice.line for r in book.latest()] == ["one", "two"]
    (tmp_path / "file").write_text("")
    Post(Channels(), Book(tmp_path / "file" / FILE)).send(notice())  # and where nothing can be written, nothing happens


def test_a_message_reaches_a_plain_webhook(tmp_path: Path) -> None:
    with webhook() as there:
        post = Post(Channels((there.url(SECRET),)), Book(tmp_path / FILE))
        post.send(Notice(kind="new_best", line="new best", task="a/b", tag="t", facts={"ratio": "2x"}, at=time.time()))
        post.close(60.0)
    ((path, document),) = there.got
    assert path.strip("/") == SECRET
    assert document["title"] == "warpsmith: new best a/b"
    assert document["message"] == "new best\ntask: a/b\ntag: t\nratio: 2x"
    (record,) = records(tmp_path)
    assert what(record) == (True, False, True, True, True)
    assert record.webhook_status == "sent"
    assert SECRET not in (tmp_path / FILE).read_text()


def told(watch_of: Notices) -> History:
    """A scripted campaign under the eyes of ``watch_of``."""
    space = watch_of.space
    with Ledger(space.ledger("my/axpy", "main")) as ledger:
        return optimize(
            campaign(SERVING, task_name="my/axpy"), FakeCrew(SERVING), ledger, (BASELINE, ENTRY), watch_of.watching()
        )


def test_each_new_best_is_told_once_and_not_again_by_a_resume(tmp_path: Path) -> None:
    space = project(tmp_path)
    with Notices(space, "my/axpy", "main", disabled=True) as notices:
        h = told(notices)
    leaders = standing(h).leaders[1:]
    assert len(leaders) > 1
    found = [r.notice for r in records(space.home)]
    assert [n.kind for n in found] == ["new_best"] * len(leaders)
    assert [n.candidate for n in found] == list(leaders)
    assert found[-1].line.startswith(f"new best {short(leaders[-1])}: 2.0")
    assert found[-1].facts["guardrail single.ttft_p99"].endswith("worse than its rival, at most +5.0%")
    with Notices(space, "my/axpy", "main", disabled=True) as notices:
        told(notices)
    assert len(records(space.home)) == len(found)


def test_what_a_verb_raises_is_told_but_not_a_slip_or_an_interruption(tmp_path: Path) -> None:
    space = project(tmp_path)
    for error in (CampaignError("the baseline fails"), RuntimeError("odd"), BadInput("a slip"), KeyboardInterrupt()):
        with pytest.raises(type(error)), Notices(space, "my/axpy", "main", disabled=True):
            raise error
    assert [r.notice.line for r in records(space.home)] == ["failed: the baseline fails", "failed: RuntimeError('odd')"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("refuses", "failed", "Connection error"),
        ("fails", "failed", "500"),
        ("redirects", "failed", "302"),
        ("never answers", "failed", "Connection error"),
    ],
)
def test_a_bad_webhook_is_a_named_status(how: str, status: str, said: str, tmp_path: Path) -> None:
    kind: How = "takes" if how == "refuses" else how  # type: ignore[assignment]
    with webhook(kind) as there, webhook() as good:
        bad = f"json://127.0.0.1:{closed_port()}/{SECRET}" if how == "refuses" else there.url(SECRET)
        alone, both = (Post(Channels(urls), Book(tmp_path / FILE)) for urls in ((bad,), (bad, good.url())))
        alone.send(notice())
        alone.close(60.0)
        both.send(notice())
        both.close(60.0)
    first, second = records(tmp_path)
    assert (first.webhook_status, what(first)) == (status, (True, False, True, True, False))
    assert said in first.channels[0].detail
    assert (second.webhook_status, second.webhook_sent) == ("partly_sent", False)
    assert [c.sent for c in second.channels] == [False, True]
    assert good.lines == ["it happened"], "the good one got it"
    assert all(path != "/elsewhere" for path, _ in there.got), "a redirection is not followed"
    assert SECRET not in (tmp_path / FILE).read_text()


@pytest.mark.slow
def test_a_webhook_that_drips_is_ended_at_the_deadline(tmp_path: Path) -> None:
    started: list[subprocess.Popen[str]] = []
    with webhook("drips") as there, webhook() as good:
        heard = ask(Channels((there.url(SECRET), good.url())), "t", "b", started.append, limit_s=3.0)
        assert heard.status == "partly_sent"
        assert [c.detail for c in heard.channels] == ["no answer in time", ""]
        assert ask(Channels((there.url(SECRET),)), "t", "b", started.append, limit_s=2.0).status == "timed_out"
    assert all(process.poll() is not None for process in started)


@pytest.mark.slow
def test_a_hanging_webhook_holds_up_neither_a_run_nor_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "CLOSING_S", 0.3)
    with webhook("never answers") as there:
        space = project(tmp_path, notify_urls=there.url(SECRET))
        notices = Notices(space, "my/axpy", "main")
        h = told(notices)
        assert records(space.home) == [] or all(r.webhook_status == "superseded" for r in records(space.home))
        until(there.asked.is_set)
        notices._post.close(0.3)
        assert not [t for t in threading.enumerate() if t.name == "notify"], "the thread ended with its process"
        assert len(there.got) == 1
    assert len(standing(h).leaders) > 2
    found = records(space.home)
    assert {r.webhook_status for r in found} <= {"given_up", "superseded", "held_back"}
    assert sum(r.webhook_status == "given_up" for r in found) == 1
    assert sum(r.webhook_attempted for r in found) == 1


@pytest.mark.slow
def test_many_bests_do_not_flood(tmp_path: Path) -> None:
    with webhook() as there:
        post = Post(Channels((there.url(),)), Book(tmp_path / FILE), every_s=3600.0)
        for number in range(20):
            post.send(notice("new_best", f"best {number}"))
            if number == 0:
                until(lambda: there.got)
        post.send(notice("finished", "the end"))
        post.close(60.0)
        assert there.lines == ["best 0", "the end"]
        again = Post(Channels((there.url(),)), Book(tmp_path / FILE), every_s=3600.0)
        again.send(notice("new_best", "of another process"))
        again.close(60.0)
        assert there.lines == ["best 0", "the end"], "another process of the same campaign keeps to it too"
        other = Post(Channels((there.url(),)), Book(tmp_path / FILE), every_s=3600.0)
        other.send(notice("new_best", "of another campaign").model_copy(update={"tag": "other"}))
        other.close(60.0)
        assert there.lines[2:] == ["of another campaign"]
    found = [r.webhook_status for r in records(tmp_path)]
    assert sorted(found) == sorted(["sent"] * 3 + ["superseded"] * 19 + ["held_back"])


@pytest.mark.slow
def test_a_held_best_goes_once_its_time_has_come(tmp_path: Path) -> None:
    with webhook() as there:
        post = Post(Channels((there.url(),)), Book(tmp_path / FILE), every_s=1.0)
        for line in ("first", "second", "third"):
            post.send(notice("new_best", line))
            if line == "first":
                until(lambda: there.got)
        until(lambda: len(there.got) == 2)
        post.close(60.0)
    assert there.lines == ["first", "third"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_kind_of_service_gets_its_own_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """apprise's own plug-ins for Discord and Slack, pointed at a server of ours."""
    from apprise.plugins.discord import NotifyDiscord
    from apprise.plugins.slack import NotifySlack

    from warpsmith.notify import sending

    with webhook() as there:
        monkeypatch.setattr(NotifyDiscord, "notify_url", f"http://127.0.0.1:{there.port}/discord")
        monkeypatch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{there.port}/slack")
        job = {"body": notice().body, "title": notice().title}
        said: list[dict[str, object]] = []
        for number, url in enumerate(
            ("discord://1234567890/abcdefghijklmnop", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7")
        ):
            sending._one(number, url, job, said.append)
    assert said[0]["ok"] is True, said
    (path, discord), *rest = there.got
    assert path == "/discord/1234567890/abcdefghijklmnop"
    assert "it happened" in json.dumps(discord)
    assert "warpsmith: finished a/b" in json.dumps(discord)
    (path, slack), *_ = rest
    assert path.startswith("/slack/T1JJ3T3L2/A1BRTD4JD/")
    assert "it happened" in json.dumps(slack)


@pytest.mark.slow
def test_the_verbs_test_and_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks").mkdir()
    assert (api.notify_status().enabled, api.notify_status().exit_status) == (False, 0)
    with pytest.raises(BadInput, match="no address"):
        api.notify_test()
    with webhook() as there, webhook("fails") as bad:
        monkeypatch.setenv("WARPSMITH_NOTIFY_URLS", f"{there.url(SECRET)} http://127.0.0.1:{there.port}/plain")
        status = api.notify_status()
        assert there.got == [], "status sends nothing"
        assert (status.enabled, status.installed, status.exit_status) == (True, True, 0)
        assert [a.channel for a in status.addresses] == [f"{s}://127.0.0.1:{there.port}/***" for s in ("json", "http")]
        assert all(a.understood for a in status.addresses)
        assert api.notify_test().exit_status == 0
        assert sorted(path for path, _ in there.got) == sorted([f"/{SECRET}", "/plain"])
        monkeypatch.setenv("WARPSMITH_NOTIFY_URLS", bad.url(SECRET))
        assert api.notify_test().exit_status == 1
    assert [n.webhook_status for n in api.notify_status().latest] == ["sent", "failed"]
    monkeypatch.setenv("WARPSMITH_NOTIFY_URLS", f"nosuchservice://{SECRET}")
    status = api.notify_status()
    assert (status.exit_status, status.addresses[0].understood) == (1, False)
    monkeypatch.setattr(posting, "SENDER", (sys.executable, "-c", "print('{\"missing\": true}')"))
    assert api.notify_status().installed is False
    with pytest.raises(Missing) as caught:
        api.notify_test()
    assert "warpsmith[notify]" in caught.value.remedy


@pytest.mark.slow
def test_without_apprise_the_sender_says_so(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nold = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'apprise' else old(name, *rest)\n"
    )
    job = json.dumps({"urls": ["json://127.0.0.1:1"], "title": "", "body": "x", "limit_s": 5})
    done = subprocess.run(
        [sys.executable, "-m", "warpsmith.notify.sending"], input=job, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert json.loads(done.stdout) == {"missing": True}


@pytest.mark.slow
def test_verbs_tell_and_no_webhook_silences_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space = project(tmp_path)
    kept(space)
    with webhook() as there:
        monkeypatch.setenv("WARPSMITH_NOTIFY_URLS", there.url(SECRET))
        words = ("my/axpy", standing(space.history("my/axpy", "main")).best)
        api.reject(*words, claim="it is fast", why="it is not", no_webhook=True)
        assert there.got == []
        api.reject(*words, claim="it is fast", why="it is not")
        api.bench("my/axpy", "entry", effort="screen", notes="a note")
        with pytest.raises(BadInput):
            api.bench("my/axpy", "nobody")
        assert there.lines[0] == "rejected: it is not"
        assert there.lines[1].startswith("measured beside baseline: entry ")
        assert len(there.got) == 2, "a slip is not told"
        assert "notes: a note" in there.got[1][1]["message"]
    assert [(r.notice.kind, r.webhook_status) for r in records(space.home)] == [
        ("rejected", "disabled_by_flag"), ("rejected", "sent"), ("measured", "sent"),
    ]  # fmt: skip


@pytest.mark.slow
def test_no_secret_is_written_anywhere_by_a_whole_campaign(tmp_path: Path) -> None:
    """Standard output and error, ledger, records, logs, reports: every byte that a real run leaves is looked at."""
    root = tmp_path / "project"
    root.mkdir()
    project(root)
    secrets = [f"{SECRET}{n}" for n in range(4)]
    with webhook() as good, webhook("fails") as bad:
        elsewhere = tmp_path / "addresses"
        elsewhere.write_text(f"jsons://user:{secrets[0]}@127.0.0.1:{closed_port()}/{secrets[1]}?k={secrets[1]}\n")
        environment = {
            **os.environ, "WARPSMITH_NOTIFY_URLS": f"{good.url(secrets[2])} {bad.url(secrets[3])}",
            "WARPSMITH_NOTIFY_FILE": str(elsewhere),
        }  # fmt: skip
        said = b""
        for words in (
            ("optimize", "my/axpy", "--budget", "rounds=0", "--json"),
            ("notify", "test"), ("notify", "status"), ("notify", "status", "--json"), ("history", "my/axpy", "--jsonl"),
            ("check", "my/axpy", "nobody"),
        ):  # fmt: skip
            done = subprocess.run([PROGRAM, *words], cwd=root, capture_output=True, check=False, env=environment)
            assert done.returncode in (0, 1, 2, 3), done.stderr.decode()
            assert b"Traceback" not in done.stderr, done.stderr.decode()
            said += done.stdout + done.stderr
    assert any("finished" in line for line in good.lines)
    found = records(root / ".warpsmith")
    assert {r.webhook_status for r in found if r.webhook_attempted} == {"partly_sent"}
    written = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    assert any(p.name == "ledger.jsonl" for p in written)
    assert any(p.suffix == ".log" for p in written)
    for secret in secrets:
        assert secret.encode() not in said
        assert not [p for p, content in written.items() if secret.encode() in content]
