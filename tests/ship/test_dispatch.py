"""Dispatch with torch on a processor: one operation under torch.compile, gradients, fallbacks; skipped without it."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest

from tests.ship.export_things import exported, imported, project_with_release

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("tvm_ffi", reason="apache-tvm-ffi is not installed")
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]
N = 2048


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    space = project_with_release(tmp_path_factory.mktemp("project"))
    answer = exported(space, "my/axpy")
    assert not answer.against
    return imported(answer, space.root)


def original(x: Any, y0: Any, scale: float = 1.5, *, bias: Any = None, out: Any = None) -> Any:
    made = x * scale + y0 if bias is None else x * scale + y0 + bias
    return made if out is None else out.copy_(made)


def near(a: Any, b: Any) -> bool:
    return bool(torch.allclose(a, b, rtol=1e-5, atol=1e-5))


def inputs(n: int = N) -> tuple[Any, Any]:
    return torch.randn(n), torch.randn(n)


def test_eager_calls_hit_and_gradients_go_to_the_original(package: ModuleType) -> None:
    dispatch = package.DISPATCH["axpy"]
    bound = dispatch.bind(original, {"alpha": "scale"})
    dispatch.reset()
    x, y0 = inputs()
    out = torch.empty_like(x)
    assert near(bound(x, y0), original(x, y0)) and bound(x, y0, out=out) is out
    assert near(package.axpy(x, y0, out), original(x, y0))
    assert (dispatch.hits, dispatch.fallbacks) == (3, 0)
    grows = x.clone().requires_grad_()
    bound(grows, y0).sum().backward()
    assert near(grows.grad, torch.full_like(x, 1.5))
    with pytest.raises(package.NotCovered, match="needs gradients"):
        package.axpy(grows, y0)
    with torch.no_grad():
        assert near(bound(grows, y0), original(x, y0))
    assert (dispatch.hits, dispatch.fallbacks) == (4, 1)
    assert dispatch.covers(x[:1000], y0[:1000]) == "the shape is outside what was measured"


def test_a_whole_graph_is_compiled_without_a_break(package: ModuleType) -> None:
    dispatch = package.DISPATCH["axpy"]

    def block(x: Any, y0: Any) -> Any:
        return package.axpy(x * 2, y0) + 1

    x, y0 = inputs()
    assert torch._dynamo.explain(block)(x, y0).graph_break_count == 0
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    dispatch.reset()
    for n in (N, N + 64, 4096):
        x, y0 = inputs(n)
        assert near(compiled(x, y0), original(x * 2, y0) + 1)
    assert (dispatch.hits, dispatch.fallbacks) == (3, 0)
    x, y0 = inputs()
    y = torch.empty_like(x)

    def into(x: Any, y0: Any, y: Any) -> Any:
        package.axpy(x, y0, y)
        return y * 2

    assert near(torch.compile(into, fullgraph=True, backend="aot_eager")(x, y0, y), 2 * original(x, y0))
    assert near(y, original(x, y0))


def test_a_bound_function_compiles_and_falls_back(package: ModuleType) -> None:
    dispatch = package.DISPATCH["axpy"]
    bound = dispatch.bind(original, {"alpha": "scale"})
    compiled = torch.compile(bound, fullgraph=True, backend="aot_eager")
    x, y0 = inputs()
    grows = x.clone().requires_grad_()
    cases: tuple[tuple[tuple[Any, ...], dict[str, Any], tuple[int, int]], ...] = (
        ((x, y0), {}, (1, 0)),
        ((x[:512], y0[:512]), {}, (0, 1)),
        ((x, y0), {"out": torch.empty_like(x)}, (1, 0)),
        ((x, y0, 2.0), {}, (0, 1)),
    )
    for args, kwargs, counted in cases:
        dispatch.reset()
        assert near(compiled(*args, **kwargs), original(*args, **kwargs))
        assert (dispatch.hits, dispatch.fallbacks) == counted
    assert near(compiled(x, y0, bias=y0), original(x, y0, bias=y0))
    compiled(grows, y0).sum().backward()
    assert near(grows.grad, torch.full_like(x, 1.5))


def test_expressions_over_tensors_compile_as_the_original(package: ModuleType) -> None:
    def rows(x: Any, y0: Any) -> Any:
        return (x * 1.5 + y0).view(-1)

    bound = package.DISPATCH["axpy"].bind(rows, {"x": "x.view(-1)", "y0": "y0.view(-1)"})
    x, y0 = torch.randn(4, 512), torch.randn(4, 512)
    package.DISPATCH["axpy"].reset()
    assert near(bound(x, y0), rows(x, y0)) and package.DISPATCH["axpy"].hits == 1
    assert near(torch.compile(bound, fullgraph=True, backend="aot_eager")(x, y0), rows(x, y0))


def test_the_operations_are_sound_to_torch(package: ModuleType) -> None:
    """Schemas, fake kernels and aliasing, by torch's own checker."""
    space = getattr(torch.ops, f"warpsmith_{package.DISPATCH['axpy'].unique}")
    names = [n for n in dir(space) if n.startswith(("into_", "new_"))]
    x, y0 = inputs()
    assert names
    for name in names[:2]:
        args = (x, y0, torch.empty_like(x), 1.5, 0) if name.startswith("into") else (x, y0, 1.5, 0)
        torch.library.opcheck(getattr(space, name).default, args)


def test_the_added_cost_is_measured(package: ModuleType) -> None:
    cost = importlib.import_module(f"{package.__name__}._runtime.cost").of(package)
    assert cost["low_ns"] <= cost["ns"] <= cost["high_ns"] and cost["batches"] == 41
    assert cost["shape"]["x"] == [1003]
