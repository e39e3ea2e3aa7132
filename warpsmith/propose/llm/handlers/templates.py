"""Template kernels: a plan launches symbols, so every template that it names needs concrete parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping

from warpsmith.model.candidate import Candidate

_TEMPLATE = re.compile(r"template\s*<[^;{}]*?>\s*(?:static\s+|inline\s+)*__global__[^;{}]*?\b(\w+)\s*\(")


class Handler:
    """For CUDA C++ with template kernels."""

    name = "templates"

    def hint(self, candidate: Candidate, texts: Mapping[str, str]) -> str:
        """Where the entry has templates of kernels or of device functions."""
        if candidate.toolchain != "cuda" or not any(re.search(r"\btemplate\s*<", t) for t in texts.values()):
            return ""
        return (
            "The source uses templates. The plan cannot launch a template: give each kernel concrete parameters in an "
            'extern "C" __global__ wrapper that calls a __device__ template, with tunables (macros) as its arguments.'
        )

    def mend(self, path: str, text: str) -> str:
        """Nothing."""
        return text

    def problems(self, candidate: Candidate, texts: Mapping[str, str]) -> list[str]:
        """Launched templates."""
        if candidate.toolchain != "cuda":
            return []
        launched = {x.kernel for x in candidate.launch}
        return [
            f"{path}: the plan launches {name}, which is a template: it has no symbol. Wrap one instance of it in an "
            'extern "C" __global__ function, and launch that.'
            for path, text in texts.items()
            for name in _TEMPLATE.findall(text)
            if name in launched and not _plain(text, name)
        ]


def _plain(text: str, name: str) -> bool:
    """Whether a kernel of that name is there that is no template."""
    return bool(re.search(rf'extern\s+"C"[^;{{}}]*__global__[^;{{}}]*?\b{re.escape(name)}\s*\(', text))
