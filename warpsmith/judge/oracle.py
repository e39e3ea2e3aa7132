"""The task's float64 reference, loaded and called. Whatever goes wrong in it is the task's fault, not a candidate's."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from typing import Any

from warpsmith.errors import TaskAtFault
from warpsmith.judge.numeric import Array, Numeric
from warpsmith.model.head import Workload
from warpsmith.model.task import KernelTask, Role


class Oracle:
    """The task's reference over an array-API namespace."""

    def __init__(self, task: KernelTask, folder: Path, numeric: Numeric) -> None:
        self.task = task
        self.numeric = numeric
        path = folder / task.reference
        spec = importlib.util.spec_from_file_location(f"reference_{abs(hash(path))}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
            self.function = module.reference
        except Exception as error:  # the task author's code: whatever it raises is reported as theirs
            raise TaskAtFault(f"{task.reference} cannot be loaded: {type(error).__name__}: {error}.") from error
        self.wanted = set(inspect.signature(self.function).parameters) - {"xp"}
        self.outputs = [a for a in task.arguments if a.role is Role.output]

    def expect(self, workload: Workload, inputs: dict[str, Array]) -> dict[str, Array]:
        """The float64 outputs. Raises TaskAtFault naming the reference where it fails, gives another shape, or what is
        not finite and the task refuses that.
        """
        known: dict[str, Any] = {**workload.axes}
        for argument in self.task.arguments:
            if argument.role is Role.scalar:
                known[argument.name] = self.task.scalar(argument, workload)
        known |= {name: self.numeric.f64(value) for name, value in inputs.items() if name in self.wanted}
        where, there = self.task.reference, f"on workload {workload.name!r}"
        try:
            given = self.function(self.numeric.xp, **{n: v for n, v in known.items() if n in self.wanted})
        except Exception as error:
            raise TaskAtFault(f"{where} fails {there}: {type(error).__name__}: {error}.") from error
        results = given if isinstance(given, dict) else {self.outputs[0].name: given}
        for output in self.outputs:
            shape = tuple(getattr(results.get(output.name), "shape", ()))
            if output.name not in results or shape != output.extent(workload.axes):
                wanted = output.extent(workload.axes)
                raise TaskAtFault(f"{where}: {output.name} has shape {shape} {there}, expected {wanted}.")
            if self.task.nonfinite == "refuse" and not self._finite(results[output.name]):
                raise TaskAtFault(
                    f'{where}: {output.name} holds NaN or infinity {there}, and the task says nonfinite = "refuse".',
                    "Change what is computed, leave the family out that leads there, or match what the oracle gives.",
                )
        return results

    def _finite(self, values: Array) -> bool:
        xp = self.numeric.xp
        return bool(xp.all(xp.isfinite(values)))
