"""Tests side by side, measurements one at a time: under ``pytest -n 2`` whatever starts judges runs in one process, and
the others leave it the core that timed calls are pinned to.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

MEASURING = (
    "tasks", "tests/judge", "tests/evil", "tests/profilers/test_campaign.py", "tests/campaign/test_kill.py",
    "tests/surface/test_cli.py", "tests/surface/test_plants.py", "tests/surface/test_session.py",
    "tests/surface/test_knowledge.py", "tests/surface/test_mcp.py", "tests/surface/test_launch.py",
    "tests/ship/test_session.py",
)  # fmt: skip
"""Where tests start real judges, which would disturb each other."""
PLAIN = tuple(
    f"tests/judge/test_{name}.py"
    for name in (
        "admission", "app_plan", "bound", "device_plan", "inputs", "launch_plans", "load", "load_stream", "load_tools",
        "parity", "poison", "pool", "sanitize_reports", "shapes", "stamps", "verify",
    )
)  # fmt: skip
"""Of these, the files that start none."""
CORES = os.sched_getaffinity(0)
MEASURED = pytest.StashKey[bool]()
"""Whether this process has started real judges: then no other one does."""
settings.register_profile("quick", max_examples=20, deadline=None)
settings.register_profile("thorough", max_examples=100, deadline=None)


def pytest_configure(config: pytest.Config) -> None:
    """Fewer examples of each property where slow tests are left out; Ctrl-C interrupts, whoever started this: what a
    shell runs in the background ignores it, and so would every program that a test interrupts.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.load_profile("quick" if "not slow" in (config.option.markexpr or "") else "thorough")


def measures(where: str) -> bool:
    """Whether a test file, or a test by its name, starts real judges."""
    path = where.partition("::")[0]
    return path.startswith(MEASURING) and path not in PLAIN


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What measures goes to one process, everything else test by test to whichever is free. Not by marks: pytest 9.2
    took away what ``--dist loadgroup`` of xdist 3.8 stands on, and nothing says so.
    """
    from xdist.scheduler import LoadScopeScheduling

    class OneMeasures(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "measuring" if measures(nodeid) else nodeid

    return OneMeasures(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Beside the process that measures, the others keep off its core, from the first fixture on. That process itself
    has all cores, whatever it runs: nothing is measured meanwhile.
    """
    if measures(item.nodeid):
        item.config.stash[MEASURED] = True
    if "PYTEST_XDIST_WORKER" not in os.environ or item.config.stash.get(MEASURED, False):
        return (yield)
    os.sched_setaffinity(0, CORES - {max(CORES)} or CORES)
    try:
        return (yield)
    finally:
        os.sched_setaffinity(0, CORES)
