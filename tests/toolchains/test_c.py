"""The C toolchain and the build cache, with the compilers of this machine."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from warpsmith.errors import BadInput, BuildFailed, Missing
from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.target import Target
from warpsmith.toolchains import Configuration, cache, compiler, toolchain
from warpsmith.toolchains.cache import Built, build

TARGET = Target(hardware="cpu", device="this", architecture="native")
SOURCE = """
#include "factor.h"
int scale(int x) {
#ifdef WARPSMITH_DEBUG
    return -TIMES * FACTOR * x;
#else
    return TIMES * FACTOR * x;
#endif
}
"""
HEADER = "#define FACTOR 10\n"


class Bench:
    """A folder of sources beside a cache."""

    def __init__(self, folder: Path) -> None:
        self.sources = folder / "sources"
        self.cache = folder / "cache"

    def candidate(self, files: dict[str, str] | None = None, **changes: Any) -> Candidate:
        sources = []
        for path, text in (files or {"scale.c": SOURCE, "factor.h": HEADER}).items():
            (self.sources / path).parent.mkdir(parents=True, exist_ok=True)
            (self.sources / path).write_text(text)
            sources.append(SourceFile(path=path, content=digest_bytes(text.encode())))
        said = {"toolchain": "c", "entry": "scale", "sources": tuple(sources), "parameters": {"TIMES": 3}, **changes}
        return Candidate(**said)

    def build(self, candidate: Candidate, configuration: Configuration = "release", target: Target = TARGET) -> Built:
        return build(candidate, self.sources, target, configuration, self.cache)

    @property
    def entries(self) -> list[Path]:
        return sorted(p.parent for p in self.cache.glob("*/*/build.json"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def call(built: Built, x: int = 2) -> int:
    return int(ctypes.CDLL(str(built.binary)).scale(x))


def test_it_builds_what_runs_and_says_how(bench: Bench) -> None:
    candidate = bench.candidate(flags=("-ffast-math",))
    built = bench.build(candidate)
    assert call(built) == 60
    report = built.build
    assert report.toolchain == "c"
    assert not report.cached
    assert report.binary == digest_bytes(built.binary.read_bytes())
    assert report.binary_bytes == built.binary.stat().st_size
    assert report.seconds > 0
    assert shutil.which(report.command[0])
    assert {"-O3", "-march=native", "-ffast-math", "-DTIMES=3", "OUTPUT", "scale.c"} <= set(report.command)
    assert "factor.h" not in report.command
    assert str(bench.cache) not in " ".join(report.command), "no path of this machine is evidence"


def test_the_second_build_is_the_first(bench: Bench) -> None:
    candidate = bench.candidate()
    first = bench.build(candidate)
    shutil.rmtree(bench.sources)
    second = bench.build(candidate)
    assert second.build.cached
    assert second.build.model_copy(update={"cached": False}) == first.build
    assert second.binary == first.binary
    assert len(bench.entries) == 1


@pytest.mark.parametrize("change", [{"flags": ("-O1",)}, {"parameters": {"TIMES": 4}}, {"entry": "other"}])
def test_another_candidate_is_another_entry(bench: Bench, change: dict[str, Any]) -> None:
    bench.build(bench.candidate())
    assert not bench.build(bench.candidate(**change)).build.cached
    assert len(bench.entries) == 2


def test_another_content_configuration_or_architecture_is_another_entry(bench: Bench) -> None:
    assert call(bench.build(bench.candidate())) == 60
    assert call(bench.build(bench.candidate(), "debug")) == -60
    elsewhere = TARGET.model_copy(update={"architecture": "another"})
    assert not bench.build(bench.candidate(), target=elsewhere).build.cached
    other = bench.candidate({"scale.c": SOURCE, "factor.h": "#define FACTOR 100\n"})
    assert call(bench.build(other)) == 600
    assert len(bench.entries) == 4
    renamed = TARGET.model_copy(update={"uuid": "another"})
    assert bench.build(other, target=renamed).build.cached, "an equal device takes the same binary"


@pytest.mark.parametrize("damage", ["binary", "build.json", "gone", "nothing"])
def test_a_damaged_entry_is_built_again(bench: Bench, damage: str) -> None:
    candidate = bench.candidate()
    built = bench.build(candidate)
    (folder,) = bench.entries
    if damage == "gone":
        (folder / "binary").unlink()
    elif damage != "nothing":
        content = (folder / damage).read_bytes()
        (folder / damage).write_bytes(content[: len(content) // 2])
    again = bench.build(candidate)
    assert again.build.cached is (damage == "nothing")
    assert again.build.binary == built.build.binary == digest_bytes(again.binary.read_bytes())
    assert call(again) == 60
    assert bench.build(candidate).build.cached
    assert sorted(p.name for p in folder.iterdir()) == ["binary", "build.json"]


def test_a_build_that_fails_leaves_nothing_in_the_cache(bench: Bench) -> None:
    with pytest.raises(BuildFailed):
        bench.build(bench.candidate({"scale.c": "int scale(int x) { return y; }\n"}))
    assert bench.entries == []
    assert list(bench.cache.iterdir()) == []


def test_the_compilers_own_words_are_the_error(bench: Bench) -> None:
    with pytest.raises(BuildFailed) as caught:
        bench.build(bench.candidate({"scale.c": "int scale(int x)\n{\n    return undeclared_thing;\n}\n"}))
    assert "scale.c:3" in caught.value.message
    assert "undeclared_thing" in caught.value.message
    assert "undeclared_thing" in caught.value.log
    assert caught.value.exit_status == 1


def test_a_warning_is_kept(bench: Bench) -> None:
    built = bench.build(bench.candidate({"scale.c": "int scale(int x) { int unused; return x; }\n"}), "debug")
    assert "unused" in built.build.log


@pytest.mark.parametrize("flag", ["-fplugin=x.so", "-B/tmp", "@file", "-Wl,-rpath,/tmp", "-include"])
def test_a_forbidden_flag_never_reaches_the_compiler(
    bench: Bench, flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler_script(tmp_path, monkeypatch, "touch ran")
    with pytest.raises(BuildFailed, match="is not allowed"):
        bench.build(bench.candidate(flags=(flag,)))
    assert not (bench.sources / "ran").exists()


def test_debug_has_line_information_and_release_has_none(bench: Bench) -> None:
    release, debug = bench.build(bench.candidate()), bench.build(bench.candidate(), "debug")
    assert b".debug_line" in debug.binary.read_bytes()
    assert b".debug_line" not in release.binary.read_bytes()
    assert debug.build.configuration == "debug"
    assert "-DWARPSMITH_DEBUG=1" in debug.build.command
    assert "-DWARPSMITH_DEBUG=1" not in release.build.command
    assert "-g" in debug.build.command


def test_several_sources_and_headers_in_folders(bench: Bench) -> None:
    files = {
        "scale.c": '#include "lib/help.h"\nint scale(int x) { return help(x); }\n',
        "lib/help.c": '#include "help.h"\nint help(int x) { return x + 1; }\n',
        "lib/help.h": "int help(int x);\n",
    }
    built = bench.build(bench.candidate(files))
    assert call(built) == 3
    assert {"scale.c", "lib/help.c"} <= set(built.build.command)


@pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")
def test_clang_builds_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with_default = bench.build(bench.candidate())
    monkeypatch.setenv("WARPSMITH_CC", "clang")
    with_clang = bench.build(bench.candidate())
    assert call(with_clang) == 60
    assert with_clang.build.command[0] == "clang"
    assert not with_clang.build.cached
    assert with_clang.binary != with_default.binary


def compiler_script(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    path = folder / "my-cc"
    path.write_text(f'#!/bin/sh\ntest "$1" = --version && echo my-cc 1.0 && exit\n{text}\nexec cc "$@"\n')
    path.chmod(0o755)
    monkeypatch.setenv("WARPSMITH_CC", str(path))
    return path


def test_the_named_compiler_is_used(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bench.build(bench.candidate())
    path = compiler_script(tmp_path, monkeypatch, "echo it was I")
    assert toolchain("c").version() == "my-cc 1.0"
    built = bench.build(bench.candidate())
    assert built.build.command[0] == str(path)
    assert built.build.log == "it was I\n"
    assert built.binary != before.binary, "the compiler is part of the key"
    assert call(built) == 60


def test_a_named_compiler_that_is_not_there_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking another one silently would be evidence about another compiler."""
    monkeypatch.setenv("WARPSMITH_CC", "no-such-cc")
    with pytest.raises(Missing, match="WARPSMITH_CC=no-such-cc"):
        bench.build(bench.candidate())


def test_no_compiler_at_all_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WARPSMITH_CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="no C compiler"):
        bench.build(bench.candidate())


SLOW = """
#if __INCLUDE_LEVEL__ < 150
#include __FILE__
#include __FILE__
#endif
"""


def processes_naming(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (entry / "cmdline").read_bytes() and int(entry.name) != os.getpid():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def test_a_source_that_takes_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler's driver has children of its own: all of them must be gone."""
    monkeypatch.setattr(compiler, "TIMEOUT_S", 1.0)
    name = f"endless_{os.getpid()}.c"
    with pytest.raises(BuildFailed, match="took longer than 1 s"):
        bench.build(bench.candidate({name: SLOW}))
    until = time.monotonic() + 30
    while processes_naming(name) and time.monotonic() < until:
        time.sleep(0.02)
    assert processes_naming(name) == []
    assert bench.entries == []


def test_an_unknown_toolchain_is_refused(bench: Bench) -> None:
    with pytest.raises(BadInput, match="'fortran'") as caught:
        bench.build(bench.candidate(toolchain="fortran"))
    assert "c, cubin, cuda, cute" in caught.value.remedy


class TestPython:
    """The toolchain that compiles nothing."""

    def candidate(self, bench: Bench, text: str) -> Candidate:
        return bench.candidate({"peer.py": text}, toolchain="python", parameters={})

    def test_the_binary_is_the_module(self, bench: Bench) -> None:
        built = bench.build(self.candidate(bench, "def scale(x):\n    return x\n"))
        assert built.binary.read_bytes() == (bench.sources / "peer.py").read_bytes()
        assert toolchain("python").version() == f"python {sys.version.split()[0]}"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("def scale(x:\n", "peer.py does not parse"),
            ("def other(x): pass\n", "no function 'scale'"),
            ("class K:\n    def scale(self): pass\n", "no function 'scale'"),
            ("scale = 3\n", "no function 'scale'"),
            ("\x00", "does not parse"),
        ],
    )
    def test_what_is_no_module_with_the_entry(self, bench: Bench, text: str, said: str) -> None:
        with pytest.raises(BuildFailed, match=said):
            bench.build(self.candidate(bench, text))

    def test_nothing_is_run_while_it_is_built(self, bench: Bench, tmp_path: Path) -> None:
        trace = tmp_path / "trace"
        bench.build(self.candidate(bench, f"open({str(trace)!r}, 'w')\ndef scale(x): pass\n"))
        assert not trace.exists()


def test_two_processes_may_build_the_same_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one finds the entry of the quicker one in its place."""
    candidate = bench.candidate()
    real = cache.toolchain

    def slower(name: str) -> Any:
        tool = real(name)
        whole = tool.build

        def build_after_another(job: Any) -> Any:
            monkeypatch.setattr(cache, "toolchain", real)
            bench.build(candidate)
            return whole(job)

        tool.build = build_after_another  # type: ignore[method-assign]
        return tool

    monkeypatch.setattr(cache, "toolchain", slower)
    built = bench.build(candidate)
    assert call(built) == 60
    assert len(bench.entries) == 1
    assert [p for p in bench.cache.iterdir() if p.name.startswith("building-")] == []
