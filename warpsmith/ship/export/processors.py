"""What a processor needs to run code that was built for an architecture of gcc's: the names of /proc/cpuinfo."""

from __future__ import annotations

import platform
import re
from functools import lru_cache

from warpsmith.errors import BadInput
from warpsmith.toolchains.c import compiler
from warpsmith.toolchains.compiler import said_by

_OTHERWISE = {
    "SSE3": "pni", "LZCNT": "abm", "BMI": "bmi1", "SHA": "sha_ni", "PCLMUL": "pclmulqdq", "RDRND": "rdrand",
    "AVXVNNI": "avx_vnni", "AVX512VBMI2": "avx512_vbmi2", "AVX512VNNI": "avx512_vnni",
    "AVX512BITALG": "avx512_bitalg", "AVX512VPOPCNTDQ": "avx512_vpopcntdq", "AVX512BF16": "avx512_bf16",
    "AVX512FP16": "avx512_fp16", "AVX512IFMA": "avx512ifma", "AVX512VBMI": "avx512vbmi",
    "AVX512VP2INTERSECT": "avx512_vp2intersect",
}  # fmt: skip
"""Macro of gcc to flag, where that is not its lower case."""
_COMPUTES = re.compile(
    r"SSE3|SSSE3|SSE4_[12]|AVX\w*|FMA|F16C|BMI2?|LZCNT|POPCNT|MOVBE|ADX|AES|SHA|PCLMUL|GFNI|VAES|VPCLMULQDQ|AMX_\w+|RDRND|RDSEED"
)
"""Instruction sets that code can be compiled to; the rest are for systems, and no compiler emits them by itself."""


@lru_cache(maxsize=16)
def features(architecture: str) -> str:
    """The flags that a processor must have, separated by spaces. Raises BadInput where gcc does not know it."""
    if platform.machine() not in ("x86_64", "AMD64"):
        raise BadInput(f"what {architecture} needs cannot be said on {platform.machine()}.", "Export it on x86-64.")
    printed = said_by((compiler(), f"-march={architecture}", "-dM", "-E", "-x", "c", "/dev/null"))
    macros = re.findall(r"^#define __([A-Z0-9_]+)__ 1$", printed, re.MULTILINE)
    if "SSE2" not in macros:
        raise BadInput(f"the compiler knows no architecture {architecture!r}.", "Use the compiler that released it.")
    return " ".join(sorted(_OTHERWISE.get(m, m.lower()) for m in macros if _COMPUTES.fullmatch(m)))
