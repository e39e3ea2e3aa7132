"""The first walk of docs/apps.md, command by command as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.projects import calibrate
from warpsmith.app.loading import load_app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/apps.md").read_text()


def commands() -> list[tuple[str, int]]:
    """What the walk says to type, with the exit status that it says: 0 where it says none."""
    chapter = PAGE.partition("## A first walk\n")[2].partition("\n## ")[0]
    lines = [line.strip() for line in chapter.splitlines() if line.startswith("    ")]
    said = [(line.partition("#")[0].strip(), re.search(r"exit status (\d)", line)) for line in lines]
    return [(command, int(status[1]) if status else 0) for command, status in said]


def test_the_walk_names_what_is_there() -> None:
    assert len(commands()) >= 8 and {status for _, status in commands()} == {0, 2}
    for script in re.findall(r"`(scripts/[a-z-]+)`", PAGE):
        assert os.access(ROOT / script, os.X_OK), script


def test_the_app_toml_of_the_page_is_one(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples/apps/c-product", tmp_path / "app")
    (tmp_path / "app/app.toml").write_text(PAGE.partition("```toml\n")[2].partition("```")[0])
    app = load_app(tmp_path / "app").app
    assert (app.name, app.kernel, app.metrics[0].name) == ("c-product", "product", "products")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", PAGE.partition("## integrate")[0], re.M)
    keys = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    assert keys == set(type(app).model_fields), "every key is on the page, and no other"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_walk_can_be_gone(tmp_path: Path) -> None:
    """In one shell, from a folder that holds the examples as the repository does; the machine counts as calibrated."""
    shutil.copytree(ROOT / "examples/apps", tmp_path / "examples/apps")
    (tmp_path / "tasks").mkdir()
    calibrate(tmp_path)
    told = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = "\n".join(f'{command}; echo "status $?"' for command, _ in commands())
    done = subprocess.run(("sh", "-c", script), cwd=tmp_path, env=told, capture_output=True, text=True, check=False)
    ended = [int(line.split()[1]) for line in done.stdout.splitlines() if re.fullmatch(r"status \d+", line)]
    assert ended == [status for _, status in commands()], f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
    assert "cached" in done.stdout and "no use of CUDA" in done.stdout and "nothing was left" in done.stdout
