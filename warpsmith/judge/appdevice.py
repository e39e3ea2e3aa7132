"""The device contract for captured kernels: their own signature, structs with addresses in them, global variables.

A candidate's launch passes the parameters of the original by name. Buffers are whole captured allocations, so pointers
into one of them, and several that share one, reach what they did in the application.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from warpsmith.errors import Missing
from warpsmith.judge.contract import SanitizedRunner
from warpsmith.judge.device import DeviceBench, DeviceRunner
from warpsmith.judge.memory import Arena
from warpsmith.judge.plan import ConcreteLaunch, Packed, Plan, Planner, make_plan
from warpsmith.judge.tensormap import ConcreteMap, Impossible
from warpsmith.model.candidate import Candidate, Launch
from warpsmith.model.task import AppTask, Workload
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


class AppDeviceRunner(DeviceRunner):
    """One candidate in a launcher, with the original's pointers."""

    task: AppTask

    def plan(self, workload: Workload) -> Plan:
        """The candidate's launches in numbers. Raises CandidateFailed for an impossible one."""
        kernels = self.built.build.kernels
        return make_plan(self.task, workload, self.candidate, self.bench.target, kernels, AppPlanner)

    def layout(self, workload: int, arena: Arena) -> dict[str, Any]:
        """Where the launcher finds what the launches name."""
        said = super().layout(workload, arena)
        launched = self.task.launched(self.task.workloads[workload])
        held = arena.buffers
        for p in launched.pointers:
            said["buffers"][f"{p.parameter}:{p.at}"] = (held[p.buffer].handle, held[p.buffer].offset + p.offset)
        there = {n: s for n, s in self.task.globals.items() if n in launched.contents}
        said["globals"] = {name: (symbol, len(held[name].bytes)) for name, symbol in there.items()}
        return said


class AppDeviceBench(DeviceBench):
    """What the device contract needs beside candidates for a captured kernel."""

    task: AppTask

    def start(
        self, candidate: Candidate, built: Built, folder: Path, hidden: tuple[Workload, ...] | None = None
    ) -> DeviceRunner:
        """A runner without a launcher yet. Buffers of ``hidden`` workloads are aligned to what the task declares."""
        if hidden is None:
            return AppDeviceRunner(self, self.task, candidate, built)
        # a launch belongs to its workload's axis, so the record need not be whole again
        task = self.task.model_copy(update={"workloads": hidden})
        return AppDeviceRunner(self, task, candidate, built, task.alignment)

    def sanitized(
        self, candidate: Candidate, built: Built, folder: Path, workloads: tuple[Workload, ...], tools: tuple[str, ...]
    ) -> Iterator[SanitizedRunner]:
        """Raises Missing: tools see where an allocation ends, and here several tensors may share one."""
        raise Missing("captured kernels run under no sanitizers yet.", "Ask for none.")
