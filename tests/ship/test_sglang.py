"""SGLang 0.5.12.post1 itself: its diffusion functions swapped and restored, its ``__init__.py`` patched and reverted.

Needs the wheel, unpacked in a folder that ``SGLANG_ROOT`` names (kernels' modules and dist-info are enough). What this
machine lacks is stubbed; on one with torch and triton the kernels are real.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ship.install_things import exported
from tests.ship.sglang_stubs import VERSION
from warpsmith.ship import patch
from warpsmith.ship.environment import look
from warpsmith.ship.runtime.targets import normalised, read
from warpsmith.surface.patching import HOOKS

ROOT = os.environ.get("SGLANG_ROOT", "")
KNOWN = read(HOOKS / "sglang.json")
USER = """\
from sglang.jit_kernel.diffusion.triton.norm import norm_infer
from sglang.jit_kernel.diffusion.triton.norm import norm_infer as renamed
"""
DISPATCH = """\
import functools


class Anything:
    release, ratio, hits, fallbacks = "h200/any@1.0.0", 1.2, 0, 0

    def bind(self, original, arguments=None, when="True"):
        @functools.wraps(original)
        def bound(*args, **kwargs):
            return original(*args, **kwargs)

        return bound


DISPATCH = {name: Anything() for name in %s}
"""
pytestmark = pytest.mark.skipif(not ROOT, reason="SGLANG_ROOT names no unpacked wheel of SGLang")


def test_every_known_target_is_as_the_wheel_has_it() -> None:
    found = look(sys.executable, "sglang", targets=[t.target for t in KNOWN])
    if not found.file:  # not installed in this environment: from the unpacked wheel
        from warpsmith.ship.probe import signature

        for target in KNOWN:
            source = Path(ROOT, *target.module.split(".")).with_suffix(".py").read_text()
            assert normalised(signature(source, list(target.path))) == normalised(target.signature), target.target
            ast.parse(source)
        return
    assert found.version == VERSION
    assert {t.target: normalised(found.signatures[t.target]) for t in KNOWN} == {
        t.target: normalised(t.signature) for t in KNOWN
    }


def test_norm_infer_and_friends_are_swapped_and_restored(tmp_path: Path) -> None:
    rows = json.loads((HOOKS / "sglang.json").read_text())["targets"]
    kept = {r["target"]: r for r in reversed(rows)}  # one for each function: the first of the file
    folder = exported(tmp_path, "pkg", list(kept.values()))
    (folder / "__init__.py").write_text(DISPATCH % sorted({r["dispatch"] for r in kept.values()}))
    (tmp_path / "user.py").write_text(USER)
    script = Path(__file__).with_name("sglang_road.py")
    done = subprocess.run(
        (sys.executable, "-W", "ignore", str(script), ROOT, str(tmp_path)), capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["failed"] == {}
    assert {s["target"]: (s["state"], s["detail"]) for s in said["installed"]} == dict.fromkeys(kept, ("installed", ""))
    assert {s["version"] for s in said["installed"]} == {VERSION}
    assert said["held_by_name"] and said["original_before"] and said["restored"]
    assert said["signature"] == "(x, weight, bias, eps, is_rms_norm=False, out=None)"
    assert {s["state"] for s in said["uninstalled"]} == {"removed"}


def test_its_init_is_patched_and_reverted_to_the_byte() -> None:
    content = (Path(ROOT) / "sglang" / "__init__.py").read_bytes()
    after = patch.add(content, "pkg", "sglang", VERSION, "/exports")
    compile(after, "sglang/__init__.py", "exec")
    assert after.startswith(content) and after.count(b"\n") - content.count(b"\n") <= patch.MOST_LINES
    assert patch.remove(after, "pkg") == (content, True)
