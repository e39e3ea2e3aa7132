"""Building the injection library, what it is told, and what is said where it cannot be built or attached."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest

from warpsmith.app import library as building
from warpsmith.app.injection import Ask, Capture, SwapRule, environment
from warpsmith.app.library import library
from warpsmith.errors import BadInput, BuildFailed, Missing


def built(cache: Path) -> Path:
    try:
        return library(cache)
    except Missing as error:
        pytest.skip(error.message)


@pytest.mark.slow
def test_it_builds_without_a_gpu_and_is_kept(tmp_path: Path) -> None:
    path = built(tmp_path)
    made = path.stat().st_mtime_ns
    assert library(tmp_path) == path
    assert path.stat().st_mtime_ns == made
    exported = subprocess.run(("nm", "-D", "--defined-only", path), capture_output=True, text=True, check=True).stdout
    assert " T InitializeInjection" in exported


@pytest.mark.slow
def test_a_process_without_a_config_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = built(tmp_path)
    monkeypatch.delenv("WARPSMITH_INJECT", raising=False)
    assert ctypes.CDLL(str(path)).InitializeInjection() == 1


def test_a_source_that_does_not_compile_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        building.toolkit()
    except Missing as error:
        pytest.skip(error.message)
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "inject.cpp").write_text("int main( {\n")
    monkeypatch.setattr(building, "SOURCES", sources)
    with pytest.raises(BuildFailed, match="does not build with CUDA") as failed:
        library(tmp_path)
    assert "inject.cpp" in failed.value.log
    assert list((tmp_path / "inject").iterdir()) == []


def headers(root: Path, version: int = 13000) -> None:
    for name, text in (("cuda.h", f"#define CUDA_VERSION {version}\n"), ("cupti.h", "")):
        (root / "include").mkdir(parents=True, exist_ok=True)
        (root / "include" / name).write_text(text)


def test_where_a_toolkit_is_looked_for(tmp_path: Path) -> None:
    home = tmp_path / "cuda"
    assert building._within((home,)) == (None, "")
    headers(home)
    assert building._within((home,)) == (None, f"{home} lacks libcupti.so")
    lib = home / "extras" / "CUPTI" / "lib64" / "libcupti.so.13"
    lib.parent.mkdir(parents=True)
    lib.touch()
    found, _ = building._within((home,))
    assert found is not None
    assert (found.version, found.cupti, found.includes) == (13000, lib, (home / "include",))
    assert found.said == f"CUDA 13.0 ({lib})"
    headers(home, 12030)
    assert building._within((home,)) == (None, f"{home} is CUDA 12.3, and 12.4 is the oldest that will do")


def test_a_script_that_stands_for_nvcc_names_its_toolkit(tmp_path: Path) -> None:
    script = tmp_path / "nvcc"
    script.write_text('#!/bin/sh\nexec /opt/toolkits/cuda-13.9/bin/nvcc "$@"\n')
    assert building._toolkit_of(str(script)) == Path("/opt/toolkits/cuda-13.9")


def test_another_tool_that_is_attached_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="another tool is attached"):
        environment(tmp_path / "a.so", Ask(tmp_path), {"CUDA_INJECTION64_PATH": "/opt/other.so"})


def test_what_the_library_is_told(tmp_path: Path) -> None:
    rule = SwapRule("_Z1av", Path("/x/a b.cubin"), "b", (1, 2, 3), new_block=(64, 1, 1), where=((8, b"\1\2"),))
    ask = Ask(tmp_path, only=("_Z1av",), captures=(Capture("_Z1av", 4, block=(32, 1, 1)),), swaps=(rule,))
    variables = environment(tmp_path / "a.so", ask, {"A": "1"})
    assert variables["A"] == "1"
    lines = [line.split("\t") for line in Path(variables["WARPSMITH_INJECT"]).read_text().splitlines()]
    assert ["only", "_Z1av"] in lines
    assert ["capture", "_Z1av", "4", *"000", "32", "1", "1"] in lines
    assert ["swap", "_Z1av", *"123000", "/x/a b.cubin", "b", *"000", "64", "1", "1", *"000", "4294967295"] in lines
    assert lines[-1] == ["where", "8", "0102"]


def test_names_that_the_config_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a tab or a newline"):
        Ask(tmp_path, only=("a\tb",)).write()
    with pytest.raises(BadInput, match="more than 256"):
        Ask(tmp_path, swaps=(SwapRule("a", tmp_path, "b"),) * 257).write()
