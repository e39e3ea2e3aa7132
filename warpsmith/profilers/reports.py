"""Reports of Nsight Compute, read through NVIDIA's own ``ncu_report`` and turned into the model's records.

The reader runs in a process of its own (ncu_reader.py), since it is native code over a file that may be broken. A
report can be read on any machine: the module lies beside ncu, and on PyPI as ``ncu-report``.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from warpsmith.errors import BadReport, Missing, WarpsmithError
from warpsmith.model.metrics import HOPPER, METRICS, read, stall_key
from warpsmith.model.profile import Advice, KernelProfile, SourceLine
from warpsmith.profilers.places import placed

READER = Path(__file__).with_name("ncu_reader.py")
READ_S = 60.0
MOST_BYTES = 1 << 30
MOST_RESULTS = 256
"""Launches that are read from one report, at most."""
_REPROFILE = "Profile again; a report is made by 'warpsmith profile', or by ncu -o."
_LINKS = (
    (re.compile(r"@url:([^@]*?):https?://[^@]*@"), r"\1"),
    (re.compile(r"@(?:section|sass|source):[^@]*?([^:@]+)@"), r"\1"),
)
"""Links in the vendor's messages, such as ``@section:SourceCounters:Source Counters@``, and what is left of them."""


def read_report(
    path: Path, kernels: Iterable[str] = (), *, quick: bool = False, sources: Mapping[str, str] | None = None
) -> tuple[KernelProfile, ...]:
    """The kernels of a report, each launch geometry once, in the order in which they were launched.

    Args:
        path: The ``.ncu-rep`` file.
        kernels: Names (as written, or mangled) that are wanted; everything where none is given.
        quick: Whether only what the quick effort collects counts as missing.
        sources: Texts of the candidate's files by name, for lines whose text the report does not carry.

    Raises BadReport for a file that is no report, is broken, or lacks the kernels, and Missing without the reader.
    """
    found = results(path)
    wanted = set(kernels)
    chosen = [k for k in found if not wanted or {k["name"], k["symbol"]} & wanted]
    if not chosen:
        has = ", ".join(sorted({k["name"] for k in found})) or "no kernel at all"
        asked = f"the kernel {', '.join(sorted(wanted))}" if wanted else "a kernel"
        raise BadReport(f"{path}: the report lacks {asked}; it has {has}.", _REPROFILE)
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for launch in chosen:
        groups.setdefault((launch["symbol"], *launch["grid"], *launch["block"]), []).append(launch)
    return tuple(_kernel(path, launches, quick, sources or {}) for launches in groups.values())


def results(path: Path, most: int = MOST_RESULTS) -> list[dict[str, Any]]:
    """Every profiled launch of a report as ncu_reader.py says it. Raises as :func:`read_report` does."""
    _check_file(path)
    names = sorted({name for spec in METRICS.values() for source in spec.sources for name in source.names})
    asked = "\n".join(
        [*names, "device__attribute_compute_capability_major", "device__attribute_compute_capability_minor"]
    )
    argv = (sys.executable, "-I", str(READER), str(path.absolute()), str(most), *_modules())
    try:
        done = subprocess.run(argv, input=asked.encode(), capture_output=True, timeout=READ_S, check=False, cwd="/")
    except subprocess.TimeoutExpired:
        raise BadReport(f"{path}: reading it took longer than {READ_S:g} s.", _REPROFILE) from None
    if done.returncode < 0:
        raise BadReport(f"{path}: the report cannot be read: NVIDIA's reader crashed on it.", _REPROFILE)
    try:
        said = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError, RecursionError):
        tail = done.stderr.decode(errors="replace").strip()[-300:]
        raise BadReport(f"{path}: the report cannot be read: {tail or done.returncode}.", _REPROFILE) from None
    match said:
        case {"lacks": True, "error": str(why)}:
            raise Missing(
                f"NVIDIA's report reader is not here ({why}).", "Install the package ncu-report, or Nsight Compute."
            )
        case {"error": str(why)}:
            raise BadReport(f"{path}: the report cannot be read: {why}.", _REPROFILE)
        case {"kernels": list(kernels)}:
            return kernels
    raise WarpsmithError(f"{READER.name} answered {str(said)[:200]!r}.")


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise BadReport(f"{path}: the report cannot be opened: {error.strerror}.", _REPROFILE) from None
    if not path.is_file():
        raise BadReport(f"{path} is not a file.", _REPROFILE)
    if size == 0:
        raise BadReport(f"{path}: the report is empty: the profiler was ended before it wrote it.", _REPROFILE)
    if size > MOST_BYTES:
        raise BadReport(
            f"{path}: the report has {size >> 20} MiB, and {MOST_BYTES >> 20} are read at most.", _REPROFILE
        )


@lru_cache(maxsize=1)
def _modules() -> tuple[str, ...]:
    """Folders that may hold ``ncu_report``: beside the installed ncu, which knows its own reports, then packages."""
    found: list[str] = []
    if ncu := shutil.which("ncu"):
        places = [Path(ncu).resolve().parent, *sorted(Path("/opt/nvidia/nsight-compute").glob("*"), reverse=True)]
        found += [str(p / "extras/python") for p in places if (p / "extras/python/ncu_report.py").is_file()]
    return (*found, *(p for p in sys.path if (Path(p) / "ncu_report").is_dir()))


def _kernel(path: Path, launches: Sequence[dict[str, Any]], quick: bool, sources: Mapping[str, str]) -> KernelProfile:
    """One kernel from its launches; metrics are the medians."""
    first = launches[0]
    names = dict.fromkeys(name for launch in launches for name in launch["raw"])
    raw = {n: statistics.median(v for launch in launches if (v := launch["raw"].get(n)) is not None) for n in names}
    major = raw.get("device__attribute_compute_capability_major", HOPPER / 10)
    minor = raw.get("device__attribute_compute_capability_minor", 0)
    metrics, missing = read(raw, int(10 * major + minor), quick=quick)
    registers = metrics.get("registers")
    try:
        return KernelProfile(
            kernel=first["name"],
            grid=tuple(first["grid"]),
            block=tuple(first["block"]),
            shared_bytes=int(metrics.get("shared_bytes", 0)),
            registers=int(registers) if registers is not None else None,
            launches=len(launches),
            metrics=metrics,
            missing=missing,
            lines=tuple(_line(said, sources) for said in first["lines"]),
            advice=tuple(_advice(said) for said in first["advice"]),
        )
    except ValueError as error:
        raise BadReport(f"{path}: the report says what cannot be: {error}.", _REPROFILE) from None


def _line(said: Mapping[str, Any], sources: Mapping[str, str]) -> SourceLine:
    """A hot line; the candidate's own files are named as the candidate names them."""
    line = int(said["line"])
    file, text = placed(str(said["file"]), line, sources)
    word = str(said["stall"])
    return SourceLine(
        file=file,
        line=line,
        text=text or str(said["text"]),
        samples=min(1.0, float(said["share"])),
        stall=stall_key("no_instruction" if word == "no_instructions" else word),
        sass=tuple(said["sass"]),
    )


def _advice(said: Mapping[str, Any]) -> Advice:
    """The vendor's estimate is in per cent of the time."""
    text = ": ".join(filter(None, (said["title"], said["message"])))
    for link, words in _LINKS:
        text = link.sub(words, text)
    speedup = said["speedup"]
    return Advice(
        rule=said["rule"],
        kind=said["kind"],
        message=text,
        speedup=None if speedup is None else speedup / 100,
        scope=said["scope"] if speedup is not None else "",
        metrics=said["metrics"],
    )
