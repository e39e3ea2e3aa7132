"""The judge's end of a worker of the host contract on a GPU, with workers that need no GPU: real forks, real clock."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.judge.test_forking import BEST, ENVIRONMENT, need
from warpsmith.judge.failures import CandidateFailed, WorkerKilled, WorkerLost
from warpsmith.judge.forking import ForkServer
from warpsmith.judge.gpuhost import WORKER
from warpsmith.judge.gpuhostworking import ForkedWorker, Shown
from warpsmith.judge.machine import detect
from warpsmith.judge.native import Clock
from warpsmith.model.evaluation import Status

PROGRAM = Path(__file__).with_name("answering.py")
CORE = max(os.sched_getaffinity(0))
QUIET = "def call(command): pass\n"


@dataclass
class Bay:
    server: ForkServer
    clock: Clock
    workers: list[ForkedWorker] = field(default_factory=list)

    def worker(self, text: str, settled: bool = True) -> ForkedWorker:
        made = ForkedWorker(self.server, BEST, {"text": text}, ENVIRONMENT, Shown())
        self.workers.append(made)
        if settled:
            made.settle(20.0, CORE)
        return made

    def call(self, worker: ForkedWorker, command: int = 0, timeout_s: float = 10.0) -> float:
        """Seconds from the release to after the answer."""
        released: list[int] = []
        began = worker.answered(
            self.clock, command, timeout_s, "during a call", lambda: released.append(time.perf_counter_ns())
        )
        assert began <= released[0]
        took = (time.perf_counter_ns() - began) / 1e9
        worker.freeze("during a call")
        return took


@pytest.fixture(scope="module")
def bay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bay]:
    clock = Clock(detect("cpu"), tmp_path_factory.mktemp("cache"))
    made = Bay(ForkServer(PROGRAM, (), (), ENVIRONMENT), clock)
    yield made
    for worker in made.workers:
        worker.stop()
    made.server.close()
    clock.close()


def failure(bay: Bay, text: str, timeout_s: float = 10.0) -> CandidateFailed:
    """What becomes of a worker that does not survive its second call."""

    def live() -> None:
        worker = bay.worker(text)
        for command in range(2):
            bay.call(worker, command, timeout_s)

    with pytest.raises(CandidateFailed) as caught:
        live()
    assert bay.call(bay.worker(QUIET)) < 5.0  # and the next one is not affected
    return caught.value


def test_a_call_is_waited_for_and_the_worker_stands_still_between_calls(bay: Bay) -> None:
    text = "import time\ncount = [0]\ndef call(command):\n    time.sleep(command / 100)\n"
    worker = bay.worker(text)
    assert bay.call(worker, 5) > 0.05
    assert os.sched_getaffinity(worker.pid) == {CORE}
    assert Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    assert bay.call(worker, 1) > 0.01


def test_it_is_pinned_only_once_it_has_loaded(bay: Bay) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one core")
    text = "import os\nassert len(os.sched_getaffinity(0)) > 1\n"
    worker = bay.worker(text + "def call(command): assert len(os.sched_getaffinity(0)) == 1\n")
    assert bay.call(worker) < 5.0


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("def call(command): raise ValueError('mine')", Status.crashed, "mine"),
        ("raise ValueError('early')", Status.crashed, "while it was loaded; it printed"),
        ("import os\ndef call(command): os._exit(0)", Status.crashed, "exit status 0"),
        ("import os\ndef call(command): os.kill(os.getpid(), 11)", Status.crashed, "SIGSEGV"),
        ("def call(command):\n    while True: pass", Status.timed_out, "no answer within 0.5 s"),
        ("def call(command):\n    while True: print('x' * 4096)", Status.crashed, "it printed or wrote more than"),
        ("import os\ndef call(command): os.write(answers, b'DD')", Status.cheated, "it answered what it was not asked"),
        ("import os\ndef call(command): os.write(answers, b'x')", Status.cheated, "it answered what it was not asked"),
        ("import mmap\nheld = []\ndef call(command):\n    while True: held.append(mmap.mmap(-1, 1 << 30, 34))",
         Status.crashed, "annot allocate memory"),
    ],
)  # fmt: skip
def test_each_way_to_end_gets_its_status(text: str, status: Status, said: str, bay: Bay) -> None:
    if "mmap" in text:
        need("limits")
    found = failure(bay, text, 0.5 if status is Status.timed_out else 10.0)
    assert (found.status, said in found.detail) == (status, True), found.detail


def test_loading_that_does_not_end_is_a_time_out(bay: Bay) -> None:
    worker = bay.worker("while True: pass", settled=False)
    with pytest.raises(CandidateFailed, match=r"no answer within 0\.5 s while it was loaded"):
        worker.settle(0.5, CORE)
    assert worker.ended


def test_a_time_out_ends_every_process_of_it(bay: Bay) -> None:
    need("processes")
    text = """
import os
def call(command):
    for _ in range(8):
        if os.fork() == 0:
            os.setsid()
            while True: pass
    while True: pass
"""
    worker = bay.worker(text)
    first = worker._process.pid
    with pytest.raises(CandidateFailed, match="no answer"):
        bay.call(worker, 0, 0.5)
    assert not Path(f"/proc/{first}/stat").exists()


def test_the_worker_of_candidates_is_loaded_before_the_fork_without_a_device_library() -> None:
    server = ForkServer(WORKER, (), (), ENVIRONMENT)
    try:
        assert server.lacking == {}, "it is loaded, and waits for requests"
        mapped = Path(f"/proc/{server.pid}/maps").read_text()
        assert not any(name in mapped for name in ("libcuda", "libtorch", "numpy"))
    finally:
        server.close()


def test_a_kill_from_outside_is_not_its_doing(bay: Bay) -> None:
    worker = bay.worker(QUIET)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerKilled, match="killed from outside"):
        bay.call(worker)


def test_a_server_that_is_killed_is_a_fault_of_nobody(tmp_path: Path, bay: Bay) -> None:
    other = Bay(ForkServer(PROGRAM, (), (), ENVIRONMENT), bay.clock)
    worker = other.worker(QUIET)
    os.kill(other.server.pid, signal.SIGKILL)
    time.sleep(0.2)
    with pytest.raises(WorkerLost, match="the fork-server was lost") as caught:
        bay.call(worker)
    assert not isinstance(caught.value, WorkerKilled)
    other.server.close()
