"""The sandbox itself: how programs in it end, what compilers can reach, and what is said where a layer lacks."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import warpsmith
from warpsmith.errors import BuildFailed
from warpsmith.judge.machine import capabilities
from warpsmith.sandbox import layers
from warpsmith.sandbox.cell import Cell, Mechanism
from warpsmith.sandbox.filter import program
from warpsmith.sandbox.linux import children
from warpsmith.sandbox.probe import WHAT, Layers, try_all
from warpsmith.sandbox.process import SandboxFailed, adopt, start
from warpsmith.toolchains import compiler

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
SECRET = "int the_secret_17 = 17;"


def need(layer: str) -> None:
    if layer in layers().lacking:
        pytest.skip(f"the layer {layer!r} does not hold here: {layers().lacking[layer]}")


def ended(cell: Cell, how: Mechanism | None = None) -> tuple[int | None, str]:
    """The exit status and what was printed."""
    with tempfile.TemporaryFile() as printed:
        process = start(cell, how or layers().how, stdout=printed, stderr=printed)
        try:
            status = process.wait(60.0)
        finally:
            process.end()
        printed.seek(0)
        return status, printed.read().decode(errors="replace")


def shell(text: str, **more: object) -> Cell:
    return Cell(argv=("/bin/sh", "-c", text), environment=ENVIRONMENT, **more)  # type: ignore[arg-type]


MECHANISMS = {"found": layers().how, "limits only": Mechanism(frozenset({"limits", "privileges"}))}
if Path("/usr/bin/bwrap").exists():
    MECHANISMS["bubblewrap"] = try_all("/usr/bin/bwrap").how


@pytest.mark.parametrize("how", MECHANISMS)
@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("true", 0), ("exit 7", 7), ("exit 125", 125), ("exit 255", 255), ("kill -9 $$", -9), ("kill -SEGV $$", -11),
        ("kill -XFSZ $$", -25), ("kill -TERM $$", -15), ("kill -ABRT $$", -6),
        ("sleep 100 & (setsid sleep 100 &) ; exit 3", 3),
    ],
)  # fmt: skip
def test_it_ends_as_the_program_did(text: str, status: int, how: str) -> None:
    assert ended(shell(text), MECHANISMS[how])[0] == status


def test_a_program_that_is_not_there_is_a_fault() -> None:
    with pytest.raises(SandboxFailed, match="No such file"):
        ended(Cell(argv=("/no/such/program",), environment=ENVIRONMENT))


def test_a_file_to_read_that_is_not_there_is_a_fault() -> None:
    need("files")
    with pytest.raises(SandboxFailed, match="could not be made"):
        ended(shell("true", reads=(Path("/no/such/file"),)))


def test_only_what_is_kept_is_inherited() -> None:
    with tempfile.TemporaryFile() as secret:
        os.set_inheritable(secret.fileno(), True)
        text = "import os; print(sorted(os.listdir('/proc/self/fd'), key=int))"
        _, printed = ended(Cell(argv=(sys.executable, "-I", "-S", "-c", text), environment=ENVIRONMENT))
    assert printed == "['0', '1', '2', '3']\n"  # three standard ones, and that of the folder


def test_the_view_is_an_allow_list(tmp_path: Path) -> None:
    need("files")
    folder, hidden = tmp_path / "shown", tmp_path / "hidden"
    for path in (folder, hidden):
        path.mkdir(mode=0o700)
        (path / "file").write_text(path.name)
        (path / "file").chmod(0o600)
    seen = (f"cat {folder}/file {hidden}/file; echo x > {folder}/file; touch {folder}/new; ls -a / /etc "
            f"{Path.home()}; id -u")  # fmt: skip
    _, printed = ended(shell(seen, reads=(folder,)))
    assert printed.startswith("shown")
    assert "hidden\n" not in printed
    assert (folder / "file").read_text() == "shown"
    assert sorted(p.name for p in folder.iterdir()) == ["file"]
    assert not {"shadow", "passwd", "hosts", "resolv.conf", ".ssh", ".bashrc"} & set(printed.split())
    assert printed.split()[-1] == "65534"


def test_what_it_writes_in_tmp_is_its_own() -> None:
    need("files")
    name = f"warpsmith-was-here-{os.getpid()}"
    assert ended(shell(f"echo x > /tmp/{name} && cat /tmp/{name}")) == (0, "x\n")
    assert not Path("/tmp", name).exists()


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Path]]:
    """Files with a declaration that compiles, where a source must not find them."""
    step = tmp_path / "step"
    found = {
        "home": (Path.home() if os.access(Path.home(), os.W_OK) else tmp_path) / f".warpsmith-test-{os.getpid()}.h",
        "step": step / "request.json",
        "reference": step / "task/reference.py",
        "other": tmp_path / "cache/other.h",
    }
    for path in found.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SECRET + "\n")
    monkeypatch.setenv("WARPSMITH_SECRET", "the_secret_17")
    (step / "candidate").mkdir()
    (tmp_path / "out").mkdir()
    yield found
    found["home"].unlink()


def compiled(tmp_path: Path, source: str) -> str:
    """The log, of a source beside the secrets."""
    (tmp_path / "step/candidate/k.c").write_text(source)
    argv = ("gcc", "-shared", "-fPIC", "-o", str(tmp_path / "out/binary"), "k.c")
    return compiler.run(argv, tmp_path / "step/candidate", tmp_path / "out/binary")


@pytest.mark.parametrize("where", ["home", "step", "reference", "other"])
@pytest.mark.parametrize("how", ['#include "{}"', '__asm__(".incbin \\"{}\\"");', '#include "../../{0}/../{0}"'])
def test_a_source_cannot_include_a_secret(where: str, how: str, secrets: dict[str, Path], tmp_path: Path) -> None:
    need("files")
    with pytest.raises(BuildFailed) as caught:
        compiled(tmp_path, how.format(secrets[where]) + "\nint one(void) { return 1; }\n")
    assert "No such file" in caught.value.log or "file not found" in caught.value.log
    assert "the_secret_17" not in caught.value.log
    assert not (tmp_path / "out/binary").exists()


@pytest.mark.parametrize("path", ["/etc/shadow", "/etc/passwd", "../request.json", "../task/reference.py"])
def test_a_source_cannot_include_files_of_the_machine(path: str, secrets: dict[str, Path], tmp_path: Path) -> None:
    need("files")
    with pytest.raises(BuildFailed) as caught:
        compiled(tmp_path, f'#include "{path}"\n')
    assert "No such file" in caught.value.log


@pytest.mark.parametrize("process", ["self", "1", "{judge}"])
def test_a_source_cannot_include_an_environment(process: str, secrets: dict[str, Path], tmp_path: Path) -> None:
    need("proc")
    source = f'#include "/proc/{process.format(judge=os.getpid())}/environ"\n'
    try:
        log = compiled(tmp_path, source)  # gcc takes a file of no stated size for an empty one
        assert b"the_secret_17" not in (tmp_path / "out/binary").read_bytes()
    except BuildFailed as failed:
        log = failed.log
    assert "the_secret_17" not in log


def test_an_honest_source_compiles(secrets: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "step/candidate/beside.h").write_text("#define ONE 1\n")
    assert compiled(tmp_path, '#include "beside.h"\n#include <stdio.h>\nint one(void) { return ONE; }\n') == ""
    made = tmp_path / "out/binary"
    assert made.read_bytes().startswith(b"\x7fELF")
    assert made.stat().st_uid == os.getuid()
    assert [p.name for p in made.parent.iterdir()] == ["binary"]


def test_a_compiler_leaves_nothing_but_its_output(tmp_path: Path) -> None:
    need("files")
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    program = tmp_path / "cc.sh"
    text = f"#!/bin/sh\nfor p in {tmp_path}/in {tmp_path}/out {tmp_path} / /usr /etc; do echo x > $p/left; done\n"
    program.write_text(f"{text}echo yes > {tmp_path}/out/binary\nexit 0\n")
    program.chmod(0o755)
    compiler.run([str(program)], tmp_path / "in", tmp_path / "out/binary")
    assert (tmp_path / "out/binary").read_text() == "yes\n"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["binary", "cc.sh", "in", "out"]
    program.write_text(f"#!/bin/sh\nln -sf /etc/passwd {tmp_path}/out/binary\n")
    (tmp_path / "out/binary").unlink()
    with pytest.raises(BuildFailed, match=r"left no binary"):
        compiler.run([str(program)], tmp_path / "in", tmp_path / "out/binary")


def test_a_source_that_says_the_compiler_was_killed_is_a_verdict(tmp_path: Path) -> None:
    program = tmp_path / "cc.sh"
    program.write_text("#!/bin/sh\necho 'gcc: fatal error: Killed signal terminated program cc1'; exit 1\n")
    program.chmod(0o755)
    with pytest.raises(BuildFailed, match="ended with status 1"):
        compiler.run([str(program)], tmp_path)


def test_adopting_follows_no_link_and_opens_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x" * 100)
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    assert adopt(tmp_path / "file", tmp_path / "to", 100)
    assert not adopt(tmp_path / "link", tmp_path / "not", 100)
    assert not adopt(tmp_path / "pipe", tmp_path / "not", 100)
    assert not adopt(tmp_path, tmp_path / "not", 100)
    with pytest.raises(SandboxFailed):
        adopt(tmp_path / "file", tmp_path / "not", 99)
    assert not (tmp_path / "not").exists()


def test_every_layer_is_said_and_has_a_line_with_its_remedy() -> None:
    found = layers()
    assert {*found.holding, *found.lacking} == set(WHAT)
    lines = {c.name.removeprefix("sandbox "): c for c in capabilities() if c.name.startswith("sandbox ")}
    assert set(lines) == {"by", *WHAT}
    for name in WHAT:
        assert lines[name].works == (name in found.holding)
        assert bool(lines[name].remedy) == (name in found.lacking and bool(found.remedy(name)))
    lacking = Layers(Mechanism(frozenset({"limits"})), {"files": "no", "network": "no", "proc": "why"})
    assert lacking.said == "unshare: limits; LACKING: files, network (no); proc (why)"
    assert "user namespaces" in lacking.remedy("files")


def test_where_the_machine_refuses_namespaces_the_rest_holds(tmp_path: Path) -> None:
    """Our own filter refuses them: a probe in the sandbox sees a machine without them."""
    need("syscalls")
    need("files")
    package = Path(warpsmith.__file__).parent
    script = tmp_path / "probe.py"
    script.write_text(
        "import sys\n"
        f"sys.path.append({str(package.parent)!r})\n"
        "from warpsmith.sandbox.probe import try_all\n"
        "held = try_all('')\nprint(held.holding)\nprint(held.said)\n"
    )
    parts = (package / "__init__.py", package / "errors.py", package / "sandbox", script)
    cell = Cell(argv=(sys.executable, "-I", "-S", str(script)), environment=ENVIRONMENT, reads=parts)
    status, printed = ended(cell)
    assert status == 0, printed
    assert printed.splitlines()[0] == "('limits', 'privileges', 'syscalls')"
    assert "files, ipc, network, hostname" in printed
    assert "Operation not permitted" in printed


def test_the_filter_is_there_for_this_machine() -> None:
    assert len(program()) % 8 == 0
    assert bool(program()) == ("syscalls" in layers().holding)


def test_what_is_killed_before_it_is_made_leaves_nothing(tmp_path: Path) -> None:
    word = f"61.{os.getpid()}"
    for delay in range(30):
        process = start(shell(f"sleep {word} & sleep {word}"), layers().how)
        with contextlib.suppress(SandboxFailed):
            process.wait(delay / 1000)
        assert process.end()
        assert process.returncode in (-signal.SIGKILL, -signal.SIGTERM)
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if word.encode() in _bytes(p).split(b"\0")]
    assert left == []


def test_a_sandbox_that_is_ended_while_it_is_made_was_killed_and_did_not_fail() -> None:
    """Its first process says how far it is, and is gone before the outer process, held still, can answer."""
    for _ in range(20):
        process = start(shell("sleep 61"), layers().how)
        deadline = time.monotonic() + 30.0
        while not (made := children(process.pid)) and time.monotonic() < deadline:
            pass
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.02)  # for the first process to say something
        os.kill(made[0], signal.SIGKILL)
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGCONT)
        assert process.end()
        assert process.returncode == -signal.SIGKILL


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
