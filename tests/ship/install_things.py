"""A framework and exported packages on disk, small and real: what the installer is tried on without a GPU.

The packages follow the contract of warpsmith/ship/runtime/dispatch.py in plain Python, so that installing is tested for
itself; tests/ship/test_installed_path.py does the same with a package that ``export`` made.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from warpsmith.ship import runtime

DISPATCH = '''\
import functools
import inspect


class Dispatch:
    """Adds 1000 to a sum, so that whoever was called is seen in the answer."""

    def __init__(self, name, release, ratio):
        self.name, self.release, self.ratio = name, release, ratio
        self.hits = self.fallbacks = 0

    def bind(self, original, arguments=None, when="True"):
        signature = inspect.signature(original)
        lacking = [n for n in ("x", "w") if n not in signature.parameters and n not in (arguments or {})]
        if lacking:
            raise TypeError(f"cannot bind: no parameter {', '.join(lacking)}")

        @functools.wraps(original)
        def bound(*args, **kwargs):
            said = signature.bind(*args, **kwargs)
            said.apply_defaults()
            if not eval(when, {}, dict(said.arguments)):
                self.fallbacks += 1
                return original(*args, **kwargs)
            self.hits += 1
            x, w = (eval((arguments or {}).get(n, n), {}, dict(said.arguments)) for n in ("x", "w"))
            return 1000 + x + w

        return bound


DISPATCH = {"add": Dispatch("add", "my/add@1.0.0", 1.5)}
'''
FRAMEWORK = {
    "__init__.py": '__version__ = "1.2.3"\nfrom .norms import add as exported\n',
    "norms.py": """\
def add(x, w, bias=None, *, scale=1):
    return x + w


def other(x):
    return x


class Layer:
    first = 1

    def forward(self, x, w):
        return x + w

    @staticmethod
    def plain(x, w):
        return x + w

    @classmethod
    def made(cls, x, w):
        return x + w

    last = 2


class Derived(Layer):
    pass
""",
    "user.py": """\
import functools
from .norms import add
from .norms import add as renamed

TABLE = {"add": add}
half = functools.partial(add, 1)


def closed():
    inner = add
    return lambda x, w: inner(x, w)


kept = closed()


def call(x, w):
    return add(x, w)
""",
    "late.py": "from .norms import add\n\n\ndef call(x, w):\n    return add(x, w)\n",
}


def framework(root: Path, name: str) -> Path:
    """A framework of three modules, with its distribution's metadata."""
    folder = root / name
    folder.mkdir(parents=True)
    for path, text in FRAMEWORK.items():
        (folder / path).write_text(text)
    said = root / f"{name}-1.2.3.dist-info"
    said.mkdir()
    (said / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n")
    return folder


def exported(root: Path, name: str, targets: list[dict[str, Any]]) -> Path:
    """An exported package with its targets and its own copy of the run time."""
    folder = root / name
    shutil.copytree(
        Path(str(runtime.__file__)).parent, folder / "_runtime", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "__init__.py").write_text(DISPATCH)
    (folder / "targets.json").write_text(json.dumps({"format": 1, "targets": targets}))
    return folder


def installer(name: str) -> Any:
    """The installer that lies in the package."""
    return importlib.import_module(f"{name}._runtime.install")


def forget(*names: str) -> None:
    """Take the modules out of the process."""
    for module in [m for m in sys.modules if m.split(".")[0] in names]:
        del sys.modules[module]


def spaces(*modules: ModuleType) -> list[list[tuple[str, int]]]:
    """Every name of the modules, in order, with the identity of what it holds."""
    return [[(name, id(value)) for name, value in vars(m).items() if name != "__builtins__"] for m in modules]
