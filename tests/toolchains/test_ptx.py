"""The ptx toolchain without a device: what assembles, what is refused, and what ptxas is quoted with."""

from __future__ import annotations

from pathlib import Path

import pytest

from warpsmith.errors import BuildFailed, Missing
from warpsmith.model.candidate import Candidate, Launch, SourceFile
from warpsmith.model.evaluation import Build
from warpsmith.model.target import Target
from warpsmith.toolchains import Configuration, Job, ptx
from warpsmith.toolchains.ptx import Ptx

SOURCE = """.version 7.8
.target sm_80
.address_size 64
.visible .entry k(.param .u64 y)
{
    .reg .b64 %d1;
    .reg .b32 %r1;
    .shared .align 4 .b8 room[64];
    mov.u32 %r1, 7;
    ld.param.u64 %d1, [y];
    st.global.u32 [%d1], %r1;
    ret;
}
"""


@pytest.fixture
def assembler() -> None:
    try:
        Ptx().version()
    except Missing as missing:
        pytest.skip(str(missing))


def build(
    tmp_path: Path,
    source: str = SOURCE,
    *,
    kernel: str = "k",
    name: str = "k.ptx",
    flags: tuple[str, ...] = (),
    configuration: Configuration = "release",
    architecture: str = "sm_90a",
) -> Build:
    folder = tmp_path / "sources"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(source)
    candidate = Candidate(
        toolchain="ptx",
        entry="k",
        sources=(SourceFile(path=name, content="0" * 64),),
        flags=flags,
        launch=(Launch(kernel=kernel, grid=(1, 1, 1), block=(1, 1, 1), arguments=("y",)),),
    )
    target = Target(hardware="cuda", device="none", architecture=architecture)
    return Ptx().build(Job(candidate, folder, target, configuration, tmp_path / "out.cubin"))


@pytest.mark.usefixtures("assembler")
class TestWithPtxas:
    @pytest.mark.parametrize("architecture", ["sm_80", "sm_90a", "sm_100a"])
    def test_it_becomes_a_cubin_with_facts(self, tmp_path: Path, architecture: str) -> None:
        made = build(tmp_path, architecture=architecture)
        (kernel,) = made.kernels
        assert kernel.name == "k"
        assert 1 <= (kernel.registers or 0) <= 32
        assert (kernel.spill_bytes, kernel.stack_bytes) == (0, 0)
        assert kernel.compiled is None
        assert f"-arch={architecture}" in made.command
        assert str(tmp_path) not in " ".join(made.command)
        assert made.binary_bytes == (tmp_path / "out.cubin").stat().st_size

    def test_an_error_is_quoted_with_its_line(self, tmp_path: Path) -> None:
        with pytest.raises(BuildFailed, match=r"k\.ptx, line 9.*nonsense") as raised:
            build(tmp_path, SOURCE.replace("mov.u32 %r1, 7", "nonsense.u32 %r1, 7"))
        assert "nonsense" in raised.value.log

    def test_a_launch_of_a_kernel_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(BuildFailed, match=r"has no kernel 'other'; it has: k \(a kernel is declared .visible"):
            build(tmp_path, kernel="other")

    def test_flags_that_tune_are_passed_on(self, tmp_path: Path) -> None:
        assert "-maxrregcount=24" in build(tmp_path, flags=("--maxrregcount=24", "-O1")).command

    def test_another_files_content_cannot_be_had(self, tmp_path: Path) -> None:
        with pytest.raises(BuildFailed):
            build(tmp_path, '.file 1 "/etc/passwd"\n@@DWARF "/etc/passwd"\n.include "/etc/passwd"\n' + SOURCE)


@pytest.mark.parametrize("flag", ["-o", "--output-file=/tmp/x", "-g@/etc/passwd", "--options-file=x", "-v -O3"])
def test_flags_beyond_tuning_are_refused(tmp_path: Path, flag: str) -> None:
    with pytest.raises(BuildFailed, match="is not allowed"):
        build(tmp_path, flags=(flag,))


def test_a_candidate_without_ptx(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"there is no \.ptx file among k\.txt"):
        build(tmp_path, name="k.txt")


def test_a_machine_without_ptxas_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ptx, "_candidates", lambda: iter(()))
    with pytest.raises(Missing, match="ptxas was not found") as raised:
        Ptx().version()
    assert "CUDA toolkit" in raised.value.remedy
