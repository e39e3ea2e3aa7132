"""Servers under a profiler that traces who started them. Owns how its variables reach them.

A profiler gets into a process by variables that it adds to the environment of the program it starts, under names of its
own choice. A server sees listed variables only, so those that were added are handed on to it, whatever their names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

BEFORE = "_WARPSMITH_TRACED_BEFORE"
"""Names of the variables that were there before the profiler started, with colons between. No setting, so not named
like one.
"""
WRITE_S = 60.0
"""Longest time that a server may take to end where its profiler writes what it saw."""
PRELOAD = "LD_PRELOAD"
"""A profiler adds to it, too, where it was there before."""


def marked(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment to start a profiler with, so that what it adds can be told from the rest."""
    return {**environment, BEFORE: ":".join(sorted(name for name in environment if name != BEFORE))}


def added(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a profiler added to the environment, of this process by default, with the mark itself: empty without one."""
    said = os.environ if environment is None else environment
    if BEFORE not in said:
        return {}
    before = set(said[BEFORE].split(":")) - {PRELOAD}
    return {name: value for name, value in said.items() if name not in before}


def within(environment: Mapping[str, str], argv: tuple[str, ...]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Environment and command such that a profiler gets into the program, and not into the keeper that starts it: the
    threads of a profiler would take the keeper's signals.
    """
    more = added(environment)
    if not more:
        return dict(environment), argv
    set_first = ("/usr/bin/env", *(f"{name}={value}" for name, value in more.items()))
    return {name: value for name, value in environment.items() if name not in more}, (*set_first, *argv)


def traced() -> bool:
    """Whether this process was started under one: then it ends in order, for a trace is written at its end."""
    return BEFORE in os.environ
