"""What a profiler adds to its program's environment reaches servers; nothing else does, and nothing without one."""

from __future__ import annotations

from warpsmith.serving.traced import BEFORE, added, marked, within


def test_only_what_was_added_is_handed_on() -> None:
    mine = {"PATH": "/bin", "SECRET": "s", "LD_PRELOAD": "mine.so"}
    seen = {**marked(mine), "CUDA_INJECTION64_PATH": "/tool.so", "LD_PRELOAD": "tool.so:mine.so"}
    assert set(added(seen)) == {BEFORE, "CUDA_INJECTION64_PATH", "LD_PRELOAD"}
    assert added(seen)["LD_PRELOAD"] == "tool.so:mine.so"
    assert added(mine) == {}


def test_a_mark_is_not_a_variable_that_was_there_before() -> None:
    assert set(added(marked(marked({"PATH": "/bin"})))) == {BEFORE}


def test_only_the_program_is_started_with_what_was_added() -> None:
    seen = {**marked({"PATH": "/bin"}), "TOOL": "1"}
    assert within(seen, ("run",)) == ({"PATH": "/bin"}, ("/usr/bin/env", f"{BEFORE}=PATH", "TOOL=1", "run"))
    assert within({"PATH": "/bin"}, ("run",)) == ({"PATH": "/bin"}, ("run",))
