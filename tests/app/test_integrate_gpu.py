"""Integrating a CUDA kernel on a GPU: another geometry written at the launch, kept; slower in place, rolled back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.app.products import HERE
from warpsmith.app.integrate import Wanted, integrate
from warpsmith.app.loading import load_app
from warpsmith.app.neighbours import clear, neighbours
from warpsmith.app.site import Site
from warpsmith.errors import BadInput
from warpsmith.model.app import Integration
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import load_candidate

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]
MAIN = """
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>
extern "C" int device_norms(float *, float *, long, long, float, int, int, float *);
int main(int argc, char **argv) {
    const long rows = argc > 1 ? atol(argv[1]) : 8192, cols = argc > 2 ? atol(argv[2]) : 1024;
    std::vector<float> x(rows * cols), out(rows);
    for (size_t i = 0; i < x.size(); ++i) x[i] = float(i % 97) / 97 - 0.5f;
    float ms = 0;
    if (device_norms(x.data(), out.data(), rows, cols, 0.5f, 50, 0, &ms)) return 2;
    for (long r = 0; r < rows; ++r) {
        double sum = 0;
        for (long c = 0; c < cols; ++c) sum += 0.25 * x[r * cols + c] * x[r * cols + c];
        if (!(std::fabs(out[r] - std::sqrt(sum)) < 1e-4 * std::sqrt(sum))) return 1;
    }
    std::printf("microseconds %.4f\\n", ms * 20);
}
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    shutil.copytree(HERE.parent / "rust-norms", root, ignore=shutil.ignore_patterns("target", "*.a"))
    (root / "main.cu").write_text(MAIN)
    path = root / "app.toml"
    lines = [
        line for line in path.read_text().splitlines() if not line.startswith(("build", "run", "verify", "artefacts"))
    ]
    built = ["-O2", "-arch=native", "-o", "norms", "main.cu", "cuda/norms.cu"]
    told = [f"build = {['nvcc', *built]}".replace("'", '"'), 'run = ["./norms"]', 'artefacts = ["norms"]']
    at = lines.index("[[metrics]]")
    lines[at:at] = [*told, 'verify = "./norms 1000 333 && ./norms"', ""]
    path.write_text("\n".join(lines))
    return root


def go(root: Path, change: tuple[str, str] = ("", "")) -> Integration:
    home, folder = root.parent / "state", root / "task" / "src"
    source = folder / "norms.cu"
    source.write_text(source.read_text().replace(*change))
    blobs = Blobs(home / "blobs")
    made = load_candidate(folder, blobs)
    given = {s.path: blobs.get(s.content).decode() for s in made.sources}
    with Site(load_app(root), home) as site:
        return integrate(site, Wanted(made, given, "apps/rust-norms"), hygiene=clear)


def content(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != "norms"}


def test_a_kernel_with_its_own_geometry_is_kept_and_a_slower_one_rolled_back(app: Path) -> None:
    made = go(app)
    assert made.outcome == "kept", made.reason
    text = (app / "cuda/norms.cu").read_text()
    assert text.count("row_norms<<<dim3((rows), 1, 1), dim3(128, 1, 1)>>>") == 2
    before = content(app)
    wait = (
        "    float sum = 0;\n    for (int i = 0; i < 4000; ++i) sum += __shfl_xor_sync(0xffffffffu, sum, 1) * 1e-30f;"
    )
    slower = go(app, ("    float sum = 0;", wait))
    assert slower.outcome == "rolled_back" and slower.proved and slower.rebuilt, slower.reason
    assert {k: v for k, v in content(app).items() if "task" not in k} == {
        k: v for k, v in before.items() if "task" not in k
    }


def test_a_foreign_process_on_the_gpu_stops_it(app: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.cu"
    foreign.write_text("#include <unistd.h>\nint main() { cudaFree(0); pause(); }\n")
    subprocess.run(["nvcc", "-o", tmp_path / "foreign", foreign], check=True)
    running = subprocess.Popen([tmp_path / "foreign"])
    try:
        subprocess.run(["sleep", "2"], check=True)
        if not neighbours():
            pytest.skip("neither NVML nor nvidia-smi names processes in this container")
        with pytest.raises(BadInput, match="computes on the GPU"):
            go(app)
    finally:
        running.kill()
        running.wait()
