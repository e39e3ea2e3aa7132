"""Memory of a GPU that a served model holds, as a driver of our own tells: what is growth and what is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes import TARGET
from tests.judge.served import BASELINE, TASK, judged
from tests.judge.test_serving import left_behind
from tests.machines import H200, MIB, SLICES, UUIDS, driver, gpu, piece, posing
from warpsmith.judge import nvml
from warpsmith.judge.gpumemory import GpuMemory
from warpsmith.judge.pin import VISIBLE
from warpsmith.model.evaluation import Effort, Status
from warpsmith.model.harness import Server, ServingTask
from warpsmith.model.step import KEPT
from warpsmith.model.target import Target

Put = Callable[..., Path]
SERVER = Server(backend="mock")
GLUE = """
import os
from pathlib import Path
from warpsmith.serving import mock

MIB = 1 << 20

class Holding(mock.Mock):
    def __init__(self, given):
        super().__init__(given)
        self.file = Path(given.environment["FAKE_MACHINE"])
        self.line = given.environment["LINE"]
        self.until, self.more = map(int, given.environment.get("GROWS", "0,0").split(","))
        self.requests, self.held = 0, 512

    def load(self):
        super().load()
        self.tell()

    def tell(self):
        new = self.file.with_name(f"machine-{os.getpid()}")
        new.write_text(self.line.format(free=(143000 - self.held) * MIB, pid=os.getpid(), held=self.held * MIB))
        os.replace(new, self.file)

    def grow(self):
        self.requests += 1
        self.held += self.more * (self.requests <= self.until)
        self.tell()

    def chat(self, messages):
        self.grow()
        return super().chat(messages)

    def encode(self, text):
        self.grow()
        return super().encode(text)

def make(given):
    return Holding(given)
"""


def cuda(uuid: str) -> Target:
    digits = uuid.removeprefix("GPU-").removeprefix("MIG-").replace("-", "")
    return TARGET.model_copy(update={"hardware": "cuda", "device": H200, "uuid": digits})


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def put(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    monkeypatch.delenv(VISIBLE, raising=False)
    return posing(library, tmp_path / "machine", monkeypatch)


def test_what_the_driver_tells_of_a_process_counts_and_nothing_of_others(put: Put) -> None:
    put(gpu(UUIDS[0], pids=f"9={4 * MIB}"), gpu(UUIDS[1], pids="7"))
    memory = GpuMemory(SERVER, cuda(UUIDS[0]))
    put(gpu(UUIDS[0], pids=f"7={100 * MIB},8={11 * MIB},9={4 * MIB}"), gpu(UUIDS[1], pids="7"))
    before = memory.held([7, 8, 1000])
    put(gpu(UUIDS[0], 1000, pids=f"7={120 * MIB},8={10 * MIB},9={4000 * MIB}"), gpu(UUIDS[1], pids="7"))
    assert memory.growth(before, memory.held([7, 8, 1000])) == 19 * MIB
    memory.close()
    memory.close()
    limit = SERVER.gpu_growth_bytes
    assert memory.said.startswith(f", that of the GPU by {limit} ") and "(what the driver tells of each" in memory.said


@pytest.mark.parametrize(("pids", "why"), [("7=?", "tells no memory by process"), ("", "does not name the server's")])
def test_where_it_tells_none_all_that_is_in_use_counts(put: Put, pids: str, why: str) -> None:
    put(gpu(UUIDS[0], mode="1"), piece(SLICES[0]))
    memory = GpuMemory(SERVER, cuda(SLICES[0]))
    put(gpu(UUIDS[0], mode="1"), piece(SLICES[0], pids))
    before = memory.held([7])
    place = put(gpu(UUIDS[0], mode="1"), piece(SLICES[0], pids))
    place.write_text(place.read_text().replace(str(16300 * MIB), str(15000 * MIB)))
    assert memory.growth(before, memory.held([7])) == 1300 * MIB
    assert f"all that is in use on it, since the driver {why}" in memory.said
    place.write_text(place.read_text().replace("|" + pids + "\n", "|" + ",".join(filter(None, (pids, "6"))) + "\n"))
    assert memory.growth(before, memory.held([7])) == 0, "somebody came: nobody can say whose it is"
    assert "not watched in 1 scenarios" in memory.said


@pytest.mark.parametrize(
    ("first", "then", "why"),
    [
        (gpu(UUIDS[0], pids="5"), gpu(UUIDS[0], pids="5,7=?"), r"\(pid 5\) computes on it too"),
        (gpu(UUIDS[0], pids="?"), gpu(UUIDS[0], pids="?"), "who computes on it cannot be told"),
        (gpu(UUIDS[0], 90000), gpu(UUIDS[0], 80000), "names no processes, and 53771 MiB were in use before"),
        (gpu(UUIDS[1]), gpu(UUIDS[1]), "the driver tells nothing of it"),
    ],
)
def test_where_that_is_not_the_servers_either_it_is_not_watched(put: Put, first: str, then: str, why: str) -> None:
    put(first)
    memory = GpuMemory(SERVER, cuda(UUIDS[0]))
    put(then)
    assert memory.held([7]) is None and memory.growth(None, None) == 0
    assert re.search(f"that of a GPU is not watched: .*{why}", memory.said), memory.said


def test_without_a_gpu_or_a_server_of_ours_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "LIBRARY", "no-such-library.so")
    assert GpuMemory(SERVER, TARGET).said == ""
    assert "not ours" in GpuMemory(Server(url="http://127.0.0.1:1"), cuda(UUIDS[0])).said
    memory = GpuMemory(SERVER, cuda(UUIDS[0]))
    assert memory.held([7]) is None and "no-such-library.so" in memory.said
    memory.close()


def served(folder: Path, place: Path, line: str) -> ServingTask:
    """A task on the GPU; ``line`` is what its server makes the driver say."""
    (folder / "workspace").mkdir()
    (folder / "workspace/glue.py").write_text(GLUE)
    server = TASK.server.model_copy(update={"backend": "glue:make", "gpu_growth_bytes": 64 * MIB})
    said = {"FAKE_MACHINE": str(place), "LINE": line}
    return TASK.model_copy(update={"hardware": "cuda", "workspace": "workspace", "server": server, "environment": said})


NAMED = f"gpu|{UUIDS[0]}|{H200}|{143771 * MIB}|{{free}}|0|{{pid}}={{held}}\n"
UNNAMED = NAMED.replace("{pid}={held}", "")


@pytest.mark.slow
@pytest.mark.parametrize(("line", "how"), [(NAMED, "of each process"), (UNNAMED, "all that is in use")])
def test_a_server_that_leaks_on_the_gpu_has_a_name_and_leaves_nothing(
    put: Put, tmp_path: Path, line: str, how: str
) -> None:
    task = served(tmp_path, put(gpu(UUIDS[0])), line)
    leaks = BASELINE.model_copy(update={"environment": {"GROWS": "1000000,16"}})
    found = judged(tmp_path, task, leaks, target=cuda(UUIDS[0]))
    assert found.status is Status.leaked, found.detail
    assert re.search(
        r"after scenario batch the server holds \d+ MiB more of the GPU's memory .*, and 64 MiB", found.detail
    )
    assert "its log ends:" in found.detail and found.rival_status is Status.passed
    assert any(how in c for c in found.conditions if c.startswith("memory:")), found.conditions
    assert not left_behind(tmp_path)


@pytest.mark.slow
def test_what_an_allocator_takes_up_to_the_end_of_the_warm_up_is_no_leak(put: Put, tmp_path: Path) -> None:
    task = served(tmp_path, put(gpu(UUIDS[0])), NAMED)
    grows = BASELINE.model_copy(update={"environment": {"GROWS": "5,1000"}})  # 4 requests of parity, a warm-up
    found = judged(tmp_path, task, grows, target=cuda(UUIDS[0]))
    assert found.passed, found.detail
    loads = (tmp_path / "step" / KEPT / "loads.jsonl").read_text()
    assert set(re.findall(r'"grown_gpu_bytes":(\d+)', loads)) == {"0"}


@pytest.mark.slow
def test_a_check_says_how_much_growth_there_may_be(put: Put, tmp_path: Path) -> None:
    task = served(tmp_path, put(gpu(UUIDS[0])), NAMED)
    found = judged(tmp_path, task, BASELINE, effort=Effort.check, target=cuda(UUIDS[0]))
    assert found.passed
    assert any(f"that of the GPU by {64 * MIB} from the end of each warm-up on" in c for c in found.conditions)
