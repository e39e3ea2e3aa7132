"""``app.toml``: read, checked, and turned into a record. Every complaint names the file and the field."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from warpsmith.errors import BadInput
from warpsmith.model.app import App

APP_FILE = "app.toml"


@dataclass(frozen=True)
class Described:
    """An application with the file that describes it."""

    app: App
    file: Path

    @property
    def root(self) -> Path:
        """The application's folder."""
        return (self.file.parent / self.app.root).resolve()

    @property
    def source(self) -> Path:
        """The file that holds the kernel."""
        return self.root / self.app.source


def load_app(path: Path) -> Described:
    """Read ``app.toml``, or that of a folder. Raises BadInput naming the file and the field."""
    file = (path / APP_FILE if path.is_dir() else path).absolute()
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}.", "Name an app.toml; docs/apps.md says what is in it.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: not TOML: {error}.", "Mend the syntax at that place.") from None
    try:
        app = App.model_validate_json(json.dumps(said, default=str), strict=True)
    except ValidationError as error:
        raise BadInput(f"{file}: {_told(error)}.", "docs/apps.md lists every key with its type.") from None
    found = Described(app, file)
    if not found.root.is_dir():
        raise BadInput(f"{file}: root: {found.root} is no folder.", "Name the application's folder.")
    for field, named in (
        ("source", (app.source,)),
        ("context", app.context),
        ("wrapper_source", (app.wrapper_source,)),
    ):
        for one in named:
            if one is not None and not (found.root / one).is_file():
                raise BadInput(f"{file}: {field}: {found.root / one} does not exist.", "Name a file below the root.")
            if one is not None and not (found.root / one).resolve().is_relative_to(found.root):
                raise BadInput(f"{file}: {field}: {one} is a link that leaves the root.", "Name the file itself.")
    return found


def _told(error: ValidationError) -> str:
    lines: dict[str, str] = {}
    for issue in error.errors():
        field = ".".join(str(p) for p in issue["loc"] if p not in ("str", "tuple[str, ...]", "constrained-str"))
        said = issue["msg"].removeprefix("Value error, ")
        said = "unknown key" if issue["type"] == "extra_forbidden" else said
        said = "is missing" if issue["type"] == "missing" else said
        given = issue.get("input")
        shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) and said != "unknown key" else ""
        if issue["type"].startswith(("string_type", "tuple_type")) and field.split(".")[-1] in (
            "build",
            "run",
            "verify",
        ):
            said = "a command is a text for the shell or a list of a program and its arguments"
        lines[field] = f"{field}: {said}{shown}" if field else said
    return "; ".join(lines.values())
