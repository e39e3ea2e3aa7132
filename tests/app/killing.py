"""The kills of scripts/show-integrate where there is no device: with the C application in the place of the Rust one."""

from __future__ import annotations

import importlib.util
import re
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def main() -> int:
    """That part alone; KILLS, SEED and OUT as for the script."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(ROOT / "scripts"))
    loader = SourceFileLoader("show_integrate", str(ROOT / "scripts" / "show-integrate"))
    module: Any = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))  # type: ignore[arg-type]
    loader.exec_module(module)

    def product(self: Any, folder: str) -> Any:
        made = module.Application(
            self.show, module.copied(module.APPS / "c-product", self.show.work / folder), "product"
        )
        page = made.root / "app.toml"
        page.write_text(re.sub(r"^pairs = .*\n", "", page.read_text(), flags=re.M).replace('"224"', '"160"'))
        return made

    module.Integrates.rust = product
    show = module.Show("", ("kills",), "out", [])
    return int(show.go({"kills": module.Integrates(show).part_kills}, lambda: None, lambda: None))


if __name__ == "__main__":
    sys.exit(main())
