"""The formats: which files an export has. Python packages, C headers, Hugging Face kernels, FlashInfer solutions.

The Hugging Face layout is that of kernel-builder's ``tvm-ffi`` framework (build.toml, ``tvm-ffi-ext``, and a built
variant under ``build``); the FlashInfer one is a Solution of its Trace schema in C++ with tvm-ffi's binding.
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from warpsmith.ship import runtime
from warpsmith.ship.export.binding import binding
from warpsmith.ship.export.document import DOCUMENT, document, finished, said, stamp
from warpsmith.ship.export.family import Family
from warpsmith.ship.export.header import header

Format = Literal["python", "header", "kernels", "flashinfer"]
FORMATS: tuple[Format, ...] = ("python", "header", "kernels", "flashinfer")
TEMPLATES = Path(__file__).parent / "templates"
RUNTIME = Path(runtime.__file__).parent
TVM_FFI = "0.1"
"""The version of tvm-ffi's interface that is built against, as its build variants name it."""
Files = dict[str, bytes]
Build = Callable[[Files, str], bytes]
"""Compiles the C++ file of that name among the files to a shared object. Raises BuildFailed, Missing."""
Measure = Callable[[Files, str], object]
"""The added cost of a call through a finished Python package of that name, or why it is not known."""


def files(family: Family, kind: Format, build: Build, measure: Measure, definition: str = "") -> Files:
    """Every file of the export by its path. ``definition``: FlashInfer's name of the operation; empty for our own.

    Raises ExpressionError for a launch plan that cannot be exported, BuildFailed and Missing of the compiler.
    """
    lines = stamp(family)
    sources = {
        f"{family.name}.h": header(family, lines).encode(),
        "binding.cpp": binding(family, f"{family.name}.h").encode(),
    }
    if kind == "header":
        made = {f"{family.name}.h": sources[f"{family.name}.h"]}
        return {**made, DOCUMENT: finished(document(family, kind), made, "not measured")}
    if kind == "flashinfer":
        made = {f"{family.name}.json": _solution(family, sources, definition)}
        return {**made, DOCUMENT: finished(document(family, kind), made, "not measured")}
    if kind == "kernels":
        return _kernels(family, sources, build)
    return _package(family, kind, sources, build(sources, "binding.cpp"), measure)


def _package(family: Family, kind: str, sources: Files, library: bytes, measure: Measure) -> Files:
    """A Python package: the library, its sources, and the run-time modules as they are here."""
    name = f"{family.name}_ops.so"
    made = {
        "__init__.py": _filled("package.py.in", family).encode(),
        name: library,
        **{f"source/{path}": content for path, content in sources.items()},
        **{f"_runtime/{p.name}": p.read_bytes() for p in sorted(RUNTIME.glob("*.py"))},
    }
    said_ = {**document(family, kind), "library": name}
    cost = measure({**made, DOCUMENT: finished(said_, made, "not measured")}, family.name)
    return {**made, DOCUMENT: finished(said_, made, cost)}


def _kernels(family: Family, sources: Files, build: Build) -> Files:
    """A kernel-builder project, with the variant that was built here."""
    hosts = {m.is_host for m in family.members}
    backend = "cpu" if hosts == {True} else "cuda"
    unique = document(family, "kernels")["unique"]
    ops = f"_{family.name}_{backend}_{unique}"
    package = _package(family, "kernels", sources, build(sources, "binding.cpp"), lambda *_: "not measured")
    document_ = {**json.loads(package.pop(DOCUMENT)), "library": f"{ops}.so"}
    variant = {path: content for path, content in package.items() if not path.startswith("source/")}
    variant[f"{ops}.so"] = variant.pop(f"{family.name}_ops.so")
    del document_["files"], document_["added_cost"]
    variant[DOCUMENT] = finished(document_, variant, "not measured")
    variant["metadata.json"] = _metadata(family, backend, ops, variant)
    place = f"build/tvm-ffi{TVM_FFI.replace('.', '')}-{_compute(backend)}-{platform.machine()}-linux"
    made = {f"{place}/{path}": content for path, content in variant.items()}
    made["build.toml"] = _build_toml(family, backend).encode()
    made["tvm-ffi-ext/binding.cpp"] = sources["binding.cpp"]
    made[f"{family.name}_{backend}/{family.name}.cpp"] = f'#include "../{family.name}.h"\n'.encode()
    made[f"{family.name}.h"] = sources[f"{family.name}.h"]
    made.update({f"tvm-ffi-ext/{family.name}/{p}": c for p, c in variant.items() if p.endswith((".py", DOCUMENT))})
    made["CARD.md"] = ("# " + family.name + "\n\n" + "\n".join(stamp(family)) + "\n").encode()
    return {**made, DOCUMENT: finished(document(family, "kernels"), made, "not measured")}


def _compute(backend: str) -> str:
    """``cpu``, or CUDA's version as a variant names it: the driver's interface since 13.0 is all that is used."""
    return "cpu" if backend == "cpu" else "cu130"


def _build_toml(family: Family, backend: str) -> str:
    capabilities = sorted({m.row.capability for m in family.members if not m.is_host})
    said_ = ", ".join(f'"{c // 10}.{c % 10}"' for c in capabilities)
    lines = [
        "[general]", f'name = "{family.name.replace("_", "-")}"', "version = 1", "edition = 5",
        'license = "Apache-2.0"', f'backends = ["{backend}"]', "",
        "[tvm-ffi]", 'src = ["tvm-ffi-ext/binding.cpp"]', 'include = ["."]', 'pyext = ["py", "json"]', "",
        f"[kernel.{family.name}_{backend}]", f'backend = "{backend}"', "depends = []",
        f'src = ["{family.name}_{backend}/{family.name}.cpp", "{family.name}.h"]',
    ]  # fmt: skip
    if backend == "cuda":
        lines.append(f"cuda-capabilities = [{said_}]")
    return "\n".join(lines) + "\n"


def _metadata(family: Family, backend: str, ops: str, variant: Files) -> bytes:
    """metadata.json of a built variant: what it is, and a digest of every file."""
    hashes = {
        path: base64.b64encode(hashlib.sha256(content).digest()).decode() for path, content in sorted(variant.items())
    }
    of: dict[str, Any] = {"type": backend}
    if backend == "cuda":
        of["archs"] = sorted({f"{m.row.capability // 10}.{m.row.capability % 10}" for m in family.members})
    whole = {
        "id": ops,
        "name": family.name.replace("_", "-"),
        "version": 1,
        "license": "Apache-2.0",
        "backend": of,
        "digest": {"algorithm": "sha256", "files": hashes},
    }
    return json.dumps(whole, indent=1).encode() + b"\n"


def _solution(family: Family, sources: Files, definition: str) -> bytes:
    """A Solution: C++ with tvm-ffi's binding, inputs first and outputs last."""
    first = family.members[0].manifest
    hardware = [
        "cpu" if m.is_host else m.manifest.target.device.replace(" ", "_") for m in family.members if m.row.measured
    ]
    identity = document(family, "flashinfer")["unique"]
    author = f"warpsmith {first.warpsmith}"
    whole = {
        "name": f"{family.name}_warpsmith_{identity}",
        "definition": definition or re.sub(r"[^a-z0-9_]", "_", first.name.lower()),
        "author": author,
        "description": "; ".join(f"{m.row.release} {said(m.row.gain)}" for m in family.members),
        "spec": {
            "language": "cpp",
            "target_hardware": list(dict.fromkeys(hardware)),
            "entry_point": f"binding.cpp::{family.name}",
            "dependencies": [],
            "destination_passing_style": True,
            "binding": "tvm-ffi",
        },
        "sources": [{"path": path, "content": content.decode()} for path, content in sorted(sources.items())],
    }
    return json.dumps(whole, indent=1).encode() + b"\n"


def _filled(template: str, family: Family) -> str:
    text = (TEMPLATES / template).read_text()
    lines = "\n".join(stamp(family)).replace("\\", "/").replace('"""', "'''")
    return text.replace("@NAME@", family.name).replace("@STAMP@", lines)
