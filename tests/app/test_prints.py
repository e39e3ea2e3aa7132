"""Temporary prints: what they say is what the program says of itself, and the tree is afterwards as it was."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.app.products import HERE, binary, product, tree
from warpsmith.app.loading import load_app
from warpsmith.app.prints import SAYS, observe_prints, read, scalars, with_prints
from warpsmith.app.site import Site
from warpsmith.errors import BadInput

LAUNCHES = """
#include <cstdio>
struct Shape { int rows, cols; };
namespace k { template <typename T> __global__ void scale(T *x, Shape s, float by, long n) { x[0] = by * n * s.rows; } }
static int calls = 0;
int next() { return ++calls; }
void launch(float *x, Shape s, float by, long n, bool twice) {
    const dim3 block(32, 4);
    if (twice)
        k::scale<float><<<dim3((n + 31) / 32), block>>>(x, s, by, n);
    k::scale<float><<<next(), 64>>>(x, s, by * 2, n + next());
}
int main() {
    launch(nullptr, {3, 5}, 0.1f, 100, true);
    launch(nullptr, {3, 5}, 0.25f, 1L << 40, false);
    std::printf("calls %d\\n", calls);
}
"""
APP = """
name = "launches"
source = "main.cu"
kernel = "k::scale<float>"
wrapper = "launch"
build = ["nvcc", "-std=c++17", "-arch=sm_90", "-o", "program", "main.cu"]
run = ["./program"]
verify = ["true"]
artefacts = ["program"]
"""


def test_scalars_of_a_c_wrapper_are_those_that_the_program_prints_itself(tmp_path: Path) -> None:
    root = product(tmp_path, ('"--repeat", "4"', '"--repeat", "4", "--debug"'))
    subprocess.run(["make", "-s"], cwd=root, check=True)
    before, built = tree(root), binary(root)
    with Site(load_app(root), tmp_path / "state") as site:
        printed = observe_prints(site)
    own = subprocess.run(
        ["./product", "--size", "160", "--repeat", "4", "--debug"], cwd=root, capture_output=True, text=True
    )
    lines = [dict(w.split("=") for w in line.split()[2:]) for line in own.stderr.splitlines()]
    assert [(p.place, p.values, p.times) for p in printed] == [("enter product", lines[0], len(lines))]
    assert [(s.value, s.share, s.distinct) for s in scalars(printed, "enter product")] == [(160, 1.0, 1)] * 3
    assert tree(root) == before and binary(root) == built


def test_prints_never_stay_whatever_fails(tmp_path: Path) -> None:
    root = product(tmp_path, ('build = ["make", "-s"]', f"build = 'make -s && ! grep -q {SAYS.strip()} src/product.c'"))
    before = tree(root)
    with Site(load_app(root), tmp_path / "state") as site, pytest.raises(BadInput, match="not build with prints"):
        observe_prints(site)
    assert tree(root) == before
    path = root / "app.toml"
    path.write_text(path.read_text().replace('wrapper = "product"\n', ""))
    with Site(load_app(root), tmp_path / "state") as site, pytest.raises(BadInput, match="wrapper is missing"):
        observe_prints(site)


def test_killed_while_the_prints_are_in_the_next_command_takes_them_out(tmp_path: Path) -> None:
    root = product(tmp_path, ('run = ["./product", "--size", "160", "--repeat", "4"]', 'run = "sleep 300"'))
    before = tree(root)
    told = "from pathlib import Path; from warpsmith.app.loading import load_app; from warpsmith.app.site import Site; "
    told += "from warpsmith.app.prints import observe_prints; root = Path.cwd() / 'app'; "
    told += "observe_prints(Site(load_app(root), Path.cwd() / 'state'))"
    running = subprocess.Popen([sys.executable, "-c", told], cwd=tmp_path)
    while SAYS not in (root / "src/product.c").read_text():
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert tree(root) != before
    with Site(load_app(root), tmp_path / "state") as site:
        assert "src/product.c" in site.recover()
    assert tree(root) == before


def test_other_lines_and_torn_ones_are_passed_over() -> None:
    lines = [
        f'{SAYS}["enter f",{{"n":"4","x":"0.5"}}]', "noise", f'before {SAYS}["enter f",{{"n":"4","x":"0.5"}}]',
        f'{SAYS}["enter f",{{"n":"8","x":"nan"}}]', f'{SAYS}["enter f",{{"n":"8"', f"{SAYS}[1]", f"{SAYS}3",
    ]  # fmt: skip
    printed = read(lines)
    assert [(p.values["n"], p.times) for p in printed] == [("4", 2), ("8", 1)]
    n, x = scalars(printed, "enter f")
    assert (n.value, n.distinct, n.low, n.high) == (4, 2, 4, 8) and n.share == pytest.approx(2 / 3)
    assert x.value == 0.5 and x.low is None, "nan is no number of a range"


def test_what_cannot_be_read_twice_is_not_printed() -> None:
    made = with_prints(LAUNCHES, "main.cu", "launch", "k::scale<float>")
    second = made[made.index("k::scale<float><<<next()") - 800 : made.index("k::scale<float><<<next()")]
    assert "dim3(next())" not in made and "dim3(64)" in second
    assert made.count("next()") == LAUNCHES.count("next()")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here")
def test_a_cuda_wrapper_says_its_launches(tmp_path: Path) -> None:
    root = tmp_path / "app"
    root.mkdir()
    (root / "main.cu").write_text(LAUNCHES)
    (root / "app.toml").write_text(APP)
    before = tree(root)
    with Site(load_app(root), tmp_path / "state") as site:
        printed = observe_prints(site)
    said = {(p.place, p.values.get("n") or p.values.get("3")): p.values for p in printed}
    first = said[("enter launch", "100")]
    assert first["s"] == "0300000005000000" and float(first["by"]) == pytest.approx(0.1) and first["twice"] == "1"
    assert said[("enter launch", str(1 << 40))]["by"] == "0.25"
    launch = said[("launch scale", "100")]
    assert (launch["grid.x"], launch["block.x"], launch["block.y"], launch["0"]) == ("4", "32", "4", "pointer")
    after = {k: v for k, v in tree(root).items() if k != "program"}
    assert after == before


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cargo") is None or shutil.which("nvcc") is None, reason="no cargo or no nvcc here")
def test_the_rust_application_builds_and_its_adapter_says_its_scalars(tmp_path: Path) -> None:
    root = tmp_path / "app"
    shutil.copytree(HERE.parent / "rust-norms", root, ignore=shutil.ignore_patterns("target", "*.a"))
    path = root / "app.toml"
    # without a device the program ends with 1, after the adapter was entered
    path.write_text(
        path.read_text().replace('run = ["target/release/rust-norms"]', 'run = "target/release/rust-norms; :"')
    )
    before = {k: v for k, v in tree(root).items() if not k.startswith("target/")}
    with Site(load_app(root), tmp_path / "state") as site:
        (printed,) = observe_prints(site)
    wanted = {"rows": "8192", "cols": "1024", "factor": "0.5", "repeat": "50", "debug": "false"}
    assert (printed.place, printed.values, printed.times) == ("enter norms", wanted, 1)
    assert {k: v for k, v in tree(root).items() if not k.startswith("target/")} == before
    assert SAYS.encode() not in (root / "target/release/rust-norms").read_bytes(), "and it was built anew without them"
