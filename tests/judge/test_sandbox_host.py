"""What a candidate can do in its worker: every attempt fails, and nothing of it is left. Real gcc, real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.projects import project
from warpsmith.judge import hostcalls
from warpsmith.judge.failures import CandidateFailed
from warpsmith.judge.host import HostBench
from warpsmith.judge.hostcalls import HostRunner
from warpsmith.model.candidate import Candidate
from warpsmith.model.evaluation import Status
from warpsmith.sandbox import layers
from warpsmith.sandbox.cell import Mechanism
from warpsmith.sandbox.probe import Layers, try_all
from warpsmith.surface.workspace import Known, Workspace
from warpsmith.toolchains.cache import build

pytestmark = pytest.mark.slow
"""Minutes of hostile processes, some under sandboxes with layers taken away: 'make test-all' runs them."""

ATTEMPTS = {
    "a secret of the environment": "", "a secret at home": "files", "/etc/shadow": "files",
    "the judge's environment": "proc", "the judge's command line": "proc", "the judge's memory": "proc",
    "the first process's environment or memory": "uid", "request.json": "files", "reference.py": "files",
    "an oracle's output": "files", "the ledger": "files", "another worker's output": "files",
    "other processes": "proc", "a server on loopback": "network", "a datagram": "network",
    "an abstract socket": "network", "a name to resolve": "network", "writing to /": "files",
    "writing to /usr or /etc": "files", "writing to the build cache": "files", "writing to its source": "files",
    "writing at home": "files", "a signal to the judge": "processes", "a signal to all": "processes",
    "tracing": "processes", "reading memory": "processes", "truncating the judge's memory": "",
    "becoming root": "privileges", "namespaces and mounts": "syscalls", "changing the root folder": "privileges",
    "leaving its core": "syscalls", "a socket into the kernel": "syscalls", "not even its scratch": "",
}  # fmt: skip
"""What tests/judge/attempts.c tries, in its order, and the layer that holds against it."""
PYTHON = """
import os, socket, ctypes

def works(function, *arguments):
    try:
        return 1.0 if function(*arguments) else 0.0
    except BaseException:
        return 0.0

def connects(kind, address):
    with socket.socket(socket.AF_INET, kind) as s:
        s.connect(address)
        s.send(b"x")
        return True

def kernel(x, y0, y, n, alpha):
    tried = {
        "a secret of the environment": lambda: "WARPSMITH_SECRET" in os.environ,
        "a secret at home": lambda: open(HOME_SECRET).read(),
        "/etc/shadow": lambda: open("/etc/shadow").read(),
        "the judge's environment": lambda: open(PROC_OF_JUDGE + "/environ").read(),
        "the judge's memory": lambda: open(PROC_OF_JUDGE + "/mem", "rb"),
        "request.json": lambda: open(STEP + "/request.json").read(),
        "reference.py": lambda: open(STEP + "/task/reference.py").read(),
        "the ledger": lambda: open(LEDGER).read(),
        "a server on loopback": lambda: connects(socket.SOCK_STREAM, ("127.0.0.1", PORT)),
        "a name to resolve": lambda: socket.getaddrinfo("example.com", 80),
        "writing to the build cache": lambda: open(CACHED, "ab").write(b"x"),
        "a signal to the judge": lambda: os.kill(JUDGE, 0) is None,
        "other processes": lambda: sum(name.isdigit() for name in os.listdir("/proc")) > 2,
        "the oracle in the judge": lambda: __import__("reference"),
        "truncating the judge's memory": lambda: [os.ftruncate(f, 0) for f in range(3, 64) if os.fstat(f).st_size > 0],
    }
    for i, attempt in enumerate(tried.values()):
        y[i] = works(attempt)
    y[len(tried)] = 7.0
"""
HEAD = "#define _GNU_SOURCE\n" + "".join(
    f"#include <{name}.h>\n"
    for name in ("errno", "pthread", "fcntl", "signal", "stdint", "stdio", "stdlib", "sys/mman", "sys/wait", "unistd")
)


class Stand:
    """A bench over a small task, and what a candidate might look for on this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.space: Workspace = project(root)
        self.known: Known = self.space.task("my/axpy")
        task = self.known.loaded.task
        self.target = self.space.target(self.known)
        self.cache = root / ".warpsmith/cache/build"
        self.step = root / ".warpsmith/steps/1-1"
        self.bench = HostBench(task, self.target, self.step / "scratch", self.cache, cold=False, timeout_s=20.0)
        for name in ("request.json", "task/reference.py", "expected.npy", "../../ledger.jsonl"):
            (self.step / name).parent.mkdir(parents=True, exist_ok=True)
            (self.step / name).write_text("secret")

    def runner(self, source: str, name: str = "kernel.c") -> HostRunner:
        folder = self.step / "candidate"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(source)
        content = self.space.blobs.put(source.encode())
        toolchain = "c" if name.endswith(".c") else "python"
        candidate = Candidate(
            toolchain=toolchain,
            entry="kernel",
            sources=(self.known.baseline.sources[0].model_copy(update={"path": name, "content": content}),),
        )
        built = build(candidate, folder, self.target, "release", self.cache)
        return self.bench.start(candidate, built, folder)

    @property
    def y(self) -> np.ndarray:
        return self.bench.arenas[0].views["y"]


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    made = Stand(tmp_path_factory.mktemp("project"))
    yield made
    made.bench.close()


def c(body: str, before: str = "") -> str:
    return (
        f"{HEAD}{before}\nvoid kernel(const float *x, const float *y0, float *y, int64_t n, float a)\n{{\n{body}\n}}\n"
    )


def inside(stand: Stand) -> list[int]:
    """Processes of this bench's workers that are alive, in whatever namespace: a fork keeps the command line."""
    word, found = str(stand.step / "scratch").encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if word in (entry / "cmdline").read_bytes() and b" Z " not in (entry / "stat").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def need(*wanted: str) -> None:
    for layer in wanted:
        if layer and layer in layers().lacking:
            pytest.skip(f"the layer {layer!r} does not hold here: {layers().lacking[layer]}")


@pytest.fixture(scope="module")
def told(stand: Stand) -> Iterator[dict[str, dict[str, float]]]:
    """What each attempt gave, by language."""
    home = Path.home() if os.access(Path.home(), os.W_OK) else stand.root
    secret = home / f".warpsmith-test-secret-{os.getpid()}"
    secret.write_text("secret")
    os.environ["WARPSMITH_SECRET"] = "secret"
    server, unix = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
    unix.bind(f"\0warpsmith-{os.getpid()}")
    unix.listen()
    built = next(stand.cache.glob("*/*/binary"), stand.cache)
    facts: dict[str, object] = {
        "HOME_SECRET": str(secret), "PROC_OF_JUDGE": f"/proc/{os.getpid()}", "STEP": str(stand.step),
        "LEDGER": str(stand.step / "../../ledger.jsonl"), "PRINTED": str(stand.step / "scratch/worker-1/printed"),
        "PORT": server.getsockname()[1], "UNIX": f"warpsmith-{os.getpid()}", "CACHED": str(built), "JUDGE": os.getpid(),
    }  # fmt: skip
    quoted = {name: f'"{value}"' if isinstance(value, str) else str(value) for name, value in facts.items()}
    text = Path(__file__).with_name("attempts.c").read_text()
    sources = {
        "kernel.c": "".join(f"#define {n} {v}\n" for n, v in quoted.items()) + text,
        "kernel.py": "".join(f"{n} = {v}\n" for n, v in quoted.items()) + PYTHON,
    }
    seen = {}
    try:
        for name, source in sources.items():
            runner = stand.runner(source, name)
            runner.restart()
            stand.y[:64] = -1.0
            runner.clocked(0, evict=False)
            seen[name] = stand.y[:64].tolist()
            runner.stop()
    finally:
        secret.unlink()
        server.close()
        unix.close()
        del os.environ["WARPSMITH_SECRET"]
    names = [line.split('"')[1] for line in PYTHON.splitlines() if line.startswith('        "')]
    assert seen["kernel.py"][len(names)] == 7.0
    yield {
        "c": dict(zip(ATTEMPTS, seen["kernel.c"], strict=False)),
        "python": dict(zip(names, seen["kernel.py"], strict=False)),
    }
    assert inside(stand) == []


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_an_attempt_in_c_fails(attempt: str, told: dict[str, dict[str, float]]) -> None:
    need(ATTEMPTS[attempt])
    assert told["c"][attempt] == 0.0


def test_every_attempt_in_python_fails(told: dict[str, dict[str, float]]) -> None:
    worked = {name for name, value in told["python"].items() if value != 0.0}
    assert {name for name in worked if ATTEMPTS.get(name, "files") not in layers().lacking} == set()


def mechanisms() -> dict[str, Layers]:
    """What this machine has, and the same with one layer after another gone."""
    best = layers()
    known = {"the best": best}
    for name, without in (
        ("no filter", {"syscalls"}),
        ("no filter, no pid namespace", {"syscalls", "processes", "proc"}),
        ("limits only", best.how.layers - {"limits", "privileges"}),
    ):
        known[name] = Layers(Mechanism(best.how.layers - without, best.how.bubblewrap), dict.fromkeys(without, "test"))
    if (path := Path("/usr/bin/bwrap")).exists() and not best.how.bubblewrap:
        known["bubblewrap"] = try_all(str(path))
    return known


MECHANISMS = mechanisms()
RESTLESS = {
    "a thread": c(
        "pthread_t t; pthread_create(&t, 0, work, y); while (y[0] < 1000) usleep(100);",
        "static void *work(void *p) { volatile float *y = p; for (;;) y[0] += 1.0f; return 0; }",
    ),
    "a child": c("if (fork() == 0) for (volatile float *p = y;; ) p[0] += 1.0f; while (y[0] < 1000) usleep(100);"),
    "a daemon": c(
        "if (fork() == 0) { setsid(); setpgid(0, 0); if (fork() == 0) for (volatile float *p = y;; ) p[0] += 1.0f;"
        " _exit(0); } while (*(volatile float *)y < 1000) usleep(100);"
    ),
    "many daemons": c(
        "for (int i = 0; i < 8; i++) if (fork() == 0) { setsid(); if (fork() == 0) for (volatile float *p = y;; )"
        " p[i] += 1.0f; _exit(0); } while (*(volatile float *)y < 1000) usleep(100);"
    ),
    "a chain of forks": c(
        "if (fork() == 0) for (;;) { ((volatile float *)y)[0] += 1.0f; setsid(); if (fork() != 0) _exit(0); }"
        " while (*(volatile float *)y < 50) usleep(100);"
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", MECHANISMS)
@pytest.mark.parametrize("name", RESTLESS)
def test_what_goes_on_after_the_answer_stands_still_and_ends(
    name: str, how: str, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "a chain of forks" and "processes" not in MECHANISMS[how].how.layers:
        pytest.skip("without a pid namespace a chain of forks can outrun whoever stops it")
    monkeypatch.setattr(hostcalls, "layers", lambda: MECHANISMS[how])
    runner = stand.runner(RESTLESS[name])
    runner.restart()
    for _ in range(3):
        stand.y[:] = 0.0
        runner.clocked(0, evict=False)
        seen = stand.y[:8].copy()
        time.sleep(0.02)
        assert (stand.y[:8] == seen).all()
    runner.stop()
    assert inside(stand) == []


def test_the_conditions_name_the_layers(stand: Stand) -> None:
    (said,) = (c for c in stand.bench.conditions if c.startswith("sandbox by "))
    assert all(name in said for name in (*layers().holding, *layers().lacking))
    assert ("LACKING" in said) == bool(layers().lacking)


def test_a_fork_bomb_is_bounded_and_leaves_nothing(stand: Stand) -> None:
    need("limits", "uid", "user")
    runner = stand.runner(c("y[0] = 0; for (;;) { pid_t p = fork(); if (p == 0) for (;;) { fork(); } if (p < 0) break; "
                            "y[0] += 1; }"))  # fmt: skip
    runner.restart()
    stand.y[:1] = -1.0
    runner.clocked(0, evict=False)
    assert 0.0 <= stand.y[0] < 256.0
    assert len(inside(stand)) < 270
    runner.stop()
    assert inside(stand) == []


def test_a_time_out_ends_the_whole_tree(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = stand.runner(
        c("for (int i = 0; i < 20; i++) if (fork() == 0) { setsid(); for (;;) pause(); } for (;;) {}")
    )
    monkeypatch.setattr(stand.bench, "timeout_s", 0.5)
    runner.restart()
    with pytest.raises(CandidateFailed) as caught:
        runner.clocked(0, evict=False)
    assert caught.value.status is Status.timed_out
    assert inside(stand) == []


def test_a_flood_of_files_ends_at_the_scratch(stand: Stand) -> None:
    need("files")
    before = os.statvfs(stand.root).f_ffree
    body = (
        "char p[64], b[4096] = {0}; y[0] = 0; for (int i = 0; i < 100000; i++) { snprintf(p, 64, \"/tmp/%d\", i);"
        " int f = open(p, O_CREAT | O_WRONLY, 0600); if (f < 0) break; if (write(f, b, 4096) != 4096) break;"
        " close(f); y[0] += 1; }"
    )  # fmt: skip
    runner = stand.runner(c(body))
    runner.restart()
    runner.clocked(0, evict=False)
    runner.stop()
    assert 0 < stand.y[0] <= 16384
    assert before - os.statvfs(stand.root).f_ffree < 1000


def test_a_memory_bomb_ends_at_the_limit(stand: Stand) -> None:
    need("limits")
    body = (
        "y[0] = 0; for (;;) { char *p = mmap(0, 1 << 28, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);"
        " if (p == MAP_FAILED) break; y[0] += 1; }"
    )
    runner = stand.runner(c(body))
    runner.restart()
    runner.clocked(0, evict=False)
    runner.stop()
    assert 0 < stand.y[0] <= 33


def test_a_first_process_that_is_killed_is_nobodys_doing(stand: Stand) -> None:
    from warpsmith.judge.failures import WorkerLost

    runner = stand.runner(c("y[0] = 1;"))
    runner.restart()
    assert runner.worker is not None
    os.kill(runner.worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerLost, match="killed from outside"):
        runner.clocked(0, evict=False)
    runner.restart()
    assert runner.worker is not None
    os.kill(runner.worker._process.pid, signal.SIGKILL)
    until = time.monotonic() + 30
    while inside(stand) and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(WorkerLost, match="killed from outside"):
        runner.clocked(0, evict=False)
    assert inside(stand) == []


def test_a_judge_that_dies_takes_its_workers_along(stand: Stand, tmp_path: Path) -> None:
    program = tmp_path / "judge.py"
    program.write_text(
        "import sys, time\nfrom pathlib import Path\n"
        "from tests.judge.test_sandbox_host import Stand, c\n"
        f"stand = Stand(Path({str(tmp_path / 'project')!r}))\n"
        "runner = stand.runner(c('if (fork() == 0) { setsid(); for (;;) pause(); } y[0] = 1;'))\n"
        "runner.restart()\nrunner.clocked(0, evict=False)\nprint(stand.step, flush=True)\ntime.sleep(600)\n"
    )
    judge = subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert judge.stdout is not None
    assert judge.stdout.readline()
    word = Stand.__new__(Stand)
    word.step = tmp_path / "project/.warpsmith/steps/1-1"
    assert len(inside(word)) >= 2
    judge.kill()
    judge.wait()
    judge.stdout.close()
    until = time.monotonic() + 30
    while inside(word) and time.monotonic() < until:
        time.sleep(0.01)
    assert inside(word) == []
