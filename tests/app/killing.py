"""The kills of scripts/show-integrate where there is no device: with the C application in the place of the Rust one."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def main() -> int:
    """That part alone; KILLS, SEED and OUT as for the script."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(ROOT / "scripts"))
    script = runpy.run_path(str(ROOT / "scripts" / "show-integrate"), run_name="show_integrate")

    def product(self: Any, folder: str) -> Any:
        root = script["copied"](script["APPS"] / "c-product", self.show.work / folder)
        made = script["Application"](self.show, root, "product")
        page = made.root / "app.toml"
        page.write_text(re.sub(r"^pairs = .*\n", "", page.read_text(), flags=re.M).replace('"224"', '"160"'))
        return made

    script["Integrates"].rust = product
    show = script["Show"]("", ("kills",), "out", [])
    return int(show.go({"kills": script["Integrates"](show).part_kills}, lambda: None, lambda: None))


if __name__ == "__main__":
    sys.exit(main())
