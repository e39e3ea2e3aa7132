"""Toolchains for host code on a GPU: what they check and build here, without a GPU."""

from __future__ import annotations

import importlib.util
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from warpsmith.errors import BuildFailed, Missing
from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.evaluation import Build
from warpsmith.model.target import Target
from warpsmith.toolchains import Configuration, Job, toolchain

TARGET = Target(hardware="cuda", device="any", architecture="sm_90a", driver="", toolkit="", libraries={}, facts={})
ffi = pytest.mark.skipif(importlib.util.find_spec("tvm_ffi") is None, reason="apache-tvm-ffi is not installed")
CPP = """#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/function.h>

void run(tvm::ffi::TensorView x, tvm::ffi::TensorView y, int64_t n, double scale)
{
    for (int64_t i = 0; i < n; i++)
        ((float *)y.data_ptr())[i] = ((const float *)x.data_ptr())[i] * (float)scale * TWICE;
}
TVM_FFI_DLL_EXPORT_TYPED_FUNC(kernel, run);
"""
CU = CPP.replace("void run", "__global__ void nothing(float *y) { y[threadIdx.x] = 0.0f; }\n\nvoid run").replace(
    "{\n    for", "{\n    nothing<<<1, 1>>>((float *)y.data_ptr());\n    for"
)


def built(
    name: str, files: dict[str, str], folder: Path, configuration: Configuration = "release", **more: object
) -> tuple[Build, Path]:
    for path, text in files.items():
        (folder / path).write_text(text)
    sources = tuple(SourceFile(path=p, content=digest_bytes(t.encode())) for p, t in files.items())
    candidate = Candidate(toolchain=name, entry="kernel", sources=sources, **more)  # type: ignore[arg-type]
    output = folder / "out" / "binary"
    output.parent.mkdir()
    return toolchain(name).build(Job(candidate, folder, TARGET, configuration, output)), output


def test_a_torch_candidate_is_taken_as_it_is(tmp_path: Path) -> None:
    text = "import torch\n\ndef kernel(x, y, n, scale):\n    torch.mul(x, scale, out=y)\n"
    report, output = built("torch", {"kernel.py": text}, tmp_path)
    assert output.read_text() == text
    assert report.binary == digest_bytes(text.encode())


@pytest.mark.parametrize("text", ["def kernel(:", "def other():\n    pass\n"])
def test_a_torch_candidate_must_define_its_entry(text: str, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"does not parse|defines no function 'kernel'"):
        built("torch", {"kernel.py": text}, tmp_path)


def test_the_version_of_torch_is_known_without_importing_it() -> None:
    try:
        installed = version("torch")
    except PackageNotFoundError:
        with pytest.raises(Missing, match="torch is not installed"):
            toolchain("torch").version()
    else:
        assert toolchain("torch").version().startswith(f"torch {installed}, python 3.")


@ffi
def test_cpp_is_built_and_can_be_called_with_its_tunables(tmp_path: Path) -> None:
    import numpy as np
    import tvm_ffi

    report, output = built("tvm-ffi", {"kernel.cpp": CPP}, tmp_path, parameters={"TWICE": 2})
    assert report.command[0] == "g++"
    x, y = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)
    named = output.with_suffix(".so")
    named.symlink_to(output)
    tvm_ffi.load_module(str(named)).kernel(tvm_ffi.from_dlpack(x), tvm_ffi.from_dlpack(y), 8, 1.5)
    assert (y == 3 * x).all()
    assert toolchain("tvm-ffi").version().startswith(f"tvm-ffi {version('apache-tvm-ffi')}, ")


@ffi
@pytest.mark.slow
def test_cuda_is_built_for_the_target_with_facts_of_its_kernels(tmp_path: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not installed")
    report, output = built("tvm-ffi", {"kernel.cu": CU}, tmp_path, parameters={"TWICE": 2})
    assert output.read_bytes()[:4] == b"\x7fELF"
    (kernel,) = report.kernels
    assert "nothing" in kernel.name
    assert (kernel.registers or 0) > 0
    assert "-gencode=arch=compute_90a,code=sm_90a" in report.command


@ffi
@pytest.mark.parametrize(
    ("text", "flags", "said"),
    [
        (CPP.replace("FUNC(kernel", "FUNC(other"), (), "nothing is exported as 'kernel'"),
        ("int", (), "ended with status 1"),
        (CPP, ("-lcuda",), "is not allowed"),
        (CPP, ("-L/tmp",), "is not allowed"),
        (CPP, ("-Wl,-rpath,/tmp",), "is not allowed"),
        (CPP, ("-fplugin=/tmp/x.so",), "is not allowed"),
    ],
)
def test_what_is_refused(text: str, flags: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=said):
        built("tvm-ffi", {"kernel.cpp": text}, tmp_path, parameters={"TWICE": 1}, flags=flags)


@ffi
def test_a_candidate_needs_a_source_that_can_be_built(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"there is no \.cu or \.cpp file"):
        built("tvm-ffi", {"kernel.h": CPP}, tmp_path)


@ffi
def test_a_source_sees_no_other_files(tmp_path: Path) -> None:
    secret = Path.home() / ".warpsmith-test-secret.h"
    secret.write_text("static const int secret = 1;\n")
    try:
        with pytest.raises(BuildFailed, match="No such file"):
            built("tvm-ffi", {"kernel.cpp": f'#include "{secret}"\n{CPP}'}, tmp_path, parameters={"TWICE": 1})
    finally:
        secret.unlink()
