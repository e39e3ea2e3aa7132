"""Hygiene: what a reply left out is found, and honest code that looks like it is not refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import KERNEL, candidate
from warpsmith.model.candidate import Candidate, Launch, SourceFile
from warpsmith.model.task import Argument, Dtype, KernelTask, Role
from warpsmith.propose.llm import handlers, hygiene
from warpsmith.propose.llm.lexing import functions

ROOT = Path(__file__).parents[2]
TASK = KernelTask.model_validate(
    {
        **KERNEL.model_dump(),
        "arguments": (
            Argument(name="x", role=Role.input, dtype=Dtype.f32, shape=("N",)),
            Argument(name="y", role=Role.output, dtype=Dtype.f32, shape=("N",)),
            Argument(name="N", role=Role.axis),
        ),
    }
)
SQUARE = "static float square(float v) { return v * v; }"
PARENT = """#include <stdint.h>
static float square(float v) { return v * v; }
void k(const float *x, float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = square(x[i]);
}
"""
PYTHON = '''def helper(v):
    return v * v


def k(x, y, n):
    """Squares."""
    y[:] = helper(x)
'''


def at_loop(line: str) -> str:
    """The parent with a line more, before its loop."""
    return PARENT.replace("    for", f"    {line}\n    for")


def found(text: str, parent: str = PARENT, path: str = "k.c") -> list[str]:
    return hygiene.problems({path: text}, {path: parent}, candidate(text), TASK)


BAD = {
    "rest of the code": (at_loop("// ... rest of the code unchanged ..."), "leaves code out"),
    "rest in brackets": (SQUARE + "\n/* (rest of the file remains the same) */\nint z;\n", "leaves"),
    "rest of a body": (PARENT.replace("        y[i] = square(x[i]);", "{\n// rest of the kernel as is\n}"), "leaves"),
    "existing code": (at_loop("// ... existing code ..."), "leaves code out"),
    "omitted": (at_loop("// helper functions omitted for brevity"), "leaves code out"),
    "unicode dots": (at_loop("// \u2026 remaining code"), "leaves code out"),
    "insert": (at_loop("// insert the original code here"), "leaves code out"),
    "bare dots": (at_loop("..."), "leaves code out"),
    "dots and nothing": ("void k(const float *x, float *y, long n)\n{\n    y[0] = x[0];\n    // ...\n}\n", "leaves"),
    "unchanged and gone": (PARENT.replace(SQUARE, "/* square() is unchanged */"), "leaves"),
    "same as before at the end": (PARENT + "/* everything else same as before */\n", "leaves code out"),
    "empty entry": ("void k(const float *x, float *y, long n)\n{\n}\n", "the body of k is empty"),
    "todo entry": ("void k(const float *x, float *y, long n)\n{\n    // TODO: implement\n}\n", "left to be done"),
    "returns only": ("void k(const float *x, float *y, long n)\n{\n    return;\n}\n", "the body of k is empty"),
    "empty helper": (PARENT.replace("{ return v * v; }", "{ /* as before */ }"), "the body of square is empty"),
    "leading prose": ("Here is the optimised kernel:\n" + PARENT, "begins with prose"),
    "more prose": ("I have rewritten the loop so that it runs faster.\n" + PARENT, "begins with prose"),
    "fence in a file": ("```c\n" + PARENT + "```\nmore\n```", "begins with prose"),
    "not ascii": (PARENT.replace("square(x[i])", "square(x[i]) \u00d7 1.0f"), "U+00D7"),
    "smart quotes": (PARENT.replace('<stdint.h>', "\u201cstdint.h\u201d"), "U+201C"),
    "zero width": (PARENT.replace("int64_t i = 0", "int64_t\u200b i = 0"), "U+200B"),
    "bidi in a comment": (at_loop("/* \u202e */ for"), "U+202E"),
    "no output": (PARENT.replace("y[i] = square(x[i])", "(void)square(x[i])"), "nothing writes y"),
    "no input": (PARENT.replace("square(x[i])", "square(1.0f)"), "no input is read"),
    "nothing": ("\n", "is empty"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "what"), BAD.values(), ids=BAD)
def test_what_is_missing_or_no_code_is_told_back(text: str, what: str) -> None:
    assert any(what in said for said in found(text)), found(text)


BAD_PYTHON = {
    "dots": ("def helper(v):\n    ...\n\n\ndef k(x, y, n):\n    y[:] = helper(x)\n", "the body of helper is empty"),
    "pass": ("def k(x, y, n):\n    pass\n", "the body of k is empty"),
    "raises": ("def k(x, y, n):\n    raise NotImplementedError\n", "the body of k is empty"),
    "docstring only": ('def k(x, y, n):\n    """Squares."""\n', "the body of k is empty"),
    "rest": ("# ... rest of the file unchanged\ndef k(x, y, n):\n    y[:] = x * x\n", "leaves code out"),
    "gone": ("# helper is unchanged\ndef k(x, y, n):\n    y[:] = helper(x)\n", "leaves code out"),
}


@pytest.mark.parametrize(("text", "what"), BAD_PYTHON.values(), ids=BAD_PYTHON)
def test_the_same_in_python(text: str, what: str) -> None:
    assert any(what in said for said in found(text, PYTHON, "k.py")), found(text, PYTHON, "k.py")


HONEST = {
    "variadic": PARENT + "static int note(const char *format, ...) { return format[0]; }\n",
    "variadic macro": "#define NOTE(...) printf(__VA_ARGS__)\n" + PARENT,
    "variadic template": PARENT + "/* sum(a, b, ...) */\n",
    "string of dots": at_loop('const char *wait = "... rest of the code unchanged ..."; (void)wait;'),
    "comment that says unchanged": at_loop("/* the sign is unchanged by squaring */"),
    "rest of the kernel unchanged, and there": at_loop("/* The rest of the kernel is unchanged. */"),
    "rest of the row": at_loop("// the rest of the row is padded with zeros"),
    "same as before": at_loop("/* same as before, but one row at a time: */"),
    "rest unchanged from the baseline": at_loop(
        "/* Only this loop differs: the reduction after it is unchanged from the baseline, a sum over the row. */"
    ),
    "dots within a comment": at_loop("// x[0], x[1], ..., x[n - 1]"),
    "dots at its end": at_loop("// wait for it..."),
    "trailing remark": PARENT.replace("y[i] = square(x[i]);", "y[i] = square(x[i]);  // unchanged"),
    "todo beside code": at_loop("// TODO: try a wider vector"),
    "empty helper that is new": PARENT + "static inline void hint(void) {}\n",
    "empty in one branch": PARENT + "#if X\nvoid warm(void) { square(1); }\n#else\nvoid warm(void) {}\n#endif\n",
    "empty loop": at_loop("while (0) {}"),
    "accents in a comment": at_loop("/* \u00b5s, na\u00efve, \u2264 */"),
    "accents in a string": at_loop('const char *s = "\u00b5s"; (void)s;'),
    "comment first": "/* Here is the kernel: it squares. */\n" + PARENT,
    "this in code": "this_t *p;\n".replace("this_t", "int") + PARENT,
    "helper gone and not called": PARENT.replace("square(x[i])", "x[i] * x[i]").replace(
        SQUARE + "\n", "/* squaring in place: the result is unchanged */\n"
    ),
    "other names of parameters": PARENT.replace("*x,", "*in,").replace("x[i]", "in[i]").replace("*y,", "*to,").replace(
        "y[i]", "to[i]"
    ),
    "by a macro": "#define ENTRY k\n" + PARENT.replace("void k(", "void ENTRY("),
}  # fmt: skip


@pytest.mark.parametrize("text", HONEST.values(), ids=HONEST)
def test_honest_code_is_not_refused(text: str) -> None:
    assert found(text) == []


HONEST_PYTHON = {
    "ellipsis index": "def k(x, y, n):\n    y[..., :] = x[..., :] ** 2\n",
    "pass in except": "def k(x, y, n):\n    try:\n        pass\n    finally:\n        y[:] = x * x\n",
    "stub of a protocol": "class P:\n    def area(self): ...\n\n\ndef k(x, y, n):\n    y[:] = x * x\n",
    "comment": "# the rest of the row is zero\ndef k(x, y, n):\n    y[:] = x * x  # unchanged\n",
}


@pytest.mark.parametrize("text", HONEST_PYTHON.values(), ids=HONEST_PYTHON)
def test_honest_python_is_not_refused(text: str) -> None:
    assert found(text, PYTHON, "k.py") == []


SHIPPED = [
    *(ROOT / "tasks").glob("*/*/*/*.[cp]*"), *(ROOT / "tasks").glob("*/*/*/*/*.py"),
    *(ROOT / "tests/evil/honest").glob("*.[cp]*"), *(ROOT / "tests/bottlenecks").glob("**/*.c*"),
]  # fmt: skip


def test_whatever_this_project_ships_is_not_refused() -> None:
    """As a new file, so that nothing is excused as its parent's."""
    checked = 0
    for path in SHIPPED:
        if path.suffix == ".pyc":
            continue
        text = path.read_text()
        assert hygiene.problems({path.name: text}, {}, None, TASK) == [], path
        checked += 1
    assert checked > 20


def test_functions_on_one_line_keep_their_own_bodies() -> None:
    text = "static void a(void) {} static int b(int v) { return v; }\n"
    assert [(f.name, [t.text for t in f.code]) for f in functions(text, "k.c")] == [
        ("a", []),
        ("b", ["return", "v", ";"]),
    ]


def device(*names: str) -> Candidate:
    launches = tuple(Launch(kernel=n, grid=(1, 1, 1), block=(32, 1, 1), arguments=("x", "y", "N")) for n in names)
    source = SourceFile(path="k.cu", content="0" * 64)
    return Candidate(toolchain="cuda", entry="k", sources=(source,), launch=launches)


CU = 'extern "C" __global__ void k(const float* x, float* y, long long n) { y[0] = x[n - 1]; }\n'
TEMPLATE = "template <int T>\n__global__ void k(const float* x, float* y, long long n) { y[T] = x[n - 1]; }\n"


@pytest.mark.parametrize(
    ("text", "names", "what"),
    [
        (TEMPLATE, ("k",), "is a template"),
        (
            "namespace a {\n__global__ void k(const float* x, float* y, long long n) { y[0] = x[n]; }\n}\n",
            ("k",),
            "namespace",
        ),
        (CU, ("k", "rest"), "no file defines the kernel rest"),
    ],
)
def test_handlers_say_what_a_plan_cannot_launch(text: str, names: tuple[str, ...], what: str) -> None:
    said = handlers.problems(device(*names), {"k.cu": text})
    assert len(said) == 1 and what in said[0]


@pytest.mark.parametrize(
    "text",
    [
        CU,
        "namespace a { __device__ float f(float v) { return v; } }\n" + CU,
        "namespace a {\n" + CU + "}\n",
        'namespace a {\nextern "C" {\n__global__ void k(const float* x, float* y, long long n) { y[0] = x[n]; }\n}}\n',
        "template <int T> __device__ float at(const float* x) { return x[T]; }\n" + CU,
        TEMPLATE.replace(" k(", " body(") + CU,
    ],
)
def test_handlers_let_pass_what_can_be_launched(text: str) -> None:
    assert handlers.problems(device("k"), {"k.cu": text}) == []


def test_handlers_hint_at_what_the_entry_has_and_at_nothing_else() -> None:
    assert handlers.hints(device("k"), {"k.cu": CU}) == ()
    shaped = handlers.hints(device("k", "rest"), {"k.cu": "namespace a {}\n" + TEMPLATE})
    assert [next(w for w in ("namespaces", "templates", "several") if w in said) for said in shaped] == [
        "namespaces", "templates", "several",
    ]  # fmt: skip


def test_a_fence_within_a_file_is_taken_off() -> None:
    files, notes = handlers.mended({"k.c": "Here it is:\n```c\nint a;\n```\nEnjoy.\n", "l.c": "int b;\n"})
    assert files == {"k.c": "int a;\n", "l.c": "int b;\n"}
    assert notes == ("prose: k.c was mended",)
