"""Whether an export's win arrives, on a GPU: the rms norm called through an installed function, beside its baseline."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ship.export_things import exported, project_with_release, rmsnorm, shelf_of
from warpsmith.errors import Missing
from warpsmith.judge.machine import detect
from warpsmith.ship.export.arrival import looker
from warpsmith.ship.export.family import Family
from warpsmith.ship.installed import Through, against, stamped

pytestmark = pytest.mark.gpu


def test_what_the_kernel_wins_arrives_where_it_is_called(tmp_path: Path) -> None:
    """The bench's own ratio is made up here (``benchmarks/installed_path.py`` has a real one): what cold calls win is
    printed, and has to be a win; what the kernel's own binding wins in a row of calls has to arrive.
    """
    try:
        target = detect("cuda")
    except Missing as missing:
        pytest.skip(str(missing))
    space = project_with_release(tmp_path)
    made = rmsnorm(space, "1.0.0", target.architecture)
    look, found = looker(shelf_of(space), space.home / "cache" / "build"), []

    def looked(family: Family, package: Path) -> str:
        measured = look(family, package)
        assert not isinstance(measured, str), measured
        found.extend(measured)
        return "not measured: looked at by a test"

    assert not exported(space, made.spec, look=looked).against
    for row in stamped(found):
        print(row)
    assert [(one.how, one.hits - one.calls) for one in found] == [("cold", 0), ("stream", 0)] * 2
    assert all(_wins(one) for one in found)


def _wins(one: Through) -> bool:
    return one.found.interval[0] > 1 if one.how == "cold" else not against([one])
