"""Several kernels in one file: all of those that the plan launches must stay, under their names."""

from __future__ import annotations

from collections.abc import Mapping

from warpsmith.model.candidate import Candidate
from warpsmith.propose.llm.lexing import functions

TOOLCHAINS = ("cuda", "triton", "cute")


class Handler:
    """For candidates that launch more than one kernel."""

    name = "several"

    def hint(self, candidate: Candidate, texts: Mapping[str, str]) -> str:
        """Where the entry launches several."""
        names = tuple(dict.fromkeys(x.kernel for x in candidate.launch))
        if len(names) < 2:
            return ""
        return (
            f"The plan launches several kernels: {', '.join(names)}. Give all of them, also those that stay; "
            "where you fuse, split or rename them, give candidate.toml with the new [[launch]] tables too."
        )

    def mend(self, path: str, text: str) -> str:
        """Nothing."""
        return text

    def problems(self, candidate: Candidate, texts: Mapping[str, str]) -> list[str]:
        """Launched kernels that no file names. Names that macros make are not seen: the build finds those."""
        if candidate.toolchain not in TOOLCHAINS or any("##" in text for text in texts.values()):
            return []
        defined = {f.name for path, text in texts.items() for f in functions(text, path)}
        lost = [k for k in dict.fromkeys(x.kernel for x in candidate.launch) if k not in defined]
        mentioned = [k for k in lost if not any(k in text for text in texts.values())]
        return [f"no file defines the kernel {k}, which the plan launches." for k in mentioned]
