"""Task and candidate folders: whatever is wrong with one is said with its file, its field and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from warpsmith.errors import BadInput
from warpsmith.model.base import digest_bytes
from warpsmith.model.task import KernelTask
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import LoadedTask, find_task, load_candidate, load_task

ROOT = Path(__file__).parents[2]
TASK = """
name = "my/scale"
kind = "kernel"
title = "scale"
hardware = "cpu"
contract = "host"
bytes = "8 * N"
flops = "N"

[[arguments]]
name = "x"
role = "input"
dtype = "f32"
shape = ["N"]

[[arguments]]
name = "y"
role = "output"
dtype = "f32"
shape = ["N"]

[[arguments]]
name = "N"
role = "axis"

[[workloads]]
name = "small"
axes = { N = 8 }

[[workloads]]
name = "large"
axes = { N = 1024 }
weight = 2
"""
CANDIDATE = """
toolchain = "c"
sources = ["k.c"]
entry = "k"
constraints = ["TILE * UNROLL <= 8"]

[tunables]
TILE = { values = [1, 2, 4], default = 1 }
UNROLL = { values = [1, 2, 4], default = 1, doc = "steps" }
"""
LAUNCH = """
[[launch]]
kernel = "k"
grid = ["ceil_div(N, 256)", 1, "1"]
block = [256, 1, 1]
arguments = ["x", "y", "N"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A task that loads."""
    made = tmp_path / "task"
    for name in ("baseline", "src"):
        (made / name).mkdir(parents=True)
        (made / name / "candidate.toml").write_text(CANDIDATE)
        (made / name / "k.c").write_text("void k(void) {}\n")
    (made / "reference.py").write_text("def reference(xp, x):\n    return x\n")
    (made / "task.toml").write_text(TASK)
    return made


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def load_entry(folder: Path) -> None:
    loaded = load_task(folder)
    load_candidate(folder / "src", Blobs(folder.parent / "blobs"), loaded.head)


def complaint(folder: Path, file: str) -> BadInput:
    """The complaint, which names the file and carries a remedy and the exit status of bad input."""
    with pytest.raises(BadInput) as caught:
        load_entry(folder)
    error = caught.value
    assert error.message.startswith(str(folder / file)), error.message
    assert error.remedy
    assert error.exit_status == 3
    assert "\n" not in error.message
    return error


def test_the_fixture_loads(folder: Path) -> None:
    load_entry(folder)
    loaded = load_task(folder)
    assert isinstance(loaded.kernel, KernelTask)
    assert loaded.kernel.workloads[1].weight == 2.0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('title = "scale"', 'title = "scale"\ntitel = "x"', "titel: unknown key"),
        ("weight = 2", "wieght = 2", "workloads.1.wieght: unknown key"),
        ("weight = 2", 'weight = "1"', "workloads.1.weight: Input should be a valid number (given: '1')"),
        ("weight = 2", "weight = 0", "workloads.1.weight: Input should be greater than 0 (given: 0)"),
        ("weight = 2", "weight = nan", "workloads.1.weight: "),
        ("weight = 2", "weight = inf", "workloads.1.weight: Input should be a finite number"),
        ("axes = { N = 8 }", "axes = { N = 8.0 }", "workloads.0.axes.N: Input should be a valid integer"),
        ("axes = { N = 8 }", 'axes = "N"', "workloads.0.axes: "),
        ("axes = { N = 8 }", 'axes = { "2N" = 8 }', "workloads.0.axes.2N"),
        ('title = "scale"', "title = 3", "title: Input should be a valid string (given: 3)"),
        ('title = "scale"\n', "", "title: Field required"),
        ('hardware = "cpu"\n', "", "hardware: Field required"),
        ('contract = "host"', 'contract = "remote"', "contract: Input should be 'host' or 'device'"),
        ('dtype = "f32"', 'dtype = "fp32"', "arguments.0.dtype: Input should be 'f64'"),
        ('role = "input"', 'role = "in"', "arguments.0.role: Input should be 'input'"),
        ('role = "input"', 'role = "axis"', "argument 'x': only tensors have a shape"),
        ('kind = "kernel"\n', "", "'kind'"),
        ('kind = "kernel"', 'kind = "kernal"', "'kernal'"),
        ('name = "my/scale"', 'name = "My Scale"', "name: "),
        ('name = "large"', 'name = "small"', "workloads: workload names repeat: small"),
        ("axes = { N = 8 }", "axes = { N = -8 }", "workload 'small': argument 'x' gets the negative shape (-8,)"),
        ("axes = { N = 8 }", "axes = { M = 8 }", "workload 'small': the name 'N' is not known here. Known names: M."),
        ('bytes = "8 * N"', 'bytes = "8 * K"', "workload 'small': the name 'K' is not known here."),
        ('bytes = "8 * N"', 'bytes = "8 *"', "workload 'small': the expression '8 *' cannot be read"),
        ('bytes = "8 * N"', 'bytes = "N.real"', "'N.real' is not allowed"),
        ('bytes = "8 * N"', 'bytes = "8 * N / 3"', "whole number"),
        ('bytes = "8 * N"', "bytes = 1.5", "bytes"),
        ('flops = "N"', 'flops = "1e308 * N * 10"', "workload 'small': the expression '1e308 * N * 10' fails"),
        ('flops = "N"', 'flops = "(0 - N) ** 0.5"', "workload 'small': the expression"),
        ('flops = "N"', "tolerance = { relative_rms = 1.0 }", "tolerance.relative_rms"),
        ('flops = "N"', "gate = { min_gain = -0.1 }", "gate.min_gain"),
        ('flops = "N"', "when = 1979-05-27", "when: unknown key"),
    ],
)
def test_task_fields(folder: Path, old: str, new: str, said: str) -> None:
    edited(folder / "task.toml", old, new)
    error = complaint(folder, "task.toml")
    assert said in error.message
    assert "docs/tasks.md" in error.remedy


def test_a_workload_that_divides_by_zero(folder: Path) -> None:
    edited(folder / "task.toml", 'shape = ["N"]', 'shape = ["N // K"]')
    edited(folder / "task.toml", "axes = { N = 8 }", "axes = { N = 8, K = 0 }")
    error = complaint(folder, "task.toml")
    assert "workload 'small'" in error.message
    assert "'N // K'" in error.message
    assert "K=0" in error.message


def test_all_complaints_of_a_file_come_at_once(folder: Path) -> None:
    edited(folder / "task.toml", 'title = "scale"', "title = 3")
    edited(folder / "task.toml", "weight = 2", "weight = -2")
    said = complaint(folder, "task.toml").message
    assert "title: " in said
    assert "workloads.1.weight: " in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "command"', "command: Field required"),
        ('kind = "app"', "capture: Field required"),
        ('kind = "serving"', "server: Field required"),
    ],
)
def test_a_field_that_is_called_like_a_kind_is_named(folder: Path, text: str, said: str) -> None:
    """pydantic puts the kind before every field of a task; only that one is left out."""
    head = 'name = "my/x"\ntitle = "x"\nhardware = "cpu"\n'
    (folder / "task.toml").write_text(f'{head}{text}\n[[workloads]]\nname = "w"\n')
    assert said in complaint(folder, "task.toml").message


@pytest.mark.parametrize(
    ("gone", "field"),
    [
        ("reference.py", "reference: "),
        ("baseline/candidate.toml", "baseline: "),
        ("src/candidate.toml", "entry: "),
    ],
)
def test_a_file_that_the_task_names_is_missing(folder: Path, gone: str, field: str) -> None:
    (folder / gone).unlink()
    error = complaint(folder, "task.toml")
    assert field in error.message
    assert str(folder / gone) in error.message
    assert "Create it" in error.remedy


def test_a_peer_is_missing(folder: Path) -> None:
    edited(folder / "task.toml", 'title = "scale"', 'title = "scale"\npeers = ["peers/blas"]')
    assert f"peers: {folder / 'peers/blas/candidate.toml'}" in complaint(folder, "task.toml").message


def test_no_task_file(folder: Path) -> None:
    (folder / "task.toml").unlink()
    assert "no such file" in complaint(folder, "task.toml").message


@pytest.mark.parametrize("file", ["task.toml", "src/candidate.toml"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"title = ", "not TOML"),
        (b"a = 1\na = 2\n", "not TOML"),
        (b'title = "caf\xe9"\n', "not TOML"),
        (b"\x00", "not TOML"),
    ],
)
def test_what_is_no_toml(folder: Path, file: str, content: bytes, said: str) -> None:
    (folder / file).write_bytes(content)
    error = complaint(folder, file)
    assert said in error.message
    assert "syntax" in error.remedy


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('entry = "k"\n', "", "entry: Field required"),
        ('entry = "k"', 'entry = "k-k"', "entry: "),
        ('entry = "k"', 'entry = "k"\nmeno = ""', "meno: unknown key"),
        ('sources = ["k.c"]', 'sources = "k.c"', "sources: "),
        ('sources = ["k.c"]', "sources = []", "sources: "),
        ("default = 1 }", "default = 3 }", "tunables.TILE: the default 3 is not among the values [1, 2, 4]"),
        ("values = [1, 2, 4]", "values = [1, 2, 2]", "tunables.TILE: values repeat"),
        ("values = [1, 2, 4]", "values = []", "tunables.TILE.values"),
        (
            "values = [1, 2, 4]",
            'values = ["1"]',
            "tunables.TILE.values.0: Input should be a valid integer (given: '1')",
        ),
        ("TILE * UNROLL <= 8", "TIEL <= 8", "the constraint 'TIEL <= 8' uses unknown tunables: ['TIEL']"),
        ("TILE * UNROLL <= 8", "TILE * UNROLL > 8", "the defaults break the constraints ['TILE * UNROLL > 8']"),
        ("TILE * UNROLL <= 8", "1 > 2", "the defaults break the constraints ['1 > 2']"),
        ("TILE * UNROLL <= 8", "TILE <=", "constraints: the expression 'TILE <=' cannot be read"),
        ("TILE * UNROLL <= 8", "8 // (TILE - 1)", "constraints: the expression '8 // (TILE - 1)' fails"),
        ("TILE * UNROLL <= 8", "TILE.real", "constraints: 'TILE.real' is not allowed"),
    ],
)
def test_candidate_fields(folder: Path, old: str, new: str, said: str) -> None:
    edited(folder / "src/candidate.toml", old, new)
    error = complaint(folder, "src/candidate.toml")
    assert said in error.message
    assert "docs/tasks.md" in error.remedy


@pytest.mark.parametrize("path", ["../baseline/k.c", "a/../../k.c", "/etc/hostname"])
def test_a_source_that_leaves_the_folder(folder: Path, path: str) -> None:
    edited(folder / "src/candidate.toml", "k.c", path)
    error = complaint(folder, "src/candidate.toml")
    assert "sources: " in error.message
    assert path in error.message
    assert not (folder.parent / "blobs").exists(), "nothing from outside was taken in"


def test_a_source_that_is_missing(folder: Path) -> None:
    (folder / "src/k.c").unlink()
    error = complaint(folder, "src/candidate.toml")
    assert f"sources: {folder / 'src/k.c'} does not exist" in error.message


def test_the_host_contract_takes_no_launch(folder: Path) -> None:
    path = folder / "src/candidate.toml"
    path.write_text(path.read_text() + LAUNCH)
    assert "takes no [[launch]]" in complaint(folder, "src/candidate.toml").message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (LAUNCH, "", "needs a [[launch]]"),
        ('arguments = ["x", "y", "N"]', 'arguments = ["x", "z", "y"]', "launch of 'k' passes unknown arguments ['z']"),
        ('arguments = ["x", "y", "N"]', 'arguments = ["x", "N"]', "no launch receives the outputs ['y']"),
        ('kernel = "k"', 'kernel = "k k"', "launch.0.kernel: "),
        ('kernel = "k"\n', "", "launch.0.kernel: Field required"),
        ("block = [256, 1, 1]", "block = [256]", "launch.0.block"),
    ],
)
def test_launch_plans(folder: Path, old: str, new: str, said: str) -> None:
    edited(folder / "task.toml", 'contract = "host"', 'contract = "device"')
    path = folder / "src/candidate.toml"
    path.write_text(path.read_text() + LAUNCH)
    load_entry(folder)
    edited(path, old, new)
    assert said in complaint(folder, "src/candidate.toml").message


def test_a_scratch_buffer_may_be_passed(folder: Path) -> None:
    edited(folder / "task.toml", 'contract = "host"', 'contract = "device"')
    path = folder / "src/candidate.toml"
    plan = LAUNCH.replace('"y", "N"', '"y", "partial"')
    path.write_text(path.read_text() + plan + '[[scratch]]\nname = "partial"\nbytes = "4 * N"\n')
    load_entry(folder)


MAP = '[[tensor_map]]\nname = "tiles"\nof = "y"\ndims = ["N"]\nbox = [64]\n'


def test_an_output_may_be_passed_as_a_tensor_map(folder: Path) -> None:
    edited(folder / "task.toml", 'contract = "host"', 'contract = "device"')
    path = folder / "src/candidate.toml"
    path.write_text(path.read_text() + LAUNCH.replace('"y", "N"', '"tiles", "N"') + MAP)
    load_entry(folder)
    edited(path, 'of = "y"', 'of = "nothing"')
    assert (
        "the tensor map 'tiles' is of 'nothing', which is no buffer" in complaint(folder, "src/candidate.toml").message
    )


def digest_of(folder: Path) -> str:
    return load_task(folder).digest


@pytest.mark.parametrize(
    ("old", "new", "differs"),
    [
        ("axes = { N = 8 }", "axes = { N = 9 }", True),
        ("weight = 2", "weight = 3", True),
        ('flops = "N"', 'flops = "N"\ntolerance = { relative_rms = 1e-4 }', True),
        ('title = "scale"', 'title = "another"', False),
        ('title = "scale"', 'title = "scale"\ndescription = "prose"\ntags = ["a"]\ngate = { min_gain = 0.1 }', False),
        ('title = "scale"', 'title = "scale" # a comment', False),
        ("weight = 2", "weight = 2.0", False),
    ],
)
def test_the_identity_of_a_task_folder(folder: Path, old: str, new: str, differs: bool) -> None:
    before = digest_of(folder)
    edited(folder / "task.toml", old, new)
    assert (digest_of(folder) != before) is differs


def test_the_reference_belongs_to_the_task_and_candidates_do_not(folder: Path) -> None:
    before = digest_of(folder)
    edited(folder / "src/k.c", "{}", "{ }")
    assert digest_of(folder) == before
    edited(folder / "reference.py", "return x", "return 2 * x")
    assert digest_of(folder) != before


def test_a_candidate_keeps_its_sources_as_blobs(folder: Path, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    candidate = load_candidate(folder / "src", blobs)
    content = (folder / "src/k.c").read_bytes()
    assert candidate.sources[0].content == digest_bytes(content)
    assert blobs.get(candidate.sources[0].content) == content
    assert candidate.parameters == {"TILE": 1, "UNROLL": 1}
    assert load_candidate(folder / "baseline", blobs).id == candidate.id


def test_a_task_is_found_by_path_and_by_name(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tasks/my").mkdir(parents=True)
    folder.rename(tmp_path / "tasks/my/scale")
    wanted = (tmp_path / "tasks/my/scale").resolve()
    assert find_task("my/scale", tmp_path) == find_task(str(wanted), tmp_path) == wanted
    with pytest.raises(BadInput, match="my/scale") as caught:
        find_task("my/scael", tmp_path)
    assert "my/scael" in caught.value.message


@pytest.mark.parametrize("path", sorted(p.parent for p in (ROOT / "tasks").glob("*/*/task.toml")), ids=lambda p: p.name)
def test_the_tasks_that_ship_load(path: Path, tmp_path: Path) -> None:
    loaded: LoadedTask = load_task(path)
    for folder in (loaded.head.baseline, loaded.head.entry, *loaded.head.peers):
        load_candidate(path / folder, Blobs(tmp_path), loaded.head)
