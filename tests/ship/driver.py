"""A process that promotes: driver.py FOLDER promote|promotes|publish VERSION...

``promote`` is one promotion with its exit status, ``promotes`` one after another, ``publish`` only puts on the shelf
what was promoted before; both of these print the versions that they released.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from tests.ship.things import TASK, Script, Scripted, promote
from warpsmith.errors import WarpsmithError
from warpsmith.ship import provenance
from warpsmith.ship.shelf import AlreadyReleased
from warpsmith.surface.shelves import shelf


def main(folder: Path, how: str, versions: list[str]) -> int:
    space = Scripted(folder)
    space.script = Script()
    if how == "promote":
        try:
            return promote(space, versions[0]).exit_status
        except WarpsmithError as error:
            return error.exit_status
    if how == "promotes":
        print("begins", flush=True)
        for version in versions:
            assert promote(space, version).released
            print(version, flush=True)
        return 0
    there = shelf(space)
    first = there.manifest(there.entries()[0])
    place = there.place(TASK, first.version)
    contents = {f.path: (place / f.path).read_bytes() for f in first.files}
    random.shuffle(versions)
    for version in versions:
        try:
            there.publish(
                first.model_copy(update={"version": version}),
                contents,
                lambda m, raw: provenance.envelope(m, raw, None),
            )
            print(version)
        except AlreadyReleased:
            continue
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
