"""Running a compiler: which flags it may be given, what becomes of its output, and that it dies as a whole."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warpsmith.errors import BuildFailed, Missing, WarpsmithError
from warpsmith.toolchains import compiler
from warpsmith.toolchains.compiler import LOG_LIMIT, check_flags, run


def script(folder: Path, text: str) -> str:
    path = folder / "cc.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def running(word: str) -> list[str]:
    """The processes with that argument, whatever namespace they live in."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in entry.read_bytes().split(b"\0"):
                found.append(entry.parent.name)
    return found


@pytest.mark.parametrize(
    "flag",
    [
        "-O0", "-O3", "-Os", "-Ofast", "-march=native", "-mavx2", "-mprefer-vector-width=512", "-mtune=znver3",
        "-ffast-math", "-ffp-contract=fast", "-fno-math-errno", "-funroll-loops", "-flto", "-fvect-cost-model=cheap",
        "-std=c11", "-std=gnu17", "-DTILE=8", "-DNAME", "-DX=1.5", "-Wall", "-Wno-unused", "-Werror=format",
    ],
)  # fmt: skip
def test_flags_that_tune_code(flag: str) -> None:
    check_flags([flag])


@pytest.mark.parametrize(
    "flag",
    [
        "-fplugin=x.so", "-fplugin=./x.so", "-fplugin-arg-x-y=1", "-B/tmp", "-B", "@file", "@/etc/passwd",
        "-Wl,-rpath,/tmp", "-Wa,-ahl=out", "-Wp,-MD,out", "-include", "-include=/etc/passwd", "-imacros", "-I/usr",
        "-isystem", "-L/tmp", "-lm", "-o", "-oout", "/etc/passwd", "k.c", "-", "", "-x", "-xc++", "-c", "-S", "-E",
        "-MD", "-MF", "-save-temps", "-specs=x", "--sysroot=/", "-wrapper", "-T/x", "-Xlinker", "-static", "-rdynamic",
        "-O3 -include", "-O3\n-include", "-D", "-D1", '-DX="a b"', "-DX=$(id)", "-DX=/etc", "-fprofile-use=/tmp/x",
        "-ffile-prefix-map=/a=/b", "-fdebug-prefix-map=a=b", "-use_fast_math",
    ],
)  # fmt: skip
def test_flags_that_do_more(flag: str) -> None:
    with pytest.raises(BuildFailed) as caught:
        check_flags(["-O2", flag])
    assert repr(flag) in caught.value.message
    assert "only flags that tune code" in caught.value.message


@settings(deadline=None)
@given(st.text(st.sampled_from("-@=,/.OfmDWIBL19plugin \n"), max_size=12))
def test_no_flag_that_passes_holds_a_path_or_an_argument(flag: str) -> None:
    try:
        check_flags([flag])
    except BuildFailed:
        return
    assert flag.startswith(("-O", "-s", "-m", "-f", "-D", "-W"))
    assert not set(flag) & set("/@, \n")
    assert not flag.startswith("-fplugin")


def test_what_it_printed_is_the_log(tmp_path: Path) -> None:
    assert run([script(tmp_path, "echo out; echo err >&2")], tmp_path) == "out\nerr\n"


def test_it_runs_in_the_folder_without_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "LD_PRELOAD", "GCC_EXEC_PREFIX", "CPATH", "COMPILER_PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, "secret-or-worse")
    printed = run([script(tmp_path, "pwd; env; cat")], tmp_path)
    assert printed.splitlines()[0] == str(tmp_path)
    assert "secret-or-worse" not in printed
    assert "PATH=" in printed


def test_the_first_error_is_the_message_and_all_of_it_the_log(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed) as caught:
        run([script(tmp_path, "echo k.c: warning: odd; echo k.c:3:5: error: no such thing; exit 3")], tmp_path)
    assert caught.value.message == "cc.sh ended with status 3: k.c:3:5: error: no such thing"
    assert caught.value.log == "k.c: warning: odd\nk.c:3:5: error: no such thing\n"


def test_an_error_without_words_is_one_too(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="status 1: no message"):
        run([script(tmp_path, "exit 1")], tmp_path)


def test_a_flood_is_cut(tmp_path: Path) -> None:
    log = run([script(tmp_path, "head -c 5000000 /dev/zero | tr '\\0' x")], tmp_path)
    assert log == "x" * LOG_LIMIT


def test_bytes_that_are_no_text_are_no_error(tmp_path: Path) -> None:
    assert "\ufffd" in run([script(tmp_path, "printf '\\377'")], tmp_path)


def test_a_compiler_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no-such-compiler") as caught:
        run(["no-such-compiler"], tmp_path)
    assert caught.value.exit_status == 4


def test_a_time_out_ends_the_whole_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "TIMEOUT_S", 3.0)
    word = f"60.{os.getpid()}{time.monotonic_ns()}"
    tree = f"(sleep {word} & setsid sh -c 'sleep {word} & sleep {word}' & trap '' TERM; wait; sleep {word})"
    with pytest.raises(BuildFailed, match=r"cc\.sh took longer than 3 s") as caught:
        run([script(tmp_path, f"echo working; {tree}")], tmp_path)
    assert caught.value.log == "working\n"
    assert running(word) == []


def test_a_compiler_killed_from_outside_is_a_fault_not_a_verdict(tmp_path: Path) -> None:
    script = tmp_path / "cc"
    script.write_text("#!/bin/sh\nkill -9 $$\n")
    script.chmod(0o755)
    with pytest.raises(WarpsmithError, match="killed from outside") as killed:
        compiler.run([str(script)], tmp_path)
    assert not isinstance(killed.value, BuildFailed)


def test_a_probe_that_is_killed_is_asked_again(tmp_path: Path) -> None:
    """Half an answer would be another target, and with it another campaign."""
    script = tmp_path / "cc"
    script.write_text(
        f"#!/bin/sh\n[ -e {tmp_path}/asked ] && echo 'cc 1.0' && exit 0\ntouch {tmp_path}/asked\nkill -9 $$\n"
    )
    script.chmod(0o755)
    assert compiler.said_by([str(script)]) == "cc 1.0\n"
    script.write_text("#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(WarpsmithError, match="was killed"):
        compiler.said_by([str(script)])
