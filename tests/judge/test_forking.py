"""The fork-server and its sandboxed forks, for real, with what a machine without a GPU has to load."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from warpsmith.judge.failures import CandidateFailed, WorkerLost, death
from warpsmith.judge.forking import ForkServer
from warpsmith.judge.kept import Keeper
from warpsmith.model.evaluation import Status
from warpsmith.sandbox import layers
from warpsmith.sandbox.cell import Cell, Mechanism
from warpsmith.sandbox.probe import try_all
from warpsmith.sandbox.process import Process, start

PROGRAM = Path(__file__).with_name("forked.py")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "OPENBLAS_NUM_THREADS": "1"}
BEST = layers().how if not layers().how.bubblewrap else try_all("").how
MECHANISMS = {"the best": BEST, "limits only": Mechanism(frozenset({"limits", "privileges"}))}


def need(*wanted: str) -> None:
    for layer in wanted:
        if layer not in BEST.layers:
            pytest.skip(f"the layer {layer!r} does not hold here: {layers().lacking.get(layer, 'only by bubblewrap')}")


@dataclass
class Fork:
    """A fork, what it answers and what it prints."""

    process: Process
    answers: int
    printed: int
    rest: bytes = field(default=b"")

    def line(self, timeout_s: float = 20.0) -> Any:
        until = time.monotonic() + timeout_s
        while b"\n" not in self.rest:
            ready, _, _ = select.select([self.answers], [], [], max(0.0, until - time.monotonic()))
            piece = os.read(self.answers, 1 << 16) if ready else b""
            assert piece, f"no answer; it printed {self.said()}"
            self.rest += piece
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)

    def said(self) -> str:
        return os.pread(self.printed, 1 << 16, 0).decode(errors="replace")

    def ended(self) -> int | None:
        return self.process.wait(20.0)

    def close(self) -> None:
        self.process.end()
        os.close(self.answers)
        os.close(self.printed)


@dataclass
class Bay:
    server: ForkServer
    forks: list[Fork] = field(default_factory=list)

    def fork(self, text: str, how: Mechanism = BEST, **more: Any) -> Fork:
        answers, other = os.pipe()
        printed = os.memfd_create("printed", os.MFD_CLOEXEC)
        cell = Cell(argv=(text,), environment=ENVIRONMENT, keep=(other,), **more)
        process = start(cell, how, stdout=printed, stderr=printed, spawn=self.server.spawn)
        os.close(other)
        self.forks.append(Fork(process, answers, printed))
        return self.forks[-1]


def serve(program: Path = PROGRAM) -> ForkServer:
    return ForkServer(program, ("numpy", "no.such.module"), (), ENVIRONMENT)


@pytest.fixture
def bay() -> Iterator[Bay]:
    made = Bay(serve())
    yield made
    for fork in made.forks:
        fork.close()
    made.server.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(*pids: int) -> bool:
    until = time.monotonic() + 30
    while any(alive(p) for p in pids) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(alive(p) for p in pids)


def test_a_fork_has_what_the_server_loaded(bay: Bay) -> None:
    fork = bay.fork("import sys; answer(['numpy' in sys.modules, sys.argv[0], len(descriptors)])")
    warm, program, given = fork.line()
    assert warm is True
    assert program.endswith("forkserver.py")
    assert given == 1
    assert fork.ended() == 0
    assert list(bay.server.lacking) == ["no.such.module"]


@pytest.mark.parametrize("how", MECHANISMS)
@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("pass", 0), ("raise SystemExit", 0), ("import sys; sys.exit(3)", 3), ("raise ValueError('mine')", 1),
        ("import os; os._exit(7)", 7),
        ("import os; os.kill(os.getpid(), 9)", -9), ("import os; os.kill(os.getpid(), 11)", -11),
        ("import os\nwhile True: os.write(1, bytes(9 << 16))", -signal.SIGXFSZ),
    ],
)  # fmt: skip
def test_it_ends_as_the_function_did(text: str, status: int, how: str, bay: Bay) -> None:
    fork = bay.fork(text, MECHANISMS[how], limits={"RLIMIT_FSIZE": 1 << 20})
    assert fork.ended() == status
    assert ("mine" in fork.said()) == ("mine" in text)


ATTEMPTS = """
import ctypes, json, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)

def works(function, *arguments):
    try:
        function(*arguments)
    except (OSError, PermissionError, ProcessLookupError):
        return False
    return True

def frames():
    frame, found = sys._getframe(), []
    while frame is not None:
        found += [key for value in list(frame.f_locals.values()) if isinstance(value, dict) for key in value]
        frame = frame.f_back
    return any(str(key) in ("mounts", "mechanism", "control") for key in found)

answer({
    "files: home": works(open, HOME_SECRET),
    "files: judge's folder": works(os.listdir, FOLDER),
    "files: write": works(open, "/usr/lib/warpsmith-was-here", "w"),
    "processes: judge": works(os.kill, JUDGE, 0),
    "processes: server": works(os.kill, SERVER, 0),
    "proc: judge": os.path.exists(f"/proc/{JUDGE}/environ"),
    "network: connect": works(lambda: socket.create_connection(("127.0.0.1", PORT), timeout=2.0)),
    "uid: root": os.getuid() == 0,
    "syscalls: ptrace": libc.ptrace(0, 0, 0, 0) == 0,
    "syscalls: unshare": libc.unshare(0x10000000) == 0,
    "limits: core": __import__("resource").getrlimit(4)[0] != 0,
    "privileges: no_new_privs": libc.prctl(39, 0, 0, 0, 0) != 1,
    ": secret in the environment": "WARPSMITH_SECRET" in os.environ or b"WARPSMITH_SECRET" in open(
        "/proc/self/environ", "rb").read(),
    ": other descriptors": len(os.listdir("/proc/self/fd")) != 5,  # standard ones, that of the answers, the folder's
    ": plan in the frames": frames(),
})
"""


def test_every_attempt_of_a_fork_fails(bay: Bay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARPSMITH_SECRET", "secret")
    (tmp_path / "reference.py").write_text("secret")
    with tempfile.NamedTemporaryFile(dir=Path.home()) as secret, socket.create_server(("127.0.0.1", 0)) as listening:
        facts = {"HOME_SECRET": secret.name, "FOLDER": str(tmp_path), "JUDGE": os.getpid(), "SERVER": bay.server.pid,
                 "PORT": listening.getsockname()[1]}  # fmt: skip
        text = "".join(f"{name} = {value!r}\n" for name, value in facts.items()) + ATTEMPTS
        worked = {name for name, value in bay.fork(text).line().items() if value}
    lacking = {name for name in worked if (layer := name.partition(":")[0]) and layer not in BEST.layers}
    assert worked - lacking == set()


def test_its_files_are_what_it_is_given_and_its_tmp_is_its_own(bay: Bay, tmp_path: Path) -> None:
    need("files")
    given = tmp_path / "given"
    given.mkdir(mode=0o700)
    (given / "kernel.py").write_text("value = 3")
    name = f"/tmp/warpsmith-fork-{os.getpid()}"
    text = f"import os\nopen({name!r}, 'w').write('x')\nmine = open({str(given / 'kernel.py')!r}).read()\n"
    text += "answer([mine, os.listdir('/tmp')])"
    content, listed = bay.fork(text, reads=(given,)).line()
    assert content == "value = 3"
    assert Path(name).name in listed
    assert not Path(name).exists()


RESTLESS = """
import os, threading
counts = [0] * 4
def work(i):
    while True:
        counts[i] += 1
for i in range(4):
    threading.Thread(target=work, args=(i,), daemon=True).start()
if CHILD and os.fork() == 0:
    os.setsid()
while True:
    answer(sum(counts))
"""


@pytest.mark.parametrize("how", MECHANISMS)
@pytest.mark.parametrize("child", [False, True])
def test_everything_in_a_fork_stands_still_and_ends(child: bool, how: str, bay: Bay) -> None:
    fork = bay.fork(f"CHILD = {child}\n{RESTLESS}", MECHANISMS[how])
    fork.line()
    os.set_blocking(fork.answers, False)
    for _ in range(3):
        assert fork.process.stop() is True
        while True:
            try:
                os.read(fork.answers, 1 << 16)
            except BlockingIOError:
                break
        time.sleep(0.02)
        with pytest.raises(BlockingIOError):
            os.read(fork.answers, 1)
        fork.process.signal(signal.SIGCONT)
        time.sleep(0.01)
    worker = fork.process.worker
    assert fork.process.end()
    assert not alive(worker)


CACHE = """
import os
os.makedirs("/tmp/triton/one")
open("/tmp/triton/one/k.cubin", "w").write("mine")
os.symlink("/etc/hostname", "/tmp/triton/one/k.json")
os.symlink("/etc", "/tmp/triton/etc")
os.mkfifo("/tmp/triton/one/pipe")
"""


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ("", True),
        ("for i in range(2001): open(f'/tmp/triton/{i}', 'w').close()", False),
        ("os.truncate('/tmp/triton/one/k.cubin', 65 << 20)", False),
        ("os.makedirs('/tmp/triton/1/2/3/4/5')", False),
        ("os.rename('/tmp/triton', '/tmp/other'); os.symlink('/tmp/other', '/tmp/triton')", False),
        ("os.rename('/tmp/triton', '/tmp/other')", False),
    ],
)
def test_what_a_worker_compiled_is_kept_and_no_link_followed(more: str, kept: bool, bay: Bay, tmp_path: Path) -> None:
    need("files")
    fork = bay.fork(f"{CACHE}{more}\nanswer(1)\nimport time; time.sleep(100)", tmp_bytes=256 << 20)
    fork.line()
    assert fork.process.stop()
    assert Keeper(fork.process.worker, "/tmp/triton", tmp_path / "kept").keep() is kept
    if kept:
        found = sorted(str(p.relative_to(tmp_path / "kept")) for p in (tmp_path / "kept").rglob("*"))
        assert found == ["one", "one/k.cubin"]
        assert (tmp_path / "kept/one/k.cubin").read_text() == "mine"


def test_a_fork_bomb_is_bounded(bay: Bay) -> None:
    need("limits", "uid", "user")
    text = """
import os
made = 0
try:
    while True:
        if os.fork() == 0:
            import time
            time.sleep(100)
        made += 1
except OSError:
    answer(made)
"""
    fork = bay.fork(text)
    assert 0 < fork.line() < 256
    assert fork.process.end()


def test_forks_end_with_a_server_that_is_killed(bay: Bay) -> None:
    fork = bay.fork("answer(1)\nimport time; time.sleep(100)")
    fork.line()
    worker = fork.process.worker
    os.kill(bay.server.pid, signal.SIGKILL)
    assert gone(worker, fork.process.pid)
    status = fork.ended()
    assert status == -signal.SIGKILL
    assert isinstance(death(status, "during a call"), WorkerLost)
    with pytest.raises(WorkerLost, match="fork-server was lost"):
        bay.fork("answer(1)")
    assert not bay.server.alive


def test_a_server_with_threads_refuses_to_fork(tmp_path: Path) -> None:
    program = tmp_path / "threaded.py"
    start_one = "import threading, time\nthreading.Thread(target=time.sleep, args=(100,), daemon=True).start()\n"
    program.write_text(start_one + PROGRAM.read_text())
    server = serve(program)
    try:
        with pytest.raises(WorkerLost, match="2 threads"):
            Bay(server).fork("answer(1)")
    finally:
        server.close()


def test_a_server_that_cannot_load_its_program_is_lost(tmp_path: Path) -> None:
    program = tmp_path / "broken.py"
    program.write_text("raise RuntimeError('no such luck')\n")
    with pytest.raises(WorkerLost, match="no such luck"):
        Bay(serve(program)).fork("answer(1)")


def test_a_worker_that_ends_is_its_own_doing(bay: Bay) -> None:
    status = bay.fork("import os; os.abort()").ended()
    assert status is not None
    error = death(status, "during a call")
    assert isinstance(error, CandidateFailed)
    assert error.status is Status.crashed


def test_everything_ends_with_the_judge(tmp_path: Path) -> None:
    program = tmp_path / "judge.py"
    program.write_text(
        "import time\nfrom tests.judge.test_forking import Bay, serve\n"
        "bay = Bay(serve())\nfork = bay.fork('answer(1)\\nimport time; time.sleep(600)')\nfork.line()\n"
        "print(bay.server.pid, fork.process.pid, fork.process.worker, flush=True)\ntime.sleep(600)\n"
    )
    root = str(Path(__file__).parents[2])
    judge = subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}
    )
    assert judge.stdout is not None
    pids = [int(n) for n in judge.stdout.readline().split()]
    assert len(pids) == 3 and all(alive(p) for p in pids)
    judge.kill()
    judge.wait()
    judge.stdout.close()
    assert gone(*pids)


def test_many_forks_at_once(bay: Bay) -> None:
    forks = [bay.fork(f"answer({i})") for i in range(8)]
    assert [fork.line() for fork in forks] == list(range(8))
    assert [fork.ended() for fork in forks] == [0] * 8
