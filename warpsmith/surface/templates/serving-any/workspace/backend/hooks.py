"""Puts the workspace's operations into a model, as ``ops/kernel_manifest.yaml`` and the environment say.

Before a module is changed its own forward is asked beside the operation, on random rows: a class that scales in another
way (one plus the weight, say) is refused at start and not found out from its tokens.
"""

import torch

from backend import environment
from ops import choice

TOLERANCES = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Largest difference from the module's own answer, relative to the largest number in it."""

replaced: dict[str, str] = {}
"""The operations that stand in for a module of the last model, with what was said of each."""


def install(model: torch.nn.Module) -> list[str]:
    """Replace what is to be replaced; one line per operation of what was done.

    Raises ops.Unusable where the switch names an implementation that cannot run, RuntimeError where it computes
    something else than the module it stands in for.
    """
    replaced.clear()
    return [_install(model, op, said) for op, said in choice.manifest().items()]


def _install(model: torch.nn.Module, op: str, said: dict) -> str:
    default = "auto" if said["status"] == "default" else "off"
    wanted = environment.word(said["switch"], default)
    if said["status"] == "off" and wanted != "off":
        raise RuntimeError(f"{said['switch']}={wanted}, but the manifest has {op} as off")
    modules = [m for m in model.modules() if type(m).__name__ in said["replaces"]["modules"]]
    if wanted == "off":
        return f"{op}: off; the model's own runs ({len(modules)} modules)"
    if not modules:
        return f"{op}: nothing to replace: the model has none of {', '.join(said['replaces']['modules'])}"
    weight = getattr(modules[0], said["replaces"]["weight"]).detach()
    chosen = choice.choose(op, wanted, (_rows(weight), weight), block=environment.number("OPS_BLOCK"))
    call = choice.guarded(chosen)
    for module in modules:
        _replace(module, call, said["replaces"], f"{op}: {chosen.name}")
    refused = "".join(f"; not {name}: {reason.splitlines()[0]}" for name, reason in chosen.refused.items())
    kinds = ", ".join(sorted({type(m).__name__ for m in modules}))
    replaced[op] = f"{op}: {chosen.name} ({chosen.how}) in place of {len(modules)} {kinds}{refused}"
    return replaced[op]


def _replace(module: torch.nn.Module, call: choice.Function, replaces: dict, who: str) -> None:
    eps = next(getattr(module, name) for name in replaces["eps"] if hasattr(module, name))
    name = replaces["weight"]
    weight = getattr(module, name)

    def forward(hidden_states: torch.Tensor) -> torch.Tensor:
        return call(hidden_states, getattr(module, name), eps)

    with torch.no_grad():
        rows = _rows(weight)
        own, ours = module(rows).float(), forward(rows).float()
    worst = ((own - ours).abs().max() / own.abs().max().clamp_min(1e-30)).item()
    if not worst <= TOLERANCES.get(weight.dtype, 0.0):
        raise RuntimeError(f"{who} is no {type(module).__name__}: {worst:.2g} off on random rows of {weight.dtype}")
    module.forward = forward


def _rows(weight: torch.Tensor) -> torch.Tensor:
    return torch.randn(3, weight.shape[-1], dtype=weight.dtype, device=weight.device)
