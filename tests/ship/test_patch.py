"""The lines in a framework's file, and the verbs that put them there: applied and reverted to the byte."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import venv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ship.install_things import exported, framework
from tests.ship.test_installed import through
from warpsmith.errors import BadInput
from warpsmith.ship import patch
from warpsmith.ship.installed import keep
from warpsmith.ship.probe import signature
from warpsmith.surface.cli import run
from warpsmith.surface.patching import renew
from warpsmith.surface.workspace import Workspace

TEXTS = st.one_of(
    st.text(alphabet="ab#\n\r\t \u2028\x0c", max_size=60).map(str.encode),
    st.binary(max_size=60),
    st.sampled_from([b"", b"x = 1", b"x = 1\n", b"x = 1\r\n", b"x\r\ny", b"\r"]),
)
ADD = {"target": "fw.norms:add", "dispatch": "add", "signature": "(x, w, bias=None, *, scale=1)", "package": "fw",
       "versions": "==1.2.3", "adapter": {"when": "bias is None"}}  # fmt: skip


@given(TEXTS, st.sampled_from(["", "/some where/exports"]))
def test_what_is_put_in_can_be_taken_out_to_the_byte(content: bytes, search: str) -> None:
    once = patch.add(content, "pkg", "fw", "1.2.3", search)
    twice = patch.add(once, "other", "fw", "1.2.3")
    assert [(lines.package, lines.search) for lines in patch.read(twice)] == [("pkg", search), ("other", "")]
    assert patch.remove(once, "pkg") == (content, True)
    assert patch.remove(twice, "other") == (once, True)
    alone, exact = patch.remove(twice, "pkg")  # from under the other one
    assert exact and alone == patch.add(content, "other", "fw", "1.2.3")
    assert patch.remove(alone, "other") == (content, True)


def test_at_most_sixteen_lines_and_a_diff_that_patch_takes(tmp_path: Path) -> None:
    before = b"a = 1\nb = 2"
    after = patch.add(before, "pkg", "fw", "1.2.3", "/exports")
    assert after.count(b"\n") <= patch.MOST_LINES
    compile(after, "it", "exec")
    file = tmp_path / "fw" / "__init__.py"
    file.parent.mkdir()
    file.write_bytes(before)
    diff = patch.unified(before, after, "fw/__init__.py")
    for options, wanted in (((), after), (("-R",), before)):
        subprocess.run(("patch", "-p1", "-s", *options), cwd=tmp_path, input=diff.encode(), check=True)
        assert file.read_bytes() == wanted


def test_a_change_by_somebody_else_shows() -> None:
    content = patch.add(b"a = 1\n", "pkg", "fw", "1") + b"b = 2\n"
    assert patch.remove(content, "pkg") == (b"a = 1\nb = 2\n", False)
    cut = content[: content.index(b"# <<<")]
    for broken in (cut, cut + patch.add(b"", "other", "fw", "1")):
        with pytest.raises(BadInput, match="no end"):
            patch.remove(broken, "pkg")
    with pytest.raises(BadInput, match="no lines of other"):
        patch.remove(content, "other")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "__init__.py"
    file.write_bytes(b"a = 1\n")
    file.chmod(0o640)
    with pytest.raises(BadInput, match="changed meanwhile"):
        patch.replace(file, b"something else\n", b"b = 2\n")
    assert file.read_bytes() == b"a = 1\n" and [p.name for p in tmp_path.iterdir()] == ["__init__.py"]
    patch.replace(file, b"a = 1\n", b"b = 2\n")
    assert file.read_bytes() == b"b = 2\n" and file.stat().st_mode & 0o777 == 0o640
    with pytest.raises(BadInput, match="cannot be written"):
        patch.replace(tmp_path / "none" / "it.py", b"", b"")


@pytest.mark.parametrize(
    ("source", "path", "wanted"),
    [
        ("def f(x: int, *, y: 'str' = 1e-6) -> None: ...", "f", "(x, *, y=1e-06)"),
        ("class C:\n    def f(self, x=None): ...\n    class D:\n        async def g(self): ...", "C.D.g", "(self)"),
        ("def f(a): ...\ndef f(b): ...", "f", "(b)"),
        ("if True:\n    def f(a): ...", "f", ""),
        ("f = 1", "f", ""),
        ("def f(a): ...", "f.g", ""),
    ],
)
def test_signatures_are_read_from_source(source: str, path: str, wanted: str) -> None:
    assert signature(source, path.split(".")) == wanted


class Environment:
    """An interpreter of its own with the framework ``fw`` in its site-packages; a project, and a package beside it."""

    def __init__(self, root: Path) -> None:
        self.project = root / "project"
        (self.project / "tasks").mkdir(parents=True)
        venv.create(root / "venv", symlinks=True, with_pip=False)
        self.python = str(root / "venv" / "bin" / "python")
        self.site = next((root / "venv" / "lib").iterdir()) / "site-packages"
        framework(self.site, "fw")
        self.init = self.site / "fw" / "__init__.py"
        self.package = exported(root / "exports", "pkg", [ADD])

    def verb(self, *words: str, status: int = 0) -> Any:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.project), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            done = run([*words, "--json"])
        assert done == status, f"{words}: {done}: {out.getvalue()}{err.getvalue()}"
        return json.loads(out.getvalue())

    def install(self, *words: str, status: int = 0) -> Any:
        return self.verb("install", str(self.package), "--python", self.python, *words, status=status)

    def use(self, **variables: str) -> str:
        """What a program in that environment gets, which knows nothing of us."""
        done = subprocess.run(
            (self.python, "-c", "import fw.user, fw; print(fw.user.call(1, 2), fw.exported(1, 2))"),
            capture_output=True, text=True, check=True, env={**os.environ, **variables},
        )  # fmt: skip
        return done.stdout.strip() + done.stderr

    def upgrade(self, version: str) -> None:
        """What a package manager does: the framework's files anew, with another version's metadata."""
        old = next(self.site.glob("fw-*.dist-info"))
        text = (old / "METADATA").read_text().replace(old.name.split("-")[1].removesuffix(".dist"), version)
        (old / "METADATA").write_text(text)
        old.rename(self.site / f"fw-{version}.dist-info")
        self.init.write_text('__version__ = "new"\nfrom .norms import add as exported\n')


@pytest.fixture
def there(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


def test_a_framework_uses_the_package_and_is_put_back_to_the_byte(there: Environment) -> None:
    before, names = there.init.read_bytes(), sorted(p.name for p in there.init.parent.iterdir())
    dry = there.install("--dry-run")
    assert dry["patch"]["state"] == "dry" and dry["diff"] and there.init.read_bytes() == before
    done = there.install()
    assert done["changed"] and done["patch"]["targets"][0]["state"] == "ready"
    assert (done["patch"]["made_for"], done["patch"]["targets"][0]["release"]) == ("1.2.3", "my/add@1.0.0")
    assert Path(done["written"]).read_text() == done["diff"]
    assert there.use() == "1003 1003" and there.use(WARPSMITH_DISABLE="add") == "3 3"
    now = there.init.read_bytes()
    assert not there.install()["changed"] and there.init.read_bytes() == now
    assert [p["state"] for p in there.verb("status")["patches"]] == ["applied"]
    gone = there.verb("uninstall", "pkg")
    assert gone["removed"][0]["exact"] and there.init.read_bytes() == before and there.use() == "3 3"
    assert sorted(p.name for p in there.init.parent.iterdir() if p.name != "__pycache__") == names
    assert there.verb("status")["patches"] == [] and there.verb("uninstall", "pkg", status=3)


def test_a_package_that_is_broken_does_not_keep_the_framework_from_starting(there: Environment) -> None:
    there.install()
    (there.package / "__init__.py").write_text("raise ValueError('broken')\n")
    assert there.use().startswith("3 3") and "pkg is not installed: ValueError('broken')" in there.use()
    assert "broken" in there.verb("status")["patches"][0]["detail"]


@pytest.mark.slow
def test_an_upgrade_shows_and_the_lines_are_made_anew(there: Environment) -> None:
    there.install("--target", "fw.norms:add")
    there.upgrade("1.3.0")
    gone = there.verb("status", status=1)["patches"][0]
    assert gone["state"] == "gone" and gone["targets"][0]["state"] == "changed"  # it was made for 1.2.3
    assert there.install(status=1)["changed"] is False  # no target is ready
    anew = there.install("--target", "fw.norms:add")
    assert anew["changed"] and "1.3.0 took the place of 1.2.3" in anew["patch"]["detail"]
    assert there.verb("status")["patches"][0]["state"] == "applied" and there.use() == "1003 1003"
    there.upgrade("1.4.0")
    there.init.write_bytes(patch.add(there.init.read_bytes(), "pkg", "fw", "1.3.0", str(there.package.parent)))
    assert there.verb("status", status=1)["patches"][0]["state"] == "outdated"
    assert "it was for 1.3.0, and 1.4.0" in there.install("--target", "fw.norms:add")["patch"]["detail"]
    there.init.write_bytes(there.init.read_bytes() + b"more = 1\n")
    assert there.verb("status")["patches"][0]["state"] == "edited"
    assert there.verb("uninstall", "pkg", status=2)["removed"][0]["exact"] is False
    assert there.init.read_text().endswith("exported\nmore = 1\n")


@pytest.mark.slow
def test_whoever_exports_again_renews_the_lines(there: Environment) -> None:
    with contextlib.chdir(there.project):
        space = Workspace()
        there.install()
        assert renew(space, there.package) == ()
        there.upgrade("1.2.4")
        (there.package.parent / "pkg.targets.json").write_text(
            json.dumps({"format": 1, "targets": [{**ADD, "versions": ">=1.2,<1.3"}]})
        )
        (done,) = renew(space, there.package)
        assert done == "its lines in fw were gone; made anew for 1.2.4" and there.use() == "1003 1003"
        assert renew(space, there.package) == ()
        there.upgrade("1.3.0")
        (why,) = renew(space, there.package)
        assert why == "fw: fw.norms:add is changed: fw is 1.3.0, and >=1.2,<1.3 is asked for"


def test_a_package_or_an_environment_that_is_gone_is_said(there: Environment, tmp_path: Path) -> None:
    there.install()
    there.package.rename(tmp_path / "away")
    (row,) = there.verb("status")["patches"]
    assert "pkg cannot be imported" in row["detail"] and there.use().startswith("3 3")
    (tmp_path / "venv").rename(tmp_path / "gone")
    (row,) = there.verb("status", status=1)["patches"]
    assert row["state"] == "gone"
    (removed,) = there.verb("uninstall", "pkg", status=2)["removed"]
    assert "cannot be read" in removed["detail"]


def test_what_is_missing_or_changed_is_said_before_anything_is_written(there: Environment) -> None:
    before = there.init.read_bytes()
    (there.package / "targets.json").write_text(
        json.dumps({"format": 1, "targets": [
            ADD, {**ADD, "target": "fw.norms:gone"}, {**ADD, "target": "fw.norms:Layer.forward"},
            {**ADD, "target": "fw.norms:other", "dispatch": "none"},
            {**ADD, "target": "fw.user:call", "versions": ">=2"},
        ]})
    )  # fmt: skip
    rows = there.install("--dry-run", status=2)["patch"]["targets"]
    assert [r["state"] for r in rows] == ["ready", "missing", "changed", "unfit", "changed"]
    assert there.install("--target", "fw.norms:nothing", status=1)["changed"] is False
    assert there.init.read_bytes() == before and there.verb("status")["patches"] == []


def test_a_win_that_does_not_arrive_is_not_installed(there: Environment) -> None:
    before = there.init.read_bytes()
    (there.package / "export.json").write_text("{}")
    keep(there.package, "this", "2026-11-21T00:00:00Z", [through(1.1)])
    refused = there.install(status=1)
    assert [r["reason"] for r in refused["refusals"]] == ["installed_path"] and refused["path"] == "refused"
    assert there.init.read_bytes() == before and there.verb("status")["patches"] == []
    keep(there.package, "this", "2026-11-21T00:00:00Z", [through(1.5)])
    assert there.install()["path"] == "arrives"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--framework", "json", "--target", "fw.norms"), "is no target"),
        (("--targets", "/no/such/file"), "/no/such/file"),
        (("--framework", "elsewhere"), "no function is known"),
    ],
)
def test_what_cannot_be_asked_for(there: Environment, words: tuple[str, ...], said: str) -> None:
    assert said in there.install(*words, status=3)["error"]


def test_no_package_and_no_framework(there: Environment, tmp_path: Path) -> None:
    elsewhere = there.verb("install", str(there.package), "--python", "/no/such/python", status=3)
    assert "cannot say what it holds" in elsewhere["error"]
    assert "no exported package" in there.verb("install", str(tmp_path), status=3)["error"]
    assert "has no file of none" in there.install("--target", "none.x:y", status=4)["error"]
