"""Swapping functions of a framework and putting them back, by the copy of the installer that travels with a package."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ship.install_things import exported, forget, framework, installer, spaces

ADD = {"target": "fw.norms:add", "dispatch": "add", "signature": "(x, w, bias=None, *, scale=1)", "package": "fw",
       "versions": ">=1.2,<1.3", "adapter": {"when": "bias is None"}}  # fmt: skip


class Place:
    """A folder on sys.path with the framework ``fw`` and the package ``pkg``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        framework(root, "fw")

    def package(self, *targets: dict[str, Any], name: str = "pkg") -> Any:
        exported(self.root, name, list(targets))
        importlib.invalidate_caches()
        return installer(name)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("WARPSMITH_DISABLE", raising=False)
    yield Place(tmp_path)
    for name in list(vars(sys)["_warpsmith_installs"].packages):
        installer(name).uninstall(name)
    forget("fw", "pkg", "other")
    assert not [f for f in sys.meta_path if type(f).__name__ == "Waiting"]


def only(states: tuple[Any, ...]) -> Any:
    assert len(states) == 1
    return states[0]


def test_swaps_every_name_counts_and_restores_exactly(place: Place) -> None:
    from_user = importlib.import_module("fw.user")
    norms, top = sys.modules["fw.norms"], sys.modules["fw"]
    before = spaces(norms, from_user, top)
    it = place.package(ADD)
    state = only(it.install())
    assert (state.state, state.version, state.release, state.ratio) == ("installed", "1.2.3", "my/add@1.0.0", 1.5)
    assert set(state.swapped) == {"fw.norms.add", "fw.user.add", "fw.user.renamed", "fw.exported"}
    assert norms.add(1, 2) == from_user.call(1, 2) == top.exported(1, 2) == from_user.renamed(1, 2) == 1003
    assert norms.add(1, 2, bias=0) == 3  # the adapter's condition does not hold
    assert importlib.import_module("fw.late").call(1, 2) == 1003  # imported by name after the swap
    assert (only(it.status()).hits, only(it.status()).fallbacks) == (5, 1)
    gone = only(it.uninstall())
    assert (gone.state, gone.not_reached) == ("removed", ())
    assert spaces(norms, from_user, top)[0] == before[0] and spaces(from_user)[0] == before[1]
    assert spaces(top)[0][: len(before[2])] == before[2]  # fw.late was bound to it since
    assert importlib.import_module("fw.late").call(1, 2) == 3
    assert it.status() == () and it.uninstall() == ()


def test_says_what_it_does_not_reach(place: Place) -> None:
    user = importlib.import_module("fw.user")
    state = only(place.package(ADD).install())
    assert set(state.not_reached) == {
        "the dict fw.user.TABLE", "a functools.partial", "the closure of fw.user.closed.<locals>.<lambda>",
    }  # fmt: skip
    assert user.TABLE["add"](1, 2) == user.half(2) == user.kept(1, 2) == 3


def test_what_kept_ours_is_said_at_the_end(place: Place) -> None:
    it = place.package(ADD)
    it.install()
    kept = {"mine": importlib.import_module("fw.norms").add}
    assert only(it.uninstall()).not_reached == ("a dict",)
    assert kept["mine"](1, 2) == 1003


def test_twice_changes_nothing(place: Place) -> None:
    it = place.package(ADD)
    it.install()
    now = sys.modules["fw.norms"].add
    assert only(it.install()).state == "installed" and sys.modules["fw.norms"].add is now
    assert only(it.uninstall()).state == "removed" and sys.modules["fw.norms"].add(1, 2) == 3


def test_waits_for_its_module(place: Place) -> None:
    it = place.package(ADD)
    state = only(it.install(lazy=True))
    assert state.state == "waiting" and "fw" not in sys.modules
    user = importlib.import_module("fw.user")
    assert user.call(1, 2) == user.TABLE["add"](1, 2) == 1003  # nobody ever saw the original
    assert only(it.status()).state == "installed" and only(it.status()).not_reached == ()
    norms = sys.modules["fw.norms"]
    assert type(norms.__loader__).__name__ == type(norms.__spec__.loader).__name__ == "SourceFileLoader"
    gone = only(it.uninstall())
    assert user.call(1, 2) == 3 and set(gone.not_reached) >= {"the dict fw.user.TABLE"}


def test_a_wait_can_be_given_up(place: Place) -> None:
    it = place.package(ADD)
    it.install(lazy=True)
    assert only(it.uninstall()).state == "removed"
    assert importlib.import_module("fw.norms").add(1, 2) == 3


def test_an_import_that_fails_stays_its_own_error(place: Place) -> None:
    (place.root / "fw" / "norms.py").write_text("raise ValueError('theirs')\n")
    it = place.package(ADD)
    assert only(it.install(lazy=True)).state == "waiting"
    with pytest.raises(ValueError, match="theirs"):
        importlib.import_module("fw.norms")
    state = only(it.install())
    assert state.state == "missing" and "theirs" in state.detail


@pytest.mark.parametrize(
    ("change", "state", "said"),
    [
        ({"target": "fw.none:add"}, "missing", "fw.none"),
        ({"target": "fw.norms:gone"}, "missing", "fw.norms has no 'gone'"),
        ({"target": "fw.norms:Derived.forward"}, "missing", "inherits 'forward' from Layer"),
        ({"signature": "(x, w, bias=1, *, scale=1)"}, "changed", "its signature is (x, w, bias=None, *, scale=1)"),
        ({"signature": "(w, x, bias=None, *, scale=1)"}, "changed", "is asked for"),
        ({"versions": ">=2"}, "changed", "fw is 1.2.3, and >=2 is asked for"),
        (
            {"package": "no-such-framework", "versions": "<1"},
            "changed",
            "no-such-framework is 1.2.3",
        ),  # its module says
        ({"target": "string:capwords", "signature": "", "package": "none"}, "changed", "none is not there"),
        ({"target": "fw.norms:Layer.first", "signature": ""}, "changed", "it is a int now"),
        ({"dispatch": "multiply"}, "unfit", "pkg has no dispatch 'multiply'"),
        ({"target": "fw.norms:other", "signature": "", "adapter": {}}, "unfit", "no parameter w"),
        ({"adapter": {"hook": "fw.norms:no_hook"}}, "unfit", "AttributeError"),
    ],
)
def test_what_is_missing_or_changed_is_said_and_the_rest_is_installed(
    place: Place, change: dict[str, Any], state: str, said: str
) -> None:
    good = {"target": "fw.norms:Layer.plain", "dispatch": "add"}
    bad, fine = place.package({**ADD, **change}, good).install()
    assert (bad.state, fine.state) == (state, "installed") and said in bad.detail
    norms = sys.modules["fw.norms"]
    assert norms.add(1, 2) == 3 and norms.Layer.plain(1, 2) == 1003


@pytest.mark.slow
def test_attributes_of_classes(place: Place) -> None:
    names = ("forward", "plain", "made")
    it = place.package(*({"target": f"fw.norms:Layer.{n}", "dispatch": "add"} for n in names))
    norms = importlib.import_module("fw.norms")
    before = list(vars(norms.Layer).items())
    assert [s.state for s in it.install()] == ["installed"] * 3
    layer = norms.Derived()
    assert layer.forward(1, 2) == layer.plain(1, 2) == layer.made(1, 2) == norms.Layer.made(1, 2) == 1003
    assert isinstance(vars(norms.Layer)["plain"], staticmethod)
    assert [s.state for s in it.uninstall()] == ["removed"] * 3
    after = list(vars(norms.Layer).items())
    assert [n for n, _ in after] == [n for n, _ in before]
    assert all(a is b for (_, a), (_, b) in zip(after, before, strict=True))


def test_a_hook_makes_what_an_expression_cannot_say(place: Place) -> None:
    (place.root / "fw" / "hooks.py").write_text(
        "def hook(original, dispatch):\n"
        "    bound = dispatch.bind(lambda x, w: original(x, w))\n"
        "    return lambda x, w, bias=None, *, scale=1: bound(scale * x, w)\n"
    )
    it = place.package({**ADD, "adapter": {"hook": "fw.hooks:hook"}})
    assert only(it.install()).state == "installed"
    assert sys.modules["fw.norms"].add(2, 3, scale=10) == 1023


@pytest.mark.parametrize("said", ["1", "all", "pkg", "fw.norms:add", "add", "nothing, add"])
def test_the_environment_opts_out(place: Place, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARPSMITH_DISABLE", said)
    it = place.package(ADD)
    state = only(it.install())
    assert state.state == "disabled" and said in state.detail and "fw.norms" not in sys.modules
    monkeypatch.setenv("WARPSMITH_DISABLE", "fw.norms:Layer.forward,0")
    assert only(it.install()).state == "installed"


@pytest.mark.slow
def test_two_packages_on_one_target(place: Place) -> None:
    it, other = place.package(ADD), place.package(ADD, name="other")
    norms = importlib.import_module("fw.norms")
    original = norms.add
    it.install()
    refused = only(other.install())
    assert refused.state == "occupied" and "by pkg" in refused.detail
    assert only(other.install(stack=True)).state == "installed"
    assert {s.package: (s.state, s.detail) for s in it.status("")} == {
        "pkg": ("installed", "other stands on it"), "other": ("installed", "on pkg"),
    }  # fmt: skip
    top = norms.add
    assert only(it.install()).state == only(other.install()).state == "installed" and norms.add is top
    assert norms.add(1, 2, bias=0) == 3  # through both
    stays = only(it.uninstall())
    assert stays.state == "installed" and "other stands on it: uninstall" in stays.detail
    assert norms.add(1, 2) == 1003
    assert only(other.uninstall()).state == "removed" and only(it.uninstall()).state == "removed"
    assert norms.add is original


def test_a_package_does_not_stand_on_itself(place: Place) -> None:
    it = place.package(ADD, {"target": "fw:exported", "dispatch": "add"})
    assert [s.state for s in it.install()] == ["installed", "occupied"]


def test_somebody_else_since(place: Place) -> None:
    it = place.package(ADD)
    it.install()
    norms = sys.modules["fw.norms"]
    theirs = norms.add = lambda *a, **k: "theirs"
    assert only(it.status()).state == "overwritten"
    state = only(it.uninstall())
    assert state.state == "overwritten" and norms.add is theirs
    assert sys.modules["fw"].exported(1, 2) == 3  # what was still ours is given back


def test_a_module_that_is_loaded_again_can_be_swapped_again(place: Place) -> None:
    it = place.package(ADD)
    it.install()
    norms = importlib.reload(sys.modules["fw.norms"])
    assert norms.add(1, 2) == 3 and only(it.status()).state == "overwritten"
    assert only(it.install()).state == "installed" and norms.add(1, 2) == 1003
    assert only(it.uninstall()).state == "removed" and norms.add(1, 2) == 3
    assert sys.modules["fw"].exported(1, 2) == 3


@pytest.mark.slow
def test_threads(place: Place) -> None:
    """Calls go on while others install and uninstall; at the end everything is as it was."""
    it, other = place.package(ADD), place.package(ADD, name="other")
    norms = importlib.import_module("fw.norms")
    original, ended, answers = norms.add, threading.Event(), set()
    failed: list[BaseException] = []

    def call() -> None:
        while not ended.is_set():
            answers.add(norms.add(1, 2))

    def turn(which: Any) -> None:
        try:
            for _ in range(5):
                which.install()
                which.status()
                which.uninstall()
        except BaseException as error:
            failed.append(error)

    callers = [threading.Thread(target=call) for _ in range(2)]
    turners = [threading.Thread(target=turn, args=(each,)) for each in (it, it, other)]
    for thread in callers + turners:
        thread.start()
    for thread in turners:
        thread.join()
    ended.set()
    for thread in callers:
        thread.join()
    assert not failed and answers <= {3, 1003}
    assert norms.add is original and it.status("") == ()


def test_targets_that_cannot_be_read(place: Place) -> None:
    it = place.package(ADD)
    bad = it.read.__globals__["BadTarget"]
    for change in ({"target": "fw.norms"}, {"target": "fw norms:add"}, {"versions": "about 1"}, {"colour": "red"},
                   {"adapter": {"colour": "red"}}):  # fmt: skip
        with pytest.raises(bad):
            it.install(targets=[{**ADD, **change}])
    (place.root / "pkg" / "targets.json").write_text("{")
    with pytest.raises(bad, match=r"targets\.json"):
        it.install()
