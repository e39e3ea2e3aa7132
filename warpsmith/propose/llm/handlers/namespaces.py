"""Kernels inside of C++ namespaces: their symbols are mangled, so a plan cannot name them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from warpsmith.model.candidate import Candidate

_NAMESPACE = re.compile(r"^\s*(?:inline\s+)?namespace\b(?!\s+\w+\s*=)", re.MULTILINE)
TOOLCHAINS = ("cuda", "tvm-ffi")


class Handler:
    """For CUDA C++ in namespaces."""

    name = "namespaces"

    def hint(self, candidate: Candidate, texts: Mapping[str, str]) -> str:
        """Where the entry has a namespace."""
        if candidate.toolchain not in TOOLCHAINS or not any(_NAMESPACE.search(t) for t in texts.values()):
            return ""
        return (
            "The source uses namespaces. Helpers may stay inside; a kernel that the plan launches is declared "
            'extern "C" __global__ (inside or outside), and its name is unique over all namespaces.'
        )

    def mend(self, path: str, text: str) -> str:
        """Nothing."""
        return text

    def problems(self, candidate: Candidate, texts: Mapping[str, str]) -> list[str]:
        """Launched kernels that stand in a namespace without C linkage."""
        found = []
        for launch in candidate.launch if candidate.toolchain == "cuda" else ():
            for path, text in texts.items():
                named = re.search(rf"__global__[^;{{}}]*?\b{re.escape(launch.kernel)}\s*\(", text)
                if named and _inside(text, named.start()) and not _c_linkage(text, named.start()):
                    found.append(
                        f'{path}: the kernel {launch.kernel} stands in a namespace: declare it extern "C", or the plan '
                        "cannot find it."
                    )
        return found


def _inside(text: str, at: int) -> bool:
    """Whether a place is inside of a namespace's braces."""
    for opened in _NAMESPACE.finditer(text, 0, at):
        brace = text.find("{", opened.end())
        if 0 <= brace < at and _depth(text, brace, at) > 0:
            return True
    return False


def _depth(text: str, start: int, stop: int) -> int:
    depth = 0
    for character in text[start:stop]:
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return 0
    return depth


def _c_linkage(text: str, at: int) -> bool:
    """Whether ``extern "C"`` holds there: on the declaration, or by a block around it."""
    if re.search(r'extern\s+"C"[^;{}]*$', text[:at]):
        return True
    return any(_depth(text, m.end() - 1, at) > 0 for m in re.finditer(r'extern\s+"C"\s*\{', text[:at]))
