"""Finding a kernel in a source, and writing a candidate in its place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from warpsmith.app.launchsites import relaunched, sites, written
from warpsmith.app.sections import find, sections, wanted
from warpsmith.app.splicing import kernel_of, splice
from warpsmith.errors import BadInput
from warpsmith.model.candidate import Candidate, Launch, Scratch, SourceFile

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "apps"
SEVERAL = """
namespace a { namespace { __global__ void k(int *x) { *x = 1; } } }
namespace a::b {
template <typename T, int N = 4> __global__ void k(const T *in, T *out, long n) { out[0] = in[N]; }
template <> __global__ void k<float, 8>(const float *in, float *out, long n) { out[0] = in[8]; }
__global__ void k(double *x) { *x = 1; }
}
extern "C" {
static __global__ void __launch_bounds__(128, 2) plain(float *x, unsigned n) { x[n] = 0; }
}
void host(int *x) { a::b::k<float, 8><<<1, dim3(2, 2)>>>(0, 0, 1); a::b::k<double, 2><<<3, 4>>>(0, 0, 1); }
"""
TUNED = """
#include <cuda_fp16.h>
#include "more.cuh"
#ifndef PAD
#define PAD 0
#endif
struct Shape { int rows, cols; };
__device__ float twice(float x) { return x + x; }
extern "C" __global__ void __launch_bounds__(256) tuned(const float *__restrict__ from, float *to, Shape s, float by) {
    __shared__ float tile[32][32 + PAD];
    to[0] = twice(from[0]) * by * s.rows * LANES;
}
"""


def candidate(path: str = "k.cu", **fields: object) -> Candidate:
    said = {"toolchain": "cuda", "entry": "tuned", "sources": (SourceFile(path=path, content="0" * 64),), **fields}
    return Candidate.model_validate(said)


def plan(**fields: object) -> Launch:
    told = {"kernel": "tuned", "grid": ("ceil_div(cols, TILE)", 1, 1), "block": ("TILE", 8, 1), "arguments": ()}
    return Launch.model_validate({**told, **fields})


@pytest.mark.parametrize(
    ("name", "line", "signature"),
    [
        ("a::k", 2, "a::k(int *)"),
        ("b::k(double*)", 6, "a::b::k(double *)"),
        ("a::b::k<float, 8>", 5, "a::b::k<float, 8>(const float *, float *, long)"),
        ("a::b::k<half, 2>", 4, "a::b::k<typename T, int N>(const T *, T *, long)"),
        ("plain", 9, "plain(float *, unsigned)"),
    ],
)
def test_a_kernel_is_found_by_what_tells_it_from_others(name: str, line: int, signature: str) -> None:
    found = find(SEVERAL, "x.cu", wanted(name))
    assert (SEVERAL.encode()[: found.start].count(b"\n") + 1, found.signature) == (line, signature)


def test_what_is_not_there_or_not_clear_is_said_with_what_is() -> None:
    with pytest.raises(BadInput, match=r"defines no a::c::k.*line 2: a::k\(int \*\)"):
        find(SEVERAL, "x.cu", wanted("a::c::k"))
    with pytest.raises(BadInput, match=r"defines 3 kernels.*line 6"):
        find(SEVERAL, "x.cu", wanted("k"))
    with pytest.raises(BadInput, match="names no kernel"):
        wanted("a::b c(")
    with pytest.raises(BadInput, match=r"no source of C, C\+\+, CUDA or Rust"):
        find("", "x.f90", wanted("k"))


def test_rust_and_c_are_read_too() -> None:
    rust = sections("mod m { impl X { pub fn f(&self, n: usize, x: *const f32) {} } }", "rust")
    assert [(s.signature, [p.name for p in s.parameters]) for s in rust] == [("m::X::f(usize, *const f32)", ["n", "x"])]
    (made,) = sections("static int *f(const float *restrict a, int64_t n[4]) { return 0; }\nint g(void);", "c")
    assert made.name == "f" and [p.normal for p in made.parameters] == ["const float*", "long*"]


def test_an_instance_of_a_template_becomes_a_specialisation_behind_it() -> None:
    text = (EXAMPLES / "transpose/src/transpose.cuh").read_text()
    given = {"k.cu": TUNED, "more.cuh": "#pragma once\n#define LANES 4\n"}
    chosen = candidate(parameters={"PAD": 1}, launch=(plan(),))
    place = splice(text, "transpose.cuh", "tiles::transpose<float, 32>", chosen, given, "x/y")
    made = place.text
    assert made.count("struct Shape") == 1, "the file has it already"
    assert made.index("#include <cuda_fp16.h>") < made.index("namespace tiles")
    head = "transpose<float, 32>(const float *__restrict__ from, float *to, Shape s, float by)"
    assert f"template <>\n__global__ void __launch_bounds__(256) {head}" in made
    assert "template <typename T, int TILE>\n__global__ void transpose(const T *in" in made, "the others stay"
    assert made.index('push_macro("LANES")') < made.index("#define PAD 1") < made.index('pop_macro("PAD")')
    again = splice(made, "transpose.cuh", "tiles::transpose<float, 32>", chosen, given, "x/y")
    assert again.text == made
    assert any("restrict" in n for n in place.notes)


def test_names_that_the_file_has_otherwise_are_renamed_and_those_alike_left_out() -> None:
    text = "static float twice(float x) { return 3 * x; }\nstatic float same(float x) { return x; }\n"
    text += "void k(float *x) { *x = twice(same(*x)); }\n"
    given = "float twice(float x) { return x + x; }\nfloat same(float x) { return x; }\n"
    given += "void k(float *restrict x) { *x = twice(same(*x)); }\n"
    made = splice(text, "a.c", "k", candidate("k.c", toolchain="c", entry="k"), {"k.c": given}, "x/y").text
    assert "static float twice_tuned(float x) { return x + x; }" in made
    assert "*x = twice_tuned(same(*x))" in made and made.count(" same(float") == 1


def test_a_linkage_block_is_closed_around_what_a_kernel_leans_on() -> None:
    leans = "template <int N> __device__ int f() { return N; }\n"
    given = {"k.cu": f"{leans}__global__ void tuned(float *y, unsigned m) {{ y[m] = f<2>(); }}"}
    made = splice(SEVERAL, "x.cu", "plain", candidate(launch=(plan(),)), given, "x/y").text
    assert '}  // extern "C"\ntemplate <int N>' in made
    assert 'extern "C" {\nstatic __global__ void plain(float *y, unsigned m)' in made
    assert "__launch_bounds__" not in made, "they were those of the other body"


@pytest.mark.parametrize(
    ("kernel", "source", "why"),
    [
        ("a::k", "__global__ void tuned(float *x) {}", "takes other parameters"),
        ("a::b::k", "__global__ void tuned(const float *a, float *b, long n) {}", "written for one instance"),
        ("a::k", "__global__ void other(int *x) {}", "defines 'tuned'"),
    ],
)
def test_a_candidate_that_does_not_fit_is_refused(kernel: str, source: str, why: str) -> None:
    text = SEVERAL.replace("__global__ void k(double *x) { *x = 1; }", "").replace("template <> __global__", "// ")
    with pytest.raises(BadInput, match=why):
        splice(text, "x.cu", kernel, candidate(launch=(plan(),)), {"k.cu": source}, "x/y")


def test_a_plan_of_several_kernels_has_no_one_place() -> None:
    with pytest.raises(BadInput, match="no single kernel"):
        kernel_of(candidate(launch=(plan(), plan(kernel="second"))))
    with pytest.raises(BadInput, match="no single kernel"):
        kernel_of(candidate(launch=(plan(),), scratch=(Scratch(name="s", bytes=4),)))


def test_geometry_is_written_where_the_kernel_is_launched() -> None:
    made = relaunched(SEVERAL, "x.cu", "a::b::k<float, 8>", plan(), {"TILE": 64}, {"cols": "n"})
    assert "k<float, 8><<<dim3((((n) + 64 - 1) / 64), 1, 1), dim3(64, 8, 1)>>>(0, 0, 1)" in made
    assert "k<double, 2><<<3, 4>>>" in made
    with pytest.raises(BadInput, match=r"needs 'cols'.*\[axes\]"):
        relaunched(SEVERAL, "x.cu", "a::b::k<float, 8>", plan(), {"TILE": 64}, {})
    main = (EXAMPLES / "transpose/src/main.cu").read_text()
    assert len(sites(main, "main.cu", wanted("tiles::transpose<float, 16>"))) == 1, "TILE is a constant"
    inside = "template <int N> void f() { k<N><<<1, 2>>>(); }"
    assert sites(inside, "x.cu", wanted("k<32>")) == (), "which N is not to be seen there"
    assert written("min(N, 4) * 2", {"N": "n"}) == "((n < 4 ? n : 4) * 2)"


def test_python_functions_are_replaced_with_what_they_need() -> None:
    text = (EXAMPLES / "triton-softmax/softmax.py").read_text()
    given = "import math\nimport triton\n\n@triton.jit\ndef part(x):\n    return x\n\n"
    given += "@triton.jit\ndef tuned(x, y, cols, BLOCK):\n    part(x)\n"
    chosen = candidate("k.py", toolchain="triton", launch=(plan(block=None),), parameters={"BLOCK": 512})
    place = splice(text, "softmax.py", "softmax_rows", chosen, {"k.py": given}, "x/y")
    compile(place.text, "softmax.py", "exec")
    assert place.text.count("def softmax_rows") == 1 and place.text.count("import triton\n") == 1
    assert place.text.index("import math") < place.text.index("def part") < place.text.index("def softmax_rows")
    assert place.notes == ("launches must give BLOCK=512",)
    assert splice(place.text, "softmax.py", "softmax_rows", chosen, {"k.py": given}, "x/y").text == place.text
    with pytest.raises(BadInput, match="takes other parameters"):
        splice(text, "softmax.py", "softmax_rows", chosen, {"k.py": given.replace("cols", "n")}, "x/y")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here")
def test_what_was_written_compiles(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "transpose/src", tmp_path, dirs_exist_ok=True)
    path, main = tmp_path / "transpose.cuh", tmp_path / "main.cu"
    given = {"k.cu": TUNED, "more.cuh": "#define LANES 4\n"}
    chosen = candidate(parameters={"PAD": 1, "TILE": 32}, launch=(plan(),))
    path.write_text(splice(path.read_text(), path.name, "tiles::transpose<float, 32>", chosen, given, "x/y").text)
    axes = {"cols": "shape.cols"}
    main.write_text(relaunched(main.read_text(), "main.cu", "tiles::transpose<float, 32>", plan(), {"TILE": 32}, axes))
    built = tmp_path / "main.cubin"
    subprocess.run(["nvcc", "-std=c++17", "-arch=sm_90", "-cubin", "-o", built, main], check=True)
    shown = subprocess.run(["strings", built], capture_output=True, text=True, check=True).stdout
    assert "_ZN5tiles9transposeIfLi32EEEvPKT_PS1_NS_5ShapeEf" in shown, "the instance has the symbol of the template's"
