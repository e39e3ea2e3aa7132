"""The judge's own kernels: built by the ``cuda`` toolchain through the build cache, like a candidate, but trusted."""

from __future__ import annotations

from pathlib import Path

from warpsmith.errors import BuildFailed, WarpsmithError
from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.target import Target
from warpsmith.toolchains.cache import build

HERE = Path(__file__).parent


def cubin(name: str, entry: str, target: Target, cache: Path) -> bytes:
    """The cubin of one of this package's ``.cu`` files. Raises Missing, and WarpsmithError where it does not build."""
    source = SourceFile(path=name, content=digest_bytes((HERE / name).read_bytes()))
    candidate = Candidate(toolchain="cuda", entry=entry, sources=(source,))
    try:
        return build(candidate, HERE, target, "release", cache).binary.read_bytes()
    except BuildFailed as failed:
        raise WarpsmithError(f"the judge's own {name} does not build: {failed.message}\n{failed.log[-500:]}") from None
