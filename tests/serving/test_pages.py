"""docs/serving.md names every option, fault and variable that there is, with its default."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from warpsmith.serving import mock, torchmodel
from warpsmith.serving.wire import UNMET

PAGE = (Path(__file__).parents[2] / "docs/serving.md").read_text()


@pytest.mark.parametrize(("title", "kind"), [("mock", mock.Knobs), ("transformers", torchmodel.Options)])
def test_every_option_stands_in_the_table_of_its_backend(title: str, kind: type) -> None:
    section = PAGE.partition(f"## The {title} backend")[2].partition("\n## ")[0]
    assert [f.name for f in fields(kind) if f"`{f.name}`" not in section] == []  # type: ignore[arg-type]


def test_every_fault_is_explained() -> None:
    faults = PAGE.rpartition("| fault | what happens |")[2]
    assert [name for name in get_args(mock.Fault) if name and f"`{name}`" not in faults] == []


def test_what_the_page_says_is_refused_is_refused() -> None:
    assert {"n", "tools", "echo", "presence_penalty", "frequency_penalty"} <= set(UNMET)
