"""The device contract for captured kernels: their own signature, structs with addresses in them, global variables.

A candidate's launch passes the parameters of the original by name. Buffers are whole captured allocations, so pointers
into one of them, and several that share one, reach what they did in the application.
"""

from __future__ import annotations

from math import prod
from typing import Any

from warpsmith.judge.device import DeviceBench
from warpsmith.judge.memory import Arena
from warpsmith.judge.plan import ConcreteLaunch, Packed, Plan, Planner, make_plan
from warpsmith.judge.tensormap import ConcreteMap, Impossible
from warpsmith.model.candidate import Candidate, Launch
from warpsmith.model.head import Workload
from warpsmith.model.task import AppTask, KernelTask
from warpsmith.toolchains.cache import Built


class AppPlanner(Planner):
    """Launches that pass the original's parameters."""

    def launch(self, index: int, launch: Launch) -> ConcreteLaunch | None:
        """One launch in numbers, None where there is nothing to launch. Raises ExpressionError, Impossible."""
        made = super().launch(index, launch)
        if made is None:
            return None
        assert isinstance(self.task, AppTask)
        original = self.task.launched(self.workload)
        if prod(original.cluster) > 1 and made.cluster is None:
            raise Impossible(f"{launch.kernel}: the original is launched in clusters of {original.cluster}: state them")
        if prod(original.cluster) > 1 and made.cluster != original.cluster:
            raise Impossible(f"{launch.kernel}: a cluster of {made.cluster}, and the application asks for another")
        return made

    def argument(self, name: str) -> str | bytes | Packed | ConcreteMap:
        """What is passed under that name. Raises ExpressionError, Impossible."""
        assert isinstance(self.task, AppTask)
        parameter = next((p for p in self.task.parameters if p.name == name), None)
        if parameter is None or parameter.role == "scalar":
            return super().argument(name)
        launched = self.task.launched(self.workload)
        within = tuple((p.at, f"{p.parameter}:{p.at}") for p in launched.pointers if p.parameter == name)
        if parameter.role == "pointer":
            return within[0][1] if within else bytes(parameter.size)  # it was null, or reached nothing
        return Packed(bytes.fromhex(launched.raw[name]), within)


class AppDeviceBench(DeviceBench):
    """What the device contract needs beside candidates for a captured kernel. Runners are those of any task."""

    def plan(self, task: KernelTask, workload: Workload, candidate: Candidate, built: Built) -> Plan:
        """A candidate's launches in numbers. Raises CandidateFailed for an impossible one."""
        planner = AppPlanner if isinstance(task, AppTask) else Planner  # a tool's planted mistakes are no captured task
        return make_plan(task, workload, candidate, self.target, built.build.kernels, planner)

    def layout(self, task: KernelTask, workload: Workload, arena: Arena) -> dict[str, Any]:
        """Where a launcher finds what the launches name: the original's pointers lie within captured buffers."""
        said = super().layout(task, workload, arena)
        if not isinstance(task, AppTask):
            return said
        launched, held = task.launched(workload), arena.buffers
        within = {f"{p.parameter}:{p.at}": (p.buffer, p.offset) for p in launched.pointers}
        there = {n: s for n, s in task.globals.items() if n in launched.contents}
        variables = {name: (symbol, len(held[name].bytes)) for name, symbol in there.items()}
        return {**said, "within": within, "globals": variables}

    def exact(self, task: KernelTask, arena: Arena) -> dict[str, tuple[int, bool, bool]]:
        """How buffers are copied for tools: outputs of a captured kernel begin with content, so it is read too."""
        said = super().exact(task, arena)
        if not isinstance(task, AppTask):
            return said
        return {name: (size, True, gives) for name, (size, _, gives) in said.items()}
