"""SGLang's diffusion functions, imported from an unpacked wheel without the rest of SGLang.

Its own files of the kernels are run as they are. In the place of what a machine lacks (the server, torch, triton,
CuTe DSL) stand names that do nothing, and decorators that leave a function as it is.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

VERSION = "0.5.12.post1"


class Nothing:
    """Takes any use; as a decorator it leaves the function as it is."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        plain = len(args) == 1 and not kwargs and callable(args[0]) and not isinstance(args[0], Nothing)
        return args[0] if plain else Nothing()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return Nothing()

    def __getitem__(self, _: Any) -> Any:
        return Nothing()

    def __or__(self, _: Any) -> Any:
        return Nothing()

    __ror__ = __or__

    def __hash__(self) -> int:
        return id(self)


class Stub(ModuleType):
    """A module, and a package, whose every name is :class:`Nothing`, or what it was given."""

    def __init__(self, name: str, **said: Any) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        vars(self).update(said)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()


class _Tensor:
    pass


_DEVICE = SimpleNamespace(current_device=lambda: 0, get_device_properties=lambda _: SimpleNamespace(warp_size=32))
_SAID: dict[str, dict[str, Any]] = {
    "torch": {"Tensor": _Tensor, "get_device_module": lambda: _DEVICE},
    "torch.library": {"custom_op": lambda *_, **__: _custom},
}


def _custom(function: Any) -> Any:
    function.register_fake = lambda fake: fake
    return function


def _register(function: Callable[..., Any] | None = None, **_: Any) -> Any:
    return function if function is not None else lambda f: f


def prepare(root: Path) -> tuple[str, ...]:
    """Make ``sglang.jit_kernel.diffusion`` importable from ``root``; what was stubbed."""
    sys.path.insert(0, str(root))
    assert metadata.version("sglang") == VERSION
    stubbed = []
    absent = {
        "torch": ("torch", "torch.library", "torch.nn", "torch.nn.functional"),
        "triton": ("triton", "triton.language"),
        "cutlass": ("cutlass", "cutlass.cute", "cutlass.cute.runtime"),
        "cuda.bindings": ("cuda", "cuda.bindings", "cuda.bindings.driver"),
        "einops": ("einops",),
    }
    for package, names in absent.items():
        if _there(package):
            continue
        stubbed.append(package)
        for name in names:
            sys.modules[name] = Stub(name, **_SAID.get(name, {}))
            parent, _, last = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], last, sys.modules[name])
    for name, folder in (("sglang", "sglang"), ("sglang.srt", ""), ("sglang.srt.utils", "sglang/srt/utils"),
                         ("sglang.multimodal_gen", ""), ("sglang.multimodal_gen.runtime", "")):  # fmt: skip
        package = Stub(name)
        package.__path__ = [str(root / folder)] if folder else []
        sys.modules[name] = package
    here = SimpleNamespace(
        **{f"is_{n}": (lambda n=n: n == "cuda") for n in ("cuda", "cpu", "mps", "npu", "hip", "xpu")}
    )
    name = "sglang.multimodal_gen.runtime.platforms"
    sys.modules[name] = Stub(name, current_platform=here)
    if "torch" in stubbed:
        sys.modules["sglang.srt.utils.custom_op"] = Stub("sglang.srt.utils.custom_op", register_custom_op=_register)
    else:
        sys.modules["sglang.srt.utils.common"] = Stub(
            "sglang.srt.utils.common", direct_register_custom_op=_registered_with_torch
        )
    sys.modules["sglang.utils"] = Stub("sglang.utils", is_in_ci=lambda: False)
    return tuple(stubbed)


def _there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _registered_with_torch(op_name: str, op_func: Any, mutates_args: list[str], fake_impl: Any) -> None:
    """What SGLang's own function does, by torch's public door."""
    import torch

    made = torch.library.custom_op(f"sglang::{op_name}", op_func, mutates_args=tuple(mutates_args))
    made.register_fake(fake_impl)
