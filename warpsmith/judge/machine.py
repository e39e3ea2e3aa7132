"""What this machine is: the target of a measurement, and what it can do (for ``doctor``). Starts no context,
runs no kernel.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from warpsmith.errors import BadInput, Missing, WarpsmithError
from warpsmith.model.target import Target
from warpsmith.sandbox import layers
from warpsmith.sandbox.probe import WHAT
from warpsmith.toolchains import TOOLCHAINS, toolchain
from warpsmith.toolchains.c import compiler
from warpsmith.toolchains.compiler import said_by

ARCHITECTURE_SPECIFIC = {(9, 0), (10, 0), (10, 3), (12, 0), (12, 1)}
"""Compute capabilities whose ``a`` variant unlocks instructions (wgmma, tcgen05): CUDA C++ Programming Guide."""


@dataclass(frozen=True)
class Capability:
    """One line of ``doctor``."""

    name: str
    works: bool
    detail: str
    remedy: str = ""


def detect(hardware: str) -> Target:
    """The target that a task's ``hardware`` means here. Raises Missing where there is none, BadInput for
    another word.
    """
    if platform.system() != "Linux":
        raise Missing(f"warpsmith measures on Linux; this is {platform.system()}.", "Run it on a Linux machine.")
    if hardware == "cpu":
        return _cpu()
    if hardware == "cuda":
        return _gpu()
    raise BadInput(f"hardware: {hardware!r} is not known.", "Use 'cpu' or 'cuda'.")


@lru_cache(maxsize=1)
def _cpu() -> Target:
    return Target(
        hardware="cpu",
        device=_cpu_name(),
        architecture=_native_architecture(),
        driver=f"Linux {platform.release()}",
        toolkit=toolchain("c").version(),
        libraries=_versions("numpy"),
        facts={"L3_BYTES": _l3_bytes(), "CORES": len(os.sched_getaffinity(0))},
    )


@lru_cache(maxsize=1)
def _gpu() -> Target:
    try:
        from cuda.bindings import driver as cu
    except ImportError:
        raise Missing("cuda-bindings is not installed.", "Install warpsmith[gpu] on a machine with a GPU.") from None
    try:
        _ask(cu.cuInit, 0)
        device = _ask(cu.cuDeviceGet, 0)
    except (WarpsmithError, RuntimeError) as error:
        raise Missing(f"no CUDA device can be used here: {error}.", "Check the driver with nvidia-smi.") from None
    attribute = cu.CUdevice_attribute

    def fact(name: str) -> int:
        return int(_ask(cu.cuDeviceGetAttribute, getattr(attribute, f"CU_DEVICE_ATTRIBUTE_{name}"), device))

    major, minor = fact("COMPUTE_CAPABILITY_MAJOR"), fact("COMPUTE_CAPABILITY_MINOR")
    suffix = "a" if (major, minor) in ARCHITECTURE_SPECIFIC else ""
    toolkit = _ask(cu.cuDriverGetVersion)
    return Target(
        hardware="cuda",
        device=_ask(cu.cuDeviceGetName, 128, device).split(b"\0")[0].decode(),
        architecture=f"sm_{major}{minor}{suffix}",
        driver=_driver_version(),
        toolkit=f"CUDA {toolkit // 1000}.{toolkit % 1000 // 10}",
        libraries=_versions("torch", "cuda-bindings", "cuda-core"),
        uuid=bytes(_ask(cu.cuDeviceGetUuid, device).bytes).hex(),
        facts={
            "SM_COUNT": fact("MULTIPROCESSOR_COUNT"),
            "L2_BYTES": fact("L2_CACHE_SIZE"),
            "SHARED_BYTES_PER_BLOCK": fact("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"),
        },
    )


def _ask(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a driver function; its value. Raises WarpsmithError with the driver's own name of the error."""
    status, *values = function(*arguments)
    if int(status) != 0:
        raise WarpsmithError(f"{getattr(function, '__name__', function)} gave {status!r}")
    return values[0] if values else None


def _cpu_name() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.machine()


def _native_architecture() -> str:
    printed = said_by((compiler(), "-march=native", "-Q", "--help=target"))
    found = re.search(r"^\s*-march=\s*(\S+)", printed, re.MULTILINE)
    return found.group(1) if found else platform.machine()


def _l3_bytes() -> int:
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index3/size").read_text().strip()
    except OSError:
        return 0
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * units[text[-1]] if text and text[-1] in units else 0


def _driver_version() -> str:
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return ""
    found = re.search(r"\b(\d+\.\d+\.\d+)\b", text)
    return found.group(1) if found else ""


def _versions(*packages: str) -> dict[str, str]:
    known = {}
    for package in packages:
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            continue
    return known


def capabilities() -> list[Capability]:
    """What ``doctor`` says of this machine, each with the remedy where it is missing."""
    found = [
        Capability("system", platform.system() == "Linux", f"{platform.system()} {platform.release()}",
                   "warpsmith measures on Linux only."),
        Capability("python", True, platform.python_version()),
    ]  # fmt: skip
    found += [_toolchain(name) for name in sorted(TOOLCHAINS)]
    found += [_device(hardware) for hardware in ("cpu", "cuda")]
    found += [
        _tool("nvcc", "Install the CUDA toolkit."),
        _tool("ncu", "Install Nsight Compute."),
        _tool("nsys", "Install Nsight Systems."),
        _tool("compute-sanitizer", "Install the CUDA toolkit, and put its programs on PATH."),
        _libasan(),
        _tool("valgrind", "Install valgrind for callgrind profiles."),
    ]
    return found + _sandbox()


def _sandbox() -> list[Capability]:
    """How the sandbox is made, and one line per layer of it."""
    held = layers()
    by = held.how.bubblewrap or ("unshare" if "files" in held.how.layers else "limits alone")
    said = {n: f"{what}: {held.lacking[n]}" if n in held.lacking else what for n, what in WHAT.items()}
    lines = [Capability(f"sandbox {n}", n not in held.lacking, said[n], held.remedy(n)) for n in WHAT]
    return [Capability("sandbox by", bool(held.holding), by), *lines]


def _toolchain(name: str) -> Capability:
    try:
        return Capability(f"toolchain {name}", True, toolchain(name).version())
    except Missing as error:
        return Capability(f"toolchain {name}", False, error.message, error.remedy)


def _device(hardware: str) -> Capability:
    try:
        target = detect(hardware)
    except Missing as error:
        return Capability(f"device {hardware}", False, error.message, error.remedy)
    return Capability(f"device {hardware}", True, f"{target.device}, {target.architecture}, {target.driver}")


def _libasan() -> Capability:
    from warpsmith.judge.sanitize_host import available

    try:
        return Capability("libasan", True, available())
    except Missing as error:
        return Capability("libasan", False, error.message, error.remedy)


def _tool(name: str, remedy: str) -> Capability:
    path = shutil.which(name)
    return Capability(name, path is not None, path or "not found on PATH", "" if path else remedy)
