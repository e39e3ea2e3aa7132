"""docs/tasks.md against the program: every key with its default, every example loads, every number is the code's."""

from __future__ import annotations

import re
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from warpsmith.judge.admission import DRAWS
from warpsmith.judge.bound import FLOOR_ROUNDINGS, LEAST_CALLS, LEAST_COLUMNS, LEAST_ROWS, UNIT_ROUNDOFF
from warpsmith.judge.inputs import FAMILIES, OPTIONAL
from warpsmith.judge.kernel import COMPARED
from warpsmith.judge.verify import ELEMENT_FACTOR, ROW_FLOOR, SHORT_ROW
from warpsmith.model.base import Record
from warpsmith.model.candidate import Launch, Scratch, TensorMap
from warpsmith.model.expression import FUNCTIONS, MAX_BITS, MAX_POWER, evaluate
from warpsmith.model.harness import CommandTask, HarnessTask, Parity, Reported, Scenario, Server, ServingTask
from warpsmith.model.head import Gate, Guardrail, Objective, TaskHead, Workload
from warpsmith.model.hidden import OPTIONAL_FAMILIES, STANDARD_FAMILIES, Extent
from warpsmith.model.space import Tunable
from warpsmith.model.task import (
    DEVICE_FACTS,
    RELATIVE_RMS_LIMIT,
    AppTask,
    Argument,
    Dtype,
    KernelTask,
    Tolerance,
)
from warpsmith.propose.sweep import ENUMERATED, LARGEST
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import _CandidateFile, load_candidate, load_task
from warpsmith.toolchains import TOOLCHAINS

PAGE = (Path(__file__).parents[2] / "docs/tasks.md").read_text()
KIND = {"kind": KernelTask.model_fields["kind"]}


def own(model: type[TaskHead]) -> dict[str, FieldInfo]:
    return {k: f for k, f in model.model_fields.items() if k not in {*TaskHead.model_fields, "kind"}}


def beyond_harness(model: type[HarnessTask]) -> dict[str, FieldInfo]:
    """What the kind adds, and the workloads, which both can do without."""
    return {k: f for k, f in own(model).items() if k not in HarnessTask.model_fields} | {
        "workloads": model.model_fields["workloads"]
    }


SECTIONS: dict[str, dict[str, FieldInfo]] = {
    "### Every kind": {**TaskHead.model_fields, **KIND},
    "### Kernel tasks": own(KernelTask),
    "### `[[arguments]]`": Argument.model_fields,
    "### `[[workloads]]`": Workload.model_fields,
    "### `[shapes]`": Extent.model_fields,
    "### `objective`": Objective.model_fields,
    "### `[[guardrails]]`": Guardrail.model_fields,
    "### `tolerance`": Tolerance.model_fields,
    "### `gate`": Gate.model_fields,
    "### App tasks": {k: f for k, f in AppTask.model_fields.items() if k not in KernelTask.model_fields},
    "### Harness tasks": own(HarnessTask),
    "### Command tasks": beyond_harness(CommandTask),
    "### `[metrics]`": Reported.model_fields,
    "### Serving tasks": beyond_harness(ServingTask),
    "### `server`": Server.model_fields,
    "### `parity`": Parity.model_fields,
    "### `[[scenarios]]`": Scenario.model_fields,
    "## candidate.toml": _CandidateFile.model_fields,
    "### `[tunables]`": Tunable.model_fields,
    "### `[[launch]]`": Launch.model_fields,
    "### `[[scratch]]`": Scratch.model_fields,
    "### `[[tensor_map]]`": TensorMap.model_fields,
}


def section(heading: str) -> str:
    """The text below a heading, up to the next one."""
    assert PAGE.count(f"\n{heading}\n") == 1, heading
    return re.split(r"\n#+ ", PAGE.split(f"\n{heading}\n")[1])[0]


def rows(heading: str, columns: int) -> list[list[str]]:
    """The cells of all tables of a section that have so many columns, without their heads."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", section(heading), re.MULTILINE):
        cells = [[c.strip() for c in line.strip().strip("|").split("|")] for line in table.splitlines()]
        if len(cells[0]) == columns:
            found += cells[2:]
    return found


def shown(value: Any) -> str:
    """A default as TOML would say it."""
    match value:
        case None:
            return "none"
        case Record():
            inner = ", ".join(f"{k} = {shown(v)}" for k, v in value if v is not None)
            return f"{{ {inner} }}" if inner else "{}"
        case bool():
            return str(value).lower()
        case StrEnum() | str():
            return f'"{value}"'
        case tuple():
            return "[" + ", ".join(shown(v) for v in value) + "]"
        case dict():
            return "{}" if not value else str(value)
    return str(value)


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_is_explained_with_its_default(heading: str) -> None:
    said = {row[0].strip("`"): row for row in rows(heading, 5)}
    assert set(said) == set(SECTIONS[heading])
    for key, field in SECTIONS[heading].items():
        _, kind, default, example, meaning = said[key]
        wanted = "required" if field.is_required() else shown(field.get_default(call_default_factory=True))
        if heading == "### Every kind" and key == "kind":
            wanted = "required"  # the union of the kinds wants it
        assert default.strip("`") == wanted, f"{heading}: {key}"
        assert kind and meaning
        assert example or "table" in kind, f"{heading}: {key} has no example"


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_example_of_a_key_is_toml(heading: str) -> None:
    for key, _, _, example, _ in rows(heading, 5):
        if example:
            tomllib.loads(f"{key.strip('`')} = {example.strip('`')}")


def blocks(language: str) -> dict[str, str]:
    """The code blocks of a language, by the comment in their first line."""
    found = re.findall(rf"```{language}\n(?:#|//) (.*?)\n(.*?)```", PAGE, re.DOTALL)
    return dict(found)


def written(folder: Path) -> Path:
    task = folder / "task"
    for candidate in ("src", "baseline"):
        (task / candidate).mkdir(parents=True)
        (task / candidate / "candidate.toml").write_text(blocks("toml")["src/candidate.toml"])
        (task / candidate / "kernel.c").write_text("// " + blocks("c")["src/kernel.c"])
    (task / "task.toml").write_text(blocks("toml")["task.toml"])
    (task / "reference.py").write_text(blocks("python")["reference.py"])
    return task


def test_the_example_loads(tmp_path: Path) -> None:
    task = written(tmp_path)
    loaded = load_task(task)
    candidate = load_candidate(task / "src", Blobs(tmp_path / "blobs"), loaded.head)
    assert candidate.parameters == {"VEC": 8, "UNROLL": 1}


def test_the_device_example_loads(tmp_path: Path) -> None:
    (tmp_path / "sum.cu").write_text("")
    (tmp_path / "candidate.toml").write_text(blocks("toml")["a device candidate in two launches"])
    candidate = load_candidate(tmp_path, Blobs(tmp_path / "blobs"))
    environment = {"N": 10_000, "SM_COUNT": 3, **candidate.parameters}
    assert [evaluate(x, environment) for x in candidate.launch[0].grid] == [12, 1, 1]
    assert evaluate(candidate.scratch[0].bytes, environment) == 48


def test_the_limits_are_those_of_the_judge() -> None:
    said = dict(rows("## How outputs are judged", 2))
    limits = {f"`{dtype}`": str(limit) for dtype, limit in RELATIVE_RMS_LIMIT.items()}
    exact = ", ".join(f"`{d}`" for d in Dtype if not d.is_float)
    assert said == {**limits, exact: "exact"}
    text = section("## How outputs are judged")
    assert f"at most {ELEMENT_FACTOR:g} limits" in text
    assert f"1/{1 / ROW_FLOOR:.0f} of the tensor" in text


def test_the_families_are_those_of_the_judge() -> None:
    assert [row[0].strip("`") for row in rows("## How outputs are judged", 3)] == [*FAMILIES, *OPTIONAL]
    assert (tuple(FAMILIES), tuple(OPTIONAL)) == (STANDARD_FAMILIES, OPTIONAL_FAMILIES)


def test_the_numbers_of_the_baseline_rule_and_of_admission() -> None:
    text = section("## How outputs are judged")
    assert f"below {FLOOR_ROUNDINGS:g} unit roundoffs" in text
    assert f"{FLOOR_ROUNDINGS * UNIT_ROUNDOFF['f32']:.2g}" in text
    assert f"{LEAST_ROWS} rows or more (rows of {LEAST_COLUMNS} or more elements" in text
    assert f"least {LEAST_CALLS} calls" in text
    assert f"meets {COMPARED} families" in text
    assert f"{DRAWS} other\ndraws" in text
    assert f"fewer than {SHORT_ROW} elements" in text


def test_the_expressions_have_the_values_that_are_shown() -> None:
    environment = {"M": 5, "N": 8, "K": 5}
    assert "With M = 5, N = 8 and K = 5:" in section("## Expressions")
    table = rows("## Expressions", 3)
    assert len(table) >= 9
    for cell, values, _ in table:
        expressions = re.findall(r"`([^`]+)`", cell)
        found = [str(evaluate(e, environment)) for e in expressions]
        assert [f.replace("True", "true") for f in found] == values.split(", ")
    text = section("## Expressions")
    assert all(name in text for name in FUNCTIONS)
    assert f"exponent beyond {MAX_POWER}" in text
    assert f"{MAX_BITS} bits" in text


def test_the_numbers_of_the_sweep_and_the_facts_of_the_device() -> None:
    assert f"{ENUMERATED} valid points" in PAGE
    assert f"{LARGEST:,} points" in PAGE
    assert all(f"`{fact}`" in PAGE for fact in DEVICE_FACTS)


def test_every_toolchain_has_its_row() -> None:
    assert [row[0].strip("`") for row in rows("## candidate.toml", 4)] == list(TOOLCHAINS)
