"""Names of kernels, and what a mangled one tells of parameters."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warpsmith.app.symbols import as_float, decode, demangled, file_name, is_pointer, parts, scalar_type

TRANSPOSE = "_ZN5tiles9transposeIfLi16EEEvPKT_PS1_NS_5ShapeEf"
TORCH = "_ZN2at6native29vectorized_elementwise_kernelILi4ENS0_15CUDAFunctor_addIfEESt5arrayIPcLm3EEEEviT0_T1_"


@pytest.mark.parametrize(
    ("symbol", "name", "types"),
    [
        (TRANSPOSE, "tiles::transpose<float, 16>", ("float const*", "float*", "tiles::Shape", "float")),
        ("_Z5scalePfif", "scale", ("float*", "int", "float")),
        ("_Z1kv", "k", ()),
        ("_ZN12_GLOBAL__N_11kEPKf", "(anonymous namespace)::k", ("float const*",)),
        ("_Z4callPFviE", "call", ("void (*)(int)",)),
        ("add_kernel_0d1d", "add_kernel_0d1d", None),
        ("_Znonsense", "_Znonsense", None),
    ],
)
def test_parts(symbol: str, name: str, types: tuple[str, ...] | None) -> None:
    assert (parts(symbol).name, parts(symbol).types) == (name, types)


def test_a_template_of_templates() -> None:
    found = parts(TORCH)
    assert found.name.startswith("at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>")
    assert found.types == ("int", "at::native::CUDAFunctor_add<float>", "std::array<char*, 3ul>")


@pytest.mark.slow
@given(st.text(max_size=60))
def test_any_name_is_answered(text: str) -> None:
    symbol = text.replace("\0", "")
    assert isinstance(demangled("_Z" + symbol), str)
    parts("_Z" + symbol)
    name = file_name(symbol)
    assert "/" not in name
    assert len(name.encode()) < 128


def test_files_of_overloads_differ() -> None:
    assert file_name("_Z5scalePfif") != file_name("_Z5scalePdid")


@pytest.mark.parametrize(
    ("type_", "content", "value"),
    [
        ("int", struct.pack("<i", -7), -7),
        ("unsigned int", b"\xff\xff\xff\xff", 0xFFFFFFFF),
        ("float", struct.pack("<f", 0.5), 0.5),
        ("double", struct.pack("<d", 1e300), 1e300),
        ("float", struct.pack("<f", float("nan")), "nan"),
        ("float", struct.pack("<f", float("-inf")), "-inf"),
        ("bool", b"\1", 1),
        ("__half", struct.pack("<e", 1.5), 1.5),
        ("__nv_bfloat16", struct.pack("<f", 1.5)[2:], 1.5),
        ("", struct.pack("<q", 1 << 40), 1 << 40),
        ("", b"\1\2\3", "010203"),
        ("tiles::Shape", struct.pack("<ii", 1, 2), "0100000002000000"),
        ("int", b"\1", "01"),
    ],
)
def test_decode(type_: str, content: bytes, value: object) -> None:
    assert decode(type_, content) == value


def test_kinds_of_types() -> None:
    assert is_pointer("float const*")
    assert is_pointer("float* __restrict__")
    assert not is_pointer("std::array<char*, 3ul>")
    assert scalar_type("unsigned long const") == "unsigned long"
    assert scalar_type("tiles::Shape") == ""
    assert as_float(struct.pack("<f", 0.25)) == 0.25
    assert as_float(struct.pack("<i", 7)) is None
