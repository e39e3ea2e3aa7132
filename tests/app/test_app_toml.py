"""app.toml: every mistake is named with the file and the field."""

from __future__ import annotations

from pathlib import Path

import pytest

from warpsmith.app.loading import load_app
from warpsmith.errors import BadInput
from warpsmith.model.app import App

ROOT = Path(__file__).parent.parent.parent
WHOLE = 'name = "x"\nsource = "k.c"\nkernel = "k"\nbuild = "make"\nrun = ["./x"]\nverify = "true"\n'


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("pairs = 1", r"pairs: .*greater than or equal to 3 \(given: 1\)"),
        ('bulid = "x"', "bulid: unknown key"),
        ('context = ["../k"]', "context: '../k' must be a relative path"),
        ('context = ["nope.h"]', r"context: .*nope\.h does not exist"),
        ('outputs = ["k.c"]', "'k.c' lies in outputs"),
        ('root = "/nowhere"', "root: /nowhere is no folder"),
        ('hardware = "tpu"', "hardware: Input should be 'cpu' or 'cuda'"),
        ("environment = { A = 1 }", r"environment\.A: "),
        ('defines = { "a b" = 1 }', r"defines\.a b"),
        ("weights = { a = -1 }", r"weights\.a: .*greater than 0"),
        ('[limits]\nrun_s = "5"', r"limits\.run_s: .*valid number"),
        ('[[metrics]]\nname = "t"\nsource = "regex"\nfind = "("', r"metrics\.0: .*no regular expression"),
        ('[[metrics]]\nname = "t"\nsource = "regex"\nfind = "a"', "needs exactly one group, has 0"),
        ('[[metrics]]\nname = "t"\nsource = "json"', "find is missing"),
        ('[[metrics]]\nname = "t"\n[[metrics]]\nname = "t"', "names of metrics repeat: t"),
        ("= 3", "not TOML"),
    ],
)
def test_a_mistake_is_named_with_file_and_field(tmp_path: Path, line: str, why: str) -> None:
    (tmp_path / "k.c").write_text("")
    path = tmp_path / "app.toml"
    path.write_text(WHOLE)
    assert load_app(tmp_path).app.name == "x"
    path.write_text(f"{WHOLE}{line}\n")
    with pytest.raises(BadInput, match=why) as told:
        load_app(tmp_path)
    assert str(path) in told.value.message or line.startswith(("context", "root"))


def test_what_is_missing_and_what_is_no_command_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "app.toml").write_text(WHOLE.replace('"make"', "3").replace('name = "x"\n', ""))
    with pytest.raises(BadInput, match=r"name: is missing; build: a command is a text for the shell or a list"):
        load_app(tmp_path)
    with pytest.raises(BadInput, match="No such file"):
        load_app(tmp_path / "elsewhere")


def test_the_page_lists_every_key() -> None:
    page = (ROOT / "docs/apps.md").read_text()
    for key in App.model_fields:
        assert f"`{key}`" in page, key


def test_every_example_can_be_read() -> None:
    found = sorted((ROOT / "examples/apps").glob("*/app.toml"))
    assert len(found) >= 5
    for path in found:
        assert load_app(path).source.is_file()
