"""The clock of the device contract: what counts as agreement with the outside, and what as forged. No device."""
# ruff: noqa: N802 - the driver's own names

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import Any

import pytest

from warpsmith.judge.stamps import (
    AGREED_NS,
    LAST,
    LATE_NS,
    LEAST_CALLS,
    PAGE,
    REMEMBERED,
    STEADY_NS,
    STRAY_NS,
    Clock,
    Doubtful,
    Forged,
    Sight,
)

TURN = 190


class Result(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_NOT_READY = 600


class Driver:
    """The driver functions that a clock calls; a launch runs ``stamp`` at once, on the host."""

    CU_MEMHOSTALLOC_DEVICEMAP = 2
    CUresult = Result

    def __init__(self) -> None:
        self.page = ctypes.create_string_buffer(PAGE + 8)
        self.time = 10**18
        self.after: Any = None

    def cuMemHostAlloc(self, size: int, flags: int) -> tuple[int, int]:
        return 0, (ctypes.addressof(self.page) + 7) & ~7

    def cuMemHostGetDevicePointer(self, host: int, flags: int) -> tuple[int, int]:
        return 0, host

    def cuLaunchKernel(self, *arguments: Any) -> tuple[int]:
        pointers = (ctypes.c_void_p * 2).from_address(arguments[-2])
        slot, key = (ctypes.c_uint64.from_address(p or 0).value for p in pointers)
        ctypes.c_uint64.from_address(slot).value = self.time ^ key
        self.time += 50_000
        return (0,)

    def cuStreamQuery(self, stream: Any) -> tuple[int]:
        return (Result.CUDA_SUCCESS,)

    def cuStreamSynchronize(self, stream: Any) -> tuple[int]:
        if self.after is not None:
            self.after()
        return (0,)


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def clock(driver: Driver) -> Clock:
    return Clock(driver, None, None)


def once(clock: Clock) -> None:
    clock.begin()
    clock.end()


def test_a_call_that_nobody_watches_takes_what_the_stamps_say(clock: Clock) -> None:
    clock.overhead_ns = 1800
    for _ in range(100):
        once(clock)
        assert clock.unwatched() == pytest.approx(48.2e-6)


def test_a_time_below_the_clocks_own_is_still_positive(clock: Clock, driver: Driver) -> None:
    clock.overhead_ns = 60_000
    once(clock)
    assert clock.unwatched() == 1e-9


def test_places_and_keys_are_never_the_same(clock: Clock) -> None:
    seen = set()
    for _ in range(200):
        once(clock)
        clock.unwatched()
        seen.add((clock.slots, clock.keys))
        assert clock.slots[0] // 8 != clock.slots[1] // 8, "on cache lines of their own"
    assert len(seen) == 200


@pytest.mark.parametrize("where", ["before", "after", "elsewhere"])
def test_whoever_writes_there_is_found(clock: Clock, where: str) -> None:
    once(clock)
    first, last = (Sight(clock.words[slot], 0, TURN) for slot in clock.slots)
    slot = {"before": clock.slots[0], "after": clock.slots[1]}.get(where, (clock.slots[0] + 100) % (PAGE // 8))
    clock.words[slot] ^= 1
    with pytest.raises(Forged, match="where the judge keeps its clock"):
        clock._inside(first.value, last.value)


def test_stamps_in_the_wrong_order_are_no_time(clock: Clock) -> None:
    once(clock)
    first, last = (clock.words[slot] for slot in clock.slots)
    clock.keys = (clock.keys[0] ^ 1 << 61, clock.keys[1])
    with pytest.raises(Forged, match="before its first"):
        clock._inside(first, last)


def sights(took: int, first_gap: int = 2 * TURN, last_gap: int = 2 * TURN) -> tuple[Sight, Sight]:
    """What the watch sees of two stamps that are ``took`` ns apart outside."""
    return Sight(1, 10**6 - first_gap, 10**6), Sight(2, 10**6 + took - last_gap, 10**6 + took)


def test_agreement_is_no_disturbance(clock: Clock) -> None:
    for noise in (0, 120, -120, 60, -60) * 20:
        assert clock._agreed(*sights(20_000 + noise), 20_000, 2300) == ""


@pytest.mark.parametrize(("first", "last"), [(STEADY_NS + 1, 300), (300, STEADY_NS + 1), (9000, 9000)])
def test_an_interrupted_watch_disturbs_its_call_alone(clock: Clock, first: int, last: int) -> None:
    for _ in range(50):
        assert "interrupted" in clock._agreed(*sights(20_000, first, last), 20_000, 2300)
    assert clock._agreed(*sights(20_000), 20_000, 2300) == ""


@pytest.mark.parametrize("shift", [STRAY_NS + 1000, -STRAY_NS - 1000, 10**6])
def test_a_few_stray_times_are_accidents_and_more_are_none(clock: Clock, shift: int) -> None:
    for number in range(60):
        stray = shift if number % 5 == 0 else 0
        assert bool(clock._agreed(*sights(20_000 + stray), 20_000, 2300)) is bool(stray)
    clock._agreed(*sights(20_000 + shift), 20_000, 2300)
    with pytest.raises(Doubtful, match=r"outside \(0 ns in the median, 4 of 15 calls by far\)"):
        clock._agreed(*sights(20_000 + shift), 20_000, 2300)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_little_each_time_adds_up(clock: Clock, sign: int) -> None:
    shift = sign * (AGREED_NS + 100)
    for _ in range(LEAST_CALLS - 1):
        clock._agreed(*sights(2_500 + shift), 2_500, 2300)
    with pytest.raises(Doubtful, match="do not agree"):
        clock._agreed(*sights(2_500 + shift), 2_500, 2300)


def test_clocks_may_drift_apart_over_long_calls(clock: Clock) -> None:
    for _ in range(50):
        assert clock._agreed(*sights(10**9 - 3000), 10**9, 2300) == ""
        assert clock._agreed(*sights(10**9 + 500_000), 10**9, 2300) == ""
    for _ in range(50):
        assert clock._agreed(*sights(20_000), 20_000, 2300) == "", "and that is not held against short ones"


def test_work_after_the_last_stamp_is_found(clock: Clock) -> None:
    late = [LATE_NS + 5000] * REMEMBERED
    for delay in late[:-1]:
        clock._agreed(*sights(20_000), 20_000, delay)
    with pytest.raises(Doubtful, match="still running"):
        clock._agreed(*sights(20_000), 20_000, late[-1])


def test_a_few_late_ends_in_a_row_are_the_machines(clock: Clock) -> None:
    for number in range(3 * REMEMBERED):
        assert clock._agreed(*sights(20_000), 20_000, LATE_NS + 5000 if number % REMEMBERED < 7 else 2300) == ""


def test_a_late_end_now_and_then_is_the_machines(clock: Clock) -> None:
    for number in range(60):
        assert clock._agreed(*sights(20_000), 20_000, 2300 if number % 4 else 10**7) == ""


def test_what_is_written_while_it_is_watched_counts_first(clock: Clock, driver: Driver) -> None:
    """The stamp that was seen is the time; one that replaces it is found."""
    once(clock)
    before = clock.before
    clock.before = (before[0] ^ 1, before[1] ^ 1)
    driver.after = lambda: clock.words.__setitem__(clock.slots[LAST], 12345)
    with pytest.raises(Forged, match="where the judge keeps its clock"):
        clock.watched()
