"""The starters of a stamped workspace on a GPU: built, right beside float64, and the model's tokens with them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.surface.test_serving_template import ran, stamped

pytestmark = pytest.mark.gpu
PACKAGES = {"triton": "triton", "cute": "cutlass"}


@pytest.mark.parametrize("name", ["cuda", "ptx", "triton", "cute"])
def test_a_starter_is_right_and_the_model_says_the_same_with_it(tmp_path: Path, name: str) -> None:
    if name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed")
    done = ran(stamped(tmp_path, "cuda"), "parity.py", "--ops", name, "--switch", name)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"rmsnorm    {name:8} right" in done.stdout
    assert "in place of 17 LlamaRMSNorm" in done.stdout
    assert "128 of 128 tokens equal" in done.stdout


def test_what_is_not_aligned_goes_to_plain_torch(tmp_path: Path) -> None:
    """Rows of 1001 elements are no multiple of 16 bytes: the guard keeps them out, and the other four widths pass."""
    done = ran(stamped(tmp_path, "cuda"), "parity.py", "--ops", "cuda,torch", "--no-model")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "36 inputs" in done.stdout


def test_profile_shows_the_kernel(tmp_path: Path) -> None:
    folder = stamped(tmp_path, "cuda")
    manifest = folder / "workspace/ops/kernel_manifest.yaml"
    text = manifest.read_text().replace("status: trial", "status: default")
    manifest.write_text(text.replace("auto: [cuda, triton, torch]", "auto: [cuda]"))
    done = ran(folder, "profile_once.py", "--batch", "4", "--prompt", "32", "--output", "8")
    assert done.returncode == 0, done.stderr
    assert "rmsnorm_f32" in done.stdout
