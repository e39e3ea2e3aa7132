"""The C application ``c-product`` in a folder of its own, and what tests do with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from warpsmith.app.integrate import Fixer, Hygiene, Wanted, integrate
from warpsmith.app.loading import load_app
from warpsmith.app.site import Site
from warpsmith.model.app import Integration
from warpsmith.model.candidate import Candidate
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import load_candidate

HERE = Path(__file__).parent.parent.parent / "examples" / "apps" / "c-product"
SLOWER = """
#include <stdint.h>
void product(const float *a, const float *b, float *c, int64_t M, int64_t N, int64_t K)
{
    volatile float waste = 0;
    for (int64_t i = 0; i < M * N * K; i++)
        waste += 1.0f;
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < N; j++) {
            float sum = 0.0f;
            for (int64_t k = 0; k < K; k++)
                sum += a[i * K + k] * b[k * N + j];
            c[i * N + j] = sum;
        }
}
"""


def product(folder: Path, *changes: tuple[str, str], size: int = 160) -> Path:
    """A copy of the application with ``app.toml`` changed by replacing texts; its runs are short."""
    root = folder / "app"
    shutil.copytree(HERE, root, ignore=shutil.ignore_patterns("build", "product", ".warpsmith"))
    path = root / "app.toml"
    text = path.read_text().replace('"224", "--repeat", "4"', f'"{size}", "--repeat", "4"')
    text = text.replace("pairs = 8", "pairs = 5")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    return root


def candidate(root: Path, blobs: Blobs, source: str = "") -> tuple[Candidate, dict[str, str]]:
    """The entry of the application's task, or that with another source."""
    folder = root / "task" / "src"
    if source:
        (folder / "product.c").write_text(source)
    made = load_candidate(folder, blobs)
    return made, {s.path: blobs.get(s.content).decode() for s in made.sources}


def go(
    root: Path, source: str = "", *, gain: float | None = None, fixer: Fixer | None = None,
    hygiene: Hygiene | None = None, ledger: Path | str = "", tell: Callable[[str], None] = lambda said: None,
) -> Integration:  # fmt: skip
    """Integrate the entry, or ``source``, into the application. ``ledger`` is to know."""
    home = root.parent / "state"
    made, sources = candidate(root, Blobs(home / "blobs"), source)
    with Site(load_app(root), home) as site:
        wish = Wanted(made, sources, "apps/c-product", gain, str(ledger))
        return integrate(site, wish, fixer=fixer, hygiene=hygiene, tell=tell)


def tree(root: Path) -> dict[str, tuple[str, int]]:
    """Every file but what builds write: its hash and permission bits."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not name.startswith("build/") and name != "product":
            found[name] = (sha256(path.read_bytes()).hexdigest(), path.stat().st_mode & 0o7777)
    return found


def binary(root: Path) -> str:
    """The hash of what the build made."""
    return sha256((root / "product").read_bytes()).hexdigest()
