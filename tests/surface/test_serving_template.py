"""``new --kind serving``: what is refused before anything is written, and what a stamped workspace does by itself."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from warpsmith.errors import BadInput
from warpsmith.model.harness import ServingTask
from warpsmith.store.blobs import Blobs
from warpsmith.store.folders import load_candidate, load_task
from warpsmith.surface import api
from warpsmith.surface.stamp import TEMPLATES, stamp
from warpsmith.surface.subject import subject

RUFF = Path(sys.executable).with_name("ruff")
ROOT = Path(__file__).parent.parent.parent
NVCC = shutil.which("nvcc")


def stamped(root: Path, hardware: str = "cpu", model_path: Path | None = None) -> Path:
    made = subject("", model_path, hardware, "", "")
    folder, _ = stamp(root / "tasks", "demo/llama", "serving", hardware, made.places)
    return folder


def ran(folder: Path, script: str, *words: str | Path, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPS_", "MODEL_"))}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    if path:
        environment["PATH"] = path
    argv = [sys.executable, f"workspace/scripts/{script}", *map(str, words)]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def snapshot(folder: Path) -> Path:
    """What looks like the files of a model; its weights are none."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "model.safetensors").write_bytes(b"\0" * 16)
    return folder


def _dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone")


class TestStamping:
    @pytest.mark.parametrize("hardware", ["cpu", "cuda"])
    def test_the_task_loads_and_says_what_was_asked_for(self, tmp_path: Path, hardware: str) -> None:
        folder = stamped(tmp_path, hardware)
        loaded = load_task(folder)
        task = loaded.task
        assert isinstance(task, ServingTask)
        assert (task.name, task.hardware) == ("demo/llama", hardware)
        assert {"random-llama", hardware} <= set(task.tags)
        assert task.objective.metric == "batch16.tok_s"
        assert [g.metric for g in task.guardrails] == ["single.ttft_p99"]
        assert len(task.scenarios) == 3
        assert task.may_change("ops/cuda/rmsnorm.cu")
        assert task.may_change("backend/glue.py")
        for fixed in ("scripts/parity.py", "bench/ops.py", "tests/test_ops.py", "docs/notes.md", "upstream.toml"):
            assert not task.may_change(fixed)
        assert not [p for p in folder.rglob("*") if p.suffix == ".template" or p.name == "__pycache__"]

    def test_nothing_is_left_to_be_filled_in(self, tmp_path: Path) -> None:
        folder = stamped(tmp_path)
        places = ("__TASK__", "__MODEL", "__HARDWARE", "__SNAPSHOT")
        left = [p for p in folder.rglob("*") if p.is_file() and any(place in p.read_text() for place in places)]
        assert not left

    def test_tunables_have_the_defaults_of_the_workspace(self, tmp_path: Path) -> None:
        folder = stamped(tmp_path)
        said = subprocess.run(
            [sys.executable, "-B", "-c", "import json, backend.environment as e; print(json.dumps(e.DEFAULTS))"],
            cwd=folder / "workspace", capture_output=True, text=True, check=True,
        )  # fmt: skip
        known = json.loads(said.stdout)
        for hardware in ("cpu", "cuda"):
            task = load_task(stamped(tmp_path / hardware, hardware)).task
            assert task.tunables
            assert {name: str(tunable.default) for name, tunable in task.tunables.items()}.items() <= known.items()

    def test_the_example_candidate_is_an_overlay(self, tmp_path: Path) -> None:
        folder = stamped(tmp_path)
        task = load_task(folder).task
        blobs = Blobs(tmp_path / "blobs")
        candidate = load_candidate(folder / "candidates/rmsnorm-op", blobs, task)
        assert candidate.environment == {"OPS_RMSNORM": "auto"}
        assert not candidate.sources
        assert load_candidate(folder / task.entry, blobs, task).id != candidate.id

    @pytest.mark.parametrize("hardware", ["cpu", "cuda"])
    def test_python_is_clean_and_compiles(self, tmp_path: Path, hardware: str) -> None:
        folder = stamped(tmp_path, hardware)
        ruff, how = (str(RUFF),), ("--no-cache", "--config", str(ROOT / "pyproject.toml"))
        checked = subprocess.run(
            [*ruff, "check", *how, "--extend-ignore", "D,T20", "."],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert checked.returncode == 0, checked.stdout
        formatted = subprocess.run(
            [*ruff, "format", *how, "--check", "."], cwd=folder, capture_output=True, text=True, check=False
        )
        assert formatted.returncode == 0, formatted.stdout
        assert compileall.compile_dir(str(folder), quiet=1)

    def test_the_manifest_names_files_that_are_there(self, tmp_path: Path) -> None:
        workspace = stamped(tmp_path) / "workspace"
        manifest = yaml.safe_load((workspace / "ops/kernel_manifest.yaml").read_text())
        (op,) = manifest["ops"].values()
        assert set(op["implementations"]) == {"torch", "cuda", "ptx", "triton", "cute"}
        for one in op["implementations"].values():
            assert {"toolchain", "source", "entry", "guard", "status"} <= set(one)
            assert (workspace / one["source"]).is_file()

    def test_documents_name_files_and_verbs_that_are_there(self, tmp_path: Path) -> None:
        folder = stamped(tmp_path)
        page = (ROOT / "docs/cli.md").read_text()
        for line in (folder / "program.md").read_text().splitlines():
            words = line.split("#")[0].split()
            if line.startswith("    warpsmith "):
                assert f"### `warpsmith {words[1]}`" in page, line
            if line.startswith("    python "):
                assert (folder / words[1]).is_file(), line
            for name in (w for w in words if w.startswith("candidates/") and "NAME" not in w):
                assert (folder / name).is_dir() or not line.startswith("    "), line
        for line in (folder / "workspace/docs/blueprint.md").read_text().splitlines():
            for name in [p for p in line.split("`")[1::2] if p.startswith("workspace/") and "{" not in p]:
                assert (folder / name).exists(), name


class TestRefusals:
    """Everything that cannot be is said before a file is written."""

    @pytest.fixture(autouse=True)
    def _project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def refused(self, root: Path, match: str, **flags: object) -> None:
        with pytest.raises(BadInput, match=match):
            api.new("demo/llama", **{"kind": "serving", **flags})  # type: ignore[arg-type]
        assert not (root / "tasks").exists()

    @pytest.mark.parametrize(
        ("flags", "match"),
        [
            ({"hardware": "tpu"}, "no template for serving tasks on tpu.*serving on cpu, serving on cuda"),
            ({"hardware": "any"}, "no template for serving tasks on any"),
            ({"model": "no such/na me"}, "--model: 'no such/na me' is no model name"),
            ({"model": 'a"b'}, "--model"),
            ({"model_slug": "Big Model"}, "--model-slug: 'Big Model' is no slug"),
            ({"hardware_slug": "-h200"}, "--hardware-slug: '-h200' is no slug"),
            ({"kind": "kernel", "model": "llama", "hardware_slug": "x"}, "--model, --hardware-slug: a kernel task"),
        ],
    )
    def test_names(self, tmp_path: Path, flags: dict[str, object], match: str) -> None:
        self.refused(tmp_path, match, **flags)

    @pytest.mark.parametrize(
        ("spoil", "match"),
        [
            (lambda f: shutil.rmtree(f), "does not exist"),
            (lambda f: (shutil.rmtree(f), f.write_text("")), "is a file"),
            (lambda f: (f / "config.json").unlink(), r"config\.json does not exist"),
            (lambda f: (f / "config.json").write_text("{"), r"config\.json cannot be read"),
            (lambda f: (f / "config.json").write_text("[]"), "neither model_type nor architectures"),
            (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
            (lambda f: _dangle(f / "model.safetensors"), "link to nothing"),
            (lambda f: (f / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/"), "Git LFS"),
            (
                lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "other.safetensors"}}'),
                r"other\.safetensors does not exist",
            ),
            (lambda f: (f / "model.safetensors.index.json").write_text("[]"), "is no index of weights"),
        ],
    )  # fmt: skip
    def test_snapshots(self, tmp_path: Path, spoil: Callable[[Path], object], match: str) -> None:
        folder = snapshot(tmp_path / "model")
        spoil(folder)
        self.refused(tmp_path, match, model_path=folder)

    def test_the_folder_of_a_cache_is_refused_with_a_snapshot_of_it(self, tmp_path: Path) -> None:
        cache = tmp_path / "models--org--tiny"
        snapshot(cache / "snapshots" / "abc123")
        self.refused(tmp_path, "snapshots/abc123", model_path=cache)

    def test_a_whole_snapshot_names_the_model(self, tmp_path: Path) -> None:
        folder = snapshot(tmp_path / "models--org--Tiny.1B" / "snapshots" / "abc123")
        made = api.new("demo/tiny", kind="serving", model_path=folder, hardware_slug="h200")
        task = load_task(Path(made.folder)).task
        assert task.server.model == "org/Tiny.1B"
        assert task.server.snapshot == str(folder)
        assert {"tiny-1b", "h200"} <= set(task.tags)
        with pytest.raises(BadInput, match="exists already"):
            api.new("demo/tiny", kind="serving")


class TestSetUp:
    @pytest.mark.slow
    @pytest.mark.skipif(NVCC is None, reason="nvcc is not here")
    def test_cuda_and_ptx_build_where_the_toolkit_is(self, tmp_path: Path) -> None:
        done = ran(stamped(tmp_path), "check_setup.py", "--build", "--emit-ptx", tmp_path / "ptx", "--only", "cuda,ptx")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "nvcc, sm_" in done.stdout
        cuda = (tmp_path / "ptx/cuda-rmsnorm.ptx").read_text()
        assert all(f".visible .entry rmsnorm_{dtype}(" in cuda for dtype in ("f32", "bf16", "f16"))
        assert ".visible .entry rmsnorm_f32(" in (tmp_path / "ptx/ptx-rmsnorm.ptx").read_text()

    @pytest.mark.slow
    @pytest.mark.skipif(NVCC is None, reason="nvcc is not here")
    @pytest.mark.parametrize(("name", "file"), [("cuda", "rmsnorm.cu"), ("ptx", "rmsnorm.ptx")])
    def test_a_source_that_does_not_compile_is_a_failure_with_its_words(
        self, tmp_path: Path, name: str, file: str
    ) -> None:
        folder = stamped(tmp_path)
        source = folder / "workspace/ops" / name / file
        source.write_text(source.read_text() + "\nthis is no code;\n")
        done = ran(folder, "check_setup.py", "--build", "--only", name)
        assert done.returncode == 1
        assert "FAILED" in done.stdout
        assert file in done.stdout

    def test_what_can_be_imported_is_here_though_no_metadata_says_its_version(self, tmp_path: Path) -> None:
        """A source tree on the path: the version is the package's own, or unknown."""
        for name, text in (("fastapi", '__version__ = "7.8"'), ("uvicorn", ""), ("yaml", "raise ImportError")):
            (tmp_path / "tree" / name).mkdir(parents=True)
            (tmp_path / "tree" / name / "__init__.py").write_text(text)
        script = stamped(tmp_path) / "workspace/scripts/check_setup.py"
        (tmp_path / "tree/check_setup.py").write_text(script.read_text())
        text = (
            f"import sys; sys.path[:0] = [{str(tmp_path / 'tree')!r}]; import check_setup as c;"
            "print(*(c.version(n, n) or '-' for n in ('fastapi', 'uvicorn', 'yaml', 'cuda.bindings')), sep=', ')"
        )
        argv = [sys.executable, "-I", "-S", "-c", text]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "7.8, version unknown, -, -", done.stderr

    @pytest.mark.slow
    def test_without_a_toolkit_nothing_is_said_to_have_been_built(self, tmp_path: Path) -> None:
        if any((Path(p) / "nvcc").exists() for p in ("/usr/bin", "/bin")):
            pytest.skip("nvcc is a system program here")
        folder = stamped(tmp_path)
        done = ran(folder, "check_setup.py", "--build", "--only", "ptx", path="/usr/bin:/bin")
        assert done.returncode == 2, done.stdout + done.stderr
        assert "ptx      NOT TRIED  ptxas is not on PATH" in done.stdout
        assert " ok " not in done.stdout
        assert ran(folder, "check_setup.py", path="/usr/bin:/bin").returncode == 0

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["triton", "cute"])
    def test_packages_that_are_here_build_ahead_of_time(self, tmp_path: Path, name: str) -> None:
        pytest.importorskip({"triton": "triton", "cute": "cutlass"}[name])
        done = ran(stamped(tmp_path), "check_setup.py", "--build", "--emit-ptx", tmp_path / "ptx", "--only", name)
        assert done.returncode == 0, done.stdout + done.stderr
        assert ".entry" in (tmp_path / f"ptx/{name}-rmsnorm.ptx").read_text()

    @pytest.mark.slow
    def test_the_workspaces_own_tests_pass(self, tmp_path: Path) -> None:
        folder = stamped(tmp_path)
        argv = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "workspace/tests"]
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert " passed" in done.stdout


@pytest.mark.slow
class TestByHand:
    """Parity and profile on the CPU, with random weights and with a snapshot."""

    def test_parity_finds_the_starters_right(self, tmp_path: Path) -> None:
        done = ran(stamped(tmp_path), "parity.py", "--switch", "torch")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "rmsnorm    torch    right     torch; 45 inputs" in done.stdout
        assert "in place of 5 LlamaRMSNorm" in done.stdout
        assert "128 of 128 tokens equal" in done.stdout

    def test_what_was_named_and_cannot_run_is_not_called_right(self, tmp_path: Path) -> None:
        folder = stamped(tmp_path)
        done = ran(folder, "parity.py", "--ops", "cuda", "--no-model")
        if "right" in done.stdout:
            pytest.skip("there is a GPU here")
        assert done.returncode == 2
        assert "NOT TRIED" in done.stdout
        assert ran(folder, "parity.py", "--ops", "none", "--no-model").returncode == 1

    @pytest.mark.parametrize("factor", ["1.1", "float('nan')"])
    def test_parity_finds_a_wrong_one(self, tmp_path: Path, factor: str) -> None:
        folder = stamped(tmp_path)
        plain = folder / "workspace/ops/plain.py"
        plain.write_text(plain.read_text().replace("return weight *", f"return {factor} * weight *"))
        done = ran(folder, "parity.py", "--ops", "torch", "--switch", "torch")
        assert done.returncode == 1
        assert "rmsnorm    torch    WRONG" in done.stdout
        assert "FAILED    rmsnorm: torch is no LlamaRMSNorm" in done.stdout

    def test_a_model_that_says_other_tokens_is_found(self, tmp_path: Path) -> None:
        """Beyond the hook's own look at random rows: a backend that answers differently where the switch is on."""
        folder = stamped(tmp_path)
        loading = folder / "workspace/backend/loading.py"
        spoiled = "    if environment.word('OPS_RMSNORM') == 'torch':\n        model.lm_head.weight.data *= -1\n"
        loading.write_text(loading.read_text().replace("    precision =", f"{spoiled}    precision =", 1))
        done = ran(folder, "parity.py", "--ops", "torch", "--switch", "torch")
        assert done.returncode == 1
        assert "rmsnorm    torch    WRONG     in the model: " in done.stdout

    def test_a_profile_names_what_takes_the_time(self, tmp_path: Path) -> None:
        folder = stamped(tmp_path)
        done = ran(folder, "profile_once.py", "--batch", "2", "--prompt", "16", "--output", "4")
        assert done.returncode == 0, done.stderr
        assert "aten::mm" in done.stdout
        assert "2 x (16 + 4) tokens" in done.stdout
        assert json.loads((folder / "build/profile/trace.json").read_text())["traceEvents"]

    def test_a_snapshot_is_what_is_served(self, tmp_path: Path) -> None:
        weights = tmp_path / "tiny"
        made = (
            "import sys, torch; from transformers import LlamaConfig, LlamaForCausalLM; torch.manual_seed(1);"
            "c = LlamaConfig(vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=3,"
            " num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2);"
            "LlamaForCausalLM(c).save_pretrained(sys.argv[1])"
        )
        subprocess.run([sys.executable, "-c", made, str(weights)], check=True, capture_output=True)
        folder = stamped(tmp_path, model_path=weights)
        done = ran(folder, "parity.py", "--ops", "torch", "--switch", "torch")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "in place of 7 LlamaRMSNorm" in done.stdout


class TestReferences:
    """Real git, from a repository that the test makes."""

    @pytest.fixture
    def upstream(self, tmp_path: Path) -> tuple[Path, list[str]]:
        """A repository with two commits, and their names."""
        folder = tmp_path / "origin"
        folder.mkdir()
        commits = []
        self.git(folder, "init", "--quiet", "--initial-branch=main")
        for text in ("one", "two"):
            (folder / "kernel.cu").write_text(text)
            self.git(folder, "add", ".")
            who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
            self.git(folder, *who, "commit", "--quiet", "-m", text)
            commits.append(self.git(folder, "rev-parse", "HEAD"))
        return folder, commits

    @staticmethod
    def git(folder: Path, *words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    def manifest(self, folder: Path, url: Path | str, commit: str) -> None:
        (folder / "workspace/upstream.toml").write_text(f'[ref]\nurl = "{url}"\ncommit = "{commit}"\n')

    def test_the_pinned_commit_comes_read_only_and_stays(
        self, tmp_path: Path, upstream: tuple[Path, list[str]]
    ) -> None:
        origin, (first, second) = upstream
        folder = stamped(tmp_path)
        self.manifest(folder, origin, first)
        done = ran(folder, "fetch_upstream.py")
        assert done.returncode == 0, done.stderr
        there = folder / "upstream/ref"
        assert (there / "kernel.cu").read_text() == "one"
        writing = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
        assert not [p for p in (there, *there.rglob("*")) if not p.is_symlink() and p.stat().st_mode & writing]
        again = ran(folder, "fetch_upstream.py", "ref")
        assert (again.returncode, "is there already" in again.stdout) == (0, True)

        self.manifest(folder, origin, second)
        other = ran(folder, "fetch_upstream.py")
        assert other.returncode == 1
        assert second[:12] in other.stderr and first[:12] in other.stderr
        assert "left alone" in other.stderr
        assert (there / "kernel.cu").read_text() == "one"
        assert sorted(p.name for p in (folder / "upstream").iterdir()) == ["ref"]

    def test_what_somebody_changed_is_not_called_the_same(
        self, tmp_path: Path, upstream: tuple[Path, list[str]]
    ) -> None:
        origin, (_, second) = upstream
        folder = stamped(tmp_path)
        self.manifest(folder, origin, second)
        assert ran(folder, "fetch_upstream.py").returncode == 0
        kernel = folder / "upstream/ref/kernel.cu"
        kernel.chmod(0o644)
        kernel.write_text("mine")
        done = ran(folder, "fetch_upstream.py")
        assert done.returncode == 1
        assert "was changed" in done.stderr
        assert kernel.read_text() == "mine"

    def test_what_is_no_clone_is_left_alone(self, tmp_path: Path, upstream: tuple[Path, list[str]]) -> None:
        origin, (first, _) = upstream
        folder = stamped(tmp_path)
        self.manifest(folder, origin, first)
        (folder / "upstream/ref").mkdir(parents=True)
        (folder / "upstream/ref/mine.txt").write_text("mine")
        done = ran(folder, "fetch_upstream.py")
        assert (done.returncode, "is no clone" in done.stderr) == (1, True)
        assert [p.name for p in (folder / "upstream/ref").iterdir()] == ["mine.txt"]

    @pytest.mark.parametrize(
        ("url", "commit", "said"),
        [
            ("{origin}", "a" * 40, "git"),
            ("{origin}", "abc123", "give all 40 digits"),
            ("{origin}", "main", "give all 40 digits"),
            ("ext::sh -c true", "a" * 40, "use https"),
            ("--upload-pack=true", "a" * 40, "use https"),
        ],
    )
    def test_what_cannot_be_pinned_is_refused(
        self, tmp_path: Path, upstream: tuple[Path, list[str]], url: str, commit: str, said: str
    ) -> None:
        folder = stamped(tmp_path)
        self.manifest(folder, url.format(origin=upstream[0]), commit)
        done = ran(folder, "fetch_upstream.py")
        assert done.returncode == 1
        assert said in done.stderr
        assert not (folder / "upstream/ref").exists()
        assert not list((folder / "upstream").glob(".ref*"))

    def test_the_manifest_that_is_stamped_pins_four(self, tmp_path: Path) -> None:
        done = ran(stamped(tmp_path), "fetch_upstream.py", "--list")
        assert done.returncode == 0, done.stderr
        assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
            "flash-attention", "mamba", "quack", "sonic-moe",
        ]  # fmt: skip


def test_templates_hold_nothing_that_an_interpreter_left() -> None:
    folders = {p.name for p in TEMPLATES.glob("serving-*")}
    assert folders == {"serving-any", "serving-cpu", "serving-cuda"}
