"""What this machine has for the workspace, and whether its operations build here.

    python workspace/scripts/check_setup.py [--build] [--emit-ptx [FOLDER]] [--only cuda,ptx] [--architecture sm_90]

--build compiles every operation for the architecture: of the GPU that torch sees, or sm_90. --emit-ptx writes the PTX
of each (into build/ptx of the task by default). Neither needs a GPU.

Exit status 0: all that was asked for is there and builds. 1: something needed is missing, or a source does not build.
2: a build that was asked for could not be tried, because its compiler or package is not here; each is named.
"""

import argparse
import importlib.metadata
import platform
import sys
from importlib import import_module, util
from pathlib import Path

WORKSPACE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(WORKSPACE))

NEEDED = {
    "torch": "torch",
    "transformers": "transformers",
    "yaml": "pyyaml",
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "warpsmith": "warpsmith",
}
USEFUL = {"triton": "triton", "cutlass": "nvidia-cutlass-dsl", "cuda.bindings": "cuda-bindings"}
USUAL = "sm_90"
UNSAID = "version unknown"


def version(name: str, distribution: str) -> str:
    """The version of what can be imported, or nothing; of a source tree on the path the package itself says it."""
    try:
        if util.find_spec(name) is None:
            return ""
    except ImportError:  # of a.b, where there is no a
        return ""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        pass
    try:
        return str(getattr(import_module(name), "__version__", UNSAID))
    except ImportError:
        return ""


def look() -> list[str]:
    """Say what is here; what is needed and is not."""
    print(f"python        {platform.python_version()}")
    found = {name: version(name, distribution) for name, distribution in (NEEDED | USEFUL).items()}
    for name, has in found.items():
        what = "missing: needed" if name in NEEDED else "missing: only its operations need it"
        print(f"{name:13} {has or what}")
    missing = [name for name in NEEDED if not found[name]]
    if missing:
        print(f"needed and not here: {', '.join(missing)}; install warpsmith[serve,models]")
    if {"torch", "yaml"} & set(missing):
        return missing
    import torch

    from ops import native

    for name, where in native.compilers().items():
        print(f"{name:13} {where or 'missing'}")
    print(f"device        {torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu: torch sees no GPU'}")
    return missing


def target() -> str:
    """The architecture to build for where none is given."""
    from ops import Absent, device

    try:
        return device.architecture()
    except Absent:
        return USUAL


def make(only: list[str], architecture: str, build: bool, into: Path | None) -> int:
    """Build and emit what was asked for; the exit status."""
    from ops import Absent, Unusable, choice

    worst = 0
    for op, said in choice.manifest().items():
        for name, one in said["implementations"].items():
            module = import_module(one["entry"].partition(":")[0])
            if (only and name not in only) or not hasattr(module, "build"):
                continue
            try:
                done = [module.build(architecture)] if build else []
                done += [f"wrote {module.emit(architecture, into)}"] if into else []
                print(f"{op:10} {name:8} ok       {'; '.join(done)}")
            except Absent as reason:
                print(f"{op:10} {name:8} NOT TRIED  {reason}")
                worst = worst or 2
            except Unusable as reason:
                print(f"{op:10} {name:8} FAILED   {reason}")
                worst = 1
    return worst


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", action="store_true", help="compile every operation")
    parser.add_argument("--emit-ptx", nargs="?", type=Path, const=WORKSPACE.parent / "build" / "ptx", metavar="FOLDER")
    parser.add_argument("--only", default="", help="toolchains, with commas between")
    parser.add_argument("--architecture", default="", help=f"such as {USUAL}")
    asked = parser.parse_args()
    missing = look()
    if {"torch", "yaml"} & set(missing) or not (asked.build or asked.emit_ptx):
        return 1 if missing else 0
    if asked.emit_ptx:
        asked.emit_ptx.mkdir(parents=True, exist_ok=True)
    architecture = asked.architecture or target()
    print(f"building for {architecture}")
    built = make([n for n in asked.only.split(",") if n], architecture, asked.build, asked.emit_ptx)
    return 1 if missing else built


if __name__ == "__main__":
    sys.exit(main())
