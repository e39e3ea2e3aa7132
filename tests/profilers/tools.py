"""Programs named like profilers that misbehave: real processes on PATH."""

from __future__ import annotations

from pathlib import Path

VERSIONS = {
    "ncu": "NVIDIA (R) Nsight Compute Command Line Profiler\nVersion 2025.3.1.0 (build 36398880) (public-release)",
    "nsys": "NVIDIA Nsight Systems version 2025.3.2.474-253236389321v0",
    "valgrind": "valgrind-3.19.0",
    "perf": "perf version 6.1.148",
}
ARGUMENTS = """
report= log= all="$*"
while [ $# -gt 0 ]; do
    case $1 in
        --export) report=$2; shift ;;
        --output=*) report=${1#--output=} ;;
        --log-file) log=$2; shift ;;
    esac
    shift
done
"""
"""Where an ncu or nsys is to write, as ``$report`` and ``$log``."""


def tool(folder: Path, name: str, body: str, version: str | None = None) -> Path:
    """A program ``name`` in ``folder`` that says ``version`` and otherwise runs ``body`` of shell."""
    folder.mkdir(parents=True, exist_ok=True)
    said = VERSIONS[name] if version is None else version
    path = folder / name
    path.write_text(
        f"#!/bin/sh\nif [ \"$1\" = --version ]; then\ncat <<'SAID'\n{said}\nSAID\nexit 0\nfi\n{ARGUMENTS}{body}\n"
    )
    path.chmod(0o755)
    return path
