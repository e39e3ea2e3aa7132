"""Run in a process of its own by test_sglang.py: swap SGLang's diffusion functions and put them back. Prints JSON."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from tests.ship.install_things import installer, spaces
from tests.ship.sglang_stubs import prepare


def main(root: Path, exports: Path) -> None:
    stubbed = prepare(root)
    sys.path.insert(0, str(exports))
    it = installer("pkg")
    wanted = [t.module for t in it.read(exports / "pkg" / "targets.json")]
    failed = {}
    for name in wanted:
        try:
            importlib.import_module(name)
        except Exception as error:
            failed[name] = repr(error)
    modules = [sys.modules[name] for name in dict.fromkeys(wanted) if name in sys.modules]
    user = importlib.import_module("user") if not failed else None
    before = spaces(*modules, *([user] if user else []))
    done = it.install()
    norm = sys.modules["sglang.jit_kernel.diffusion.triton.norm"]
    swapped = norm.norm_infer
    held = user is not None and user.norm_infer is swapped and user.renamed is swapped
    gone = it.uninstall()
    said = {
        "stubbed": stubbed,
        "failed": failed,
        "installed": [s.json() for s in done],
        "uninstalled": [s.json() for s in gone],
        "held_by_name": held,
        "signature": it.signature_of(swapped),
        "original_before": norm.norm_infer is not swapped,
        "restored": spaces(*modules, *([user] if user else [])) == before,
    }
    print("\n" + json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
