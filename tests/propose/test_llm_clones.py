"""Near-clones: names, comments and spacing make no new candidate; anything that computes does."""

from __future__ import annotations

import pytest

from tests.fakes import candidate
from warpsmith.propose.llm.clones import clone_key, normal

C = """#include <math.h>
/* squares */
static float square(float v) { return v * v; }
void k(const float *x, float *y, long n) {
    for (long i = 0; i < n; i++) y[i] = fmaf(square(x[i]), 2.0f, -1.0f);
}
"""
PY = "def k(x, y, n):\n    total = 0\n    for i in range(n):\n        total += x[i]\n    y[0] = total\n"

SAME = {
    "comments": ("k.c", C, C.replace("/* squares */", "// quite new, and much faster")),
    "spacing": ("k.c", C, C.replace("{ return", "\n{\n\treturn").replace("; }", ";\n}")),
    "a local": (
        "k.c", C, C.replace("(long i", "(long r").replace("i <", "r <").replace("i++", "r++").replace("[i]", "[r]"),
    ),
    "a function": ("k.c", C, C.replace("square", "sq")),
    "parameters": ("k.c", C, C.replace("*x", "*in").replace("x[i]", "in[i]")),
    "python names": ("k.py", PY, PY.replace("total", "acc")),
    "python comments": ("k.py", PY, "# new\n" + PY.replace("    total = 0", "    total = 0  # sum")),
}  # fmt: skip
OTHER = {
    "a number": ("k.c", C, C.replace("2.0f", "3.0f")),
    "an intrinsic": ("k.c", C, C.replace("fmaf", "fmal")),
    "an operator": ("k.c", C, C.replace("v * v", "v + v")),
    "swapped names": ("k.c", C, C.replace("square(x[i])", "square(y[i])")),
    "a statement": ("k.c", C, C.replace("y[i] =", "y[i] = 0; y[i] =")),
    "python depth": ("k.py", PY, PY.replace("    y[0] = total", "        y[0] = total")),
    "a python call": ("k.py", PY, PY.replace("range(n)", "reversed(n)")),
}


@pytest.mark.parametrize(("path", "one", "other"), SAME.values(), ids=SAME)
def test_clones_are_the_same(path: str, one: str, other: str) -> None:
    assert one != other
    assert normal(one, path) == normal(other, path)


@pytest.mark.parametrize(("path", "one", "other"), OTHER.values(), ids=OTHER)
def test_whatever_computes_otherwise_is_not(path: str, one: str, other: str) -> None:
    assert one != other
    assert normal(one, path) != normal(other, path)


def test_parameters_toolchain_and_flags_make_another_candidate() -> None:
    plain = candidate(C)
    key = clone_key(plain, {"k.c": C})
    assert key == clone_key(
        candidate("renamed").model_copy(update={"memo": "[a] b"}), {"k.c": C.replace("square", "sq")}
    )
    for changed in ({"parameters": {"A": 1}}, {"flags": ("-O2",)}, {"toolchain": "tvm-ffi"}):
        assert clone_key(plain.model_copy(update=changed), {"k.c": C}) != key


def test_a_tunable_keeps_its_name() -> None:
    one = "#ifndef TILE\n#define TILE 4\n#endif\nint k(void) { return TILE; }\n"
    tiled = candidate("t", None, TILE=4)
    assert clone_key(tiled, {"k.c": one}) != clone_key(tiled, {"k.c": one.replace("TILE", "WIDE")})
