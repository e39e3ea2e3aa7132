"""``kill -9`` of an integration at random moments: the next command always ends in one of the two states."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from tests.app.building import needs
from tests.app.products import HERE, product
from warpsmith.app.commands import end_leftovers, leftovers
from warpsmith.app.journal import Journal
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import load_candidate

PROGRAM = Path(sys.executable).parent / "warpsmith"
MOMENTS = 20


def command(root: Path, *words: str) -> subprocess.Popen[bytes]:
    told = (str(PROGRAM), "integrate", *words, "--app", str(root / "app.toml"))
    return subprocess.Popen(told, cwd=root.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def journal(root: Path) -> Journal:
    return Journal(next(iter((root.parent / ".warpsmith/apps").glob("*/journal.jsonl")), root / "none"))


@dataclass(frozen=True)
class Application:
    """A real application that builds here, as a candidate is integrated into it and killed."""

    root: Path
    source: str
    artefact: str
    build: tuple[str, ...]
    check: tuple[str, ...]
    """What says that the binary there is whole."""
    outputs: str

    def tree(self) -> dict[str, tuple[str, int]]:
        """Every file but what builds write: its hash and permission bits."""
        found = {}
        for path in sorted(p for p in self.root.rglob("*") if p.is_file()):
            name = path.relative_to(self.root).as_posix()
            if name != self.artefact and not name.startswith(f"{self.outputs}/"):
                found[name] = (sha256(path.read_bytes()).hexdigest(), path.stat().st_mode & 0o7777)
        return found

    def binary(self) -> str:
        return sha256((self.root / self.artefact).read_bytes()).hexdigest()

    def built(self, text: str) -> None:
        """Its source again, built by its own build."""
        (self.root / self.source).write_text(text)
        subprocess.run(self.build, cwd=self.root, check=True)


def c_product(folder: Path) -> Application:
    """C and make."""
    # builds that take a moment, and objects that a kill leaves half-written
    slow = 'build = "sleep 0.05; make -s && sleep 0.05"'
    root = product(folder, ('build = ["make", "-s"]', slow))
    check = ("./product", "--check", "--size", "65")
    return Application(root, "src/product.c", "product", ("make", "-s"), check, "build")


def rust_norms(folder: Path) -> Application:
    """Rust, cargo and nvcc. Where no device is, its runs cannot be real: a script tells the two binaries apart."""
    needs("cargo", "nvcc")
    root = folder / "app"
    shutil.copytree(HERE.parent / "rust-norms", root, ignore=shutil.ignore_patterns("target", ".warpsmith", "*.a"))
    page, binary = root / "app.toml", "target/release/rust-norms"
    lines = [x for x in page.read_text().splitlines() if not x.startswith(("run", "verify", "hardware"))]
    told = f'run = "cmp -s {binary} ../base && echo microseconds 2 || echo microseconds 1"'
    lines.insert(0, f'{told}\nverify = "test -x {binary}"\nhardware = "cpu"\npairs = 3')
    page.write_text("\n".join(lines))
    build = ("cargo", "build", "--release", "--offline", "--quiet")
    subprocess.run(build, cwd=root, check=True)
    shutil.copy(root / binary, folder / "base")
    return Application(root, "cuda/norms.cu", binary, build, ("test", "-x", binary), "target")


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("make", [c_product, rust_norms])
def test_killed_at_any_moment_the_next_command_ends_in_one_of_two_states(
    tmp_path: Path, make: Callable[[Path], Application]
) -> None:
    (tmp_path / ".warpsmith").mkdir()
    app = make(tmp_path)
    root = app.root
    page = root / "app.toml"
    page.write_text(page.read_text().replace('task = "task"\n', ""))
    load_candidate(root / "task/src", Blobs(tmp_path / ".warpsmith/blobs"))
    text = (root / app.source).read_text()
    app.built(text)
    original, old_binary = app.tree(), app.binary()

    for _ in range(2):  # the second time nothing has to be built as it is: what the others will take
        app.built(text)
        before, began = journal(root).entries(), time.monotonic()
        first = command(root, str(root / "task/src"))
        while journal(root).entries() == before:
            time.sleep(0.005)
        started = time.monotonic() - began
        assert first.wait() == 0
        whole = time.monotonic() - began
    kept, new_binary = app.tree(), app.binary()
    assert kept != original and new_binary != old_binary

    draw = random.Random(5)
    ends: dict[str, int] = {"as it was": 0, "kept": 0}
    interrupted = 0
    for attempt in range(4 * MOMENTS):
        if interrupted == MOMENTS:
            break
        app.built(text)
        begun = journal(root).entries()
        running = command(root, str(root / "task/src"))
        while journal(root).entries() == begun and running.poll() is None:
            time.sleep(0.002)
        time.sleep(draw.random() * (whole - started))
        running.send_signal(signal.SIGKILL)
        running.wait()
        left = journal(root).open_work()
        interrupted += bool(left)
        if draw.random() < 0.4:  # the command that tidies is killed too
            tidying = command(root, "--recover")
            time.sleep(draw.uniform(0.2, 0.6))
            tidying.kill()
            tidying.wait()
        told = (str(PROGRAM), "integrate", "--recover", "--app", str(root / "app.toml"))
        done = subprocess.run(told, cwd=root.parent, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert journal(root).open_work() == ()
        assert not left or leftovers(left[0].work) == ()
        now, made = app.tree(), app.binary()
        ends["as it was" if now == original else "kept"] += 1
        assert (now, made) in ((original, old_binary), (kept, new_binary)), f"attempt {attempt}: neither state"
        assert subprocess.run(app.check, cwd=root, capture_output=True, check=False).returncode == 0
    assert interrupted == MOMENTS and ends["as it was"] > 0
    # and the same command, run again, goes on to its end
    app.built(text)
    assert command(root, str(root / "task/src")).wait() == 0
    assert app.tree() == kept and app.binary() == new_binary


@pytest.mark.slow
def test_a_killed_build_goes_on_without_us_until_the_next_command_ends_it(tmp_path: Path) -> None:
    (tmp_path / ".warpsmith").mkdir()
    root = product(tmp_path, ('build = ["make", "-s"]', 'build = "[ -e slow ] && sleep 300; make -s"'))
    (root / "app.toml").write_text((root / "app.toml").read_text().replace('task = "task"\n', ""))
    (root / "slow").write_text("")
    running = command(root, str(root / "task/src"))
    deadline = time.monotonic() + 30
    while not (left := journal(root).open_work()) or not leftovers(left[0].work):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.kill()
    running.wait()
    work = left[0].work
    try:
        assert leftovers(work), "nobody ended it: its parent was killed"
        (root / "slow").unlink()
        assert command(root, "--recover").wait() == 0
        assert leftovers(work) == ()
    finally:
        end_leftovers(work)
