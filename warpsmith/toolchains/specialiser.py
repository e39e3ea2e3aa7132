"""Triton and CuTe in a short-lived process of their own: kernels of a candidate's module to cubins. No GPU is needed.

Started by file path, never imported: it runs the candidate's module. Whatever it prints or writes is the candidate's
word; the judge reads it as such (specialised.py). Standard library and the one package only.

    specialiser.py version BACKEND PATHS    prints the package's version; PATHS is a JSON list for ``sys.path``
    specialiser.py compile JOB.json

The job has ``backend`` (``triton`` or ``cute``), ``paths``, ``source``, ``architecture``, ``debug``, ``output`` and
``kernels``, each with ``kernel`` (a name in the module), ``arguments`` (``dtype``, ``pointer``, ``divisible``: bytes of
alignment or a divisor), ``constants``, ``said`` (names of constants that must be taken), ``block`` and ``cluster``. The
output is one line of JSON, a list of what is known of each cubin, then the cubins one after another.

Exit status 0: done. 1: it does not compile, and the first line printed says why. 3: the package cannot be used.
"""

import contextlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import re
import signal
import sys
import tempfile
import traceback
from typing import Any, NoReturn

FAILED, UNUSABLE = 1, 3
PRINTED = 16_000
"""Bytes of what the compiler and the module print that are passed on."""
DISTRIBUTIONS = {"triton": ("triton", "pytorch-triton"), "cute": ("nvidia-cutlass-dsl",)}
MODULES = {"triton": "triton", "cute": "cutlass"}
OPTIONS = ("num_warps", "num_stages", "num_ctas", "maxnreg", "enable_fp_fusion")
"""What Triton takes beside a kernel's own constants."""
TRITON_TYPES = {"f64": "fp64", "f32": "fp32", "f16": "fp16", "bf16": "bf16"}
"""Where they differ from ours."""
CUTE_TYPES = {
    "f64": "Float64", "f32": "Float32", "f16": "Float16", "bf16": "BFloat16",
    "i64": "Int64", "i32": "Int32", "i8": "Int8", "u8": "Uint8",
}  # fmt: skip
TRITON_SCRATCH = ("global_scratch_size", "profile_scratch_size")
"""Behind a kernel's own parameters Triton passes a pointer for each of these, in this order."""


class Wrong(Exception):
    """What the candidate states does not fit its module."""


def version(backend: str) -> str:
    """The package's version; ends the process where it cannot be imported."""
    try:
        if importlib.util.find_spec(MODULES[backend]) is None:
            raise ImportError(f"there is no module {MODULES[backend]}")
        for name in DISTRIBUTIONS[backend]:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                return importlib.metadata.version(name)
        raise ImportError(f"the module {MODULES[backend]} belongs to no known package")
    except (ImportError, ValueError) as error:
        sys.stdout.write(f"{error}\n")
        sys.exit(UNUSABLE)


def module_of(path: str) -> Any:
    """The candidate's module, run from its file, with the files beside it to import."""
    sys.path.append(os.getcwd())
    spec = importlib.util.spec_from_file_location(os.path.splitext(os.path.basename(path))[0], path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def found(module: Any, name: str) -> Any:
    """What the module calls ``name``. Raises Wrong."""
    if not hasattr(module, name):
        raise Wrong(f"{os.path.basename(module.__file__)} defines no {name!r}")
    return getattr(module, name)


def match(name: str, parameters: list[str], arguments: list[Any]) -> None:
    """Raise Wrong unless there are as many of one as of the other."""
    if len(parameters) != len(arguments):
        raise Wrong(f"{name} takes ({', '.join(parameters)}), and the launch passes {len(arguments)} arguments")


def taken(want: dict[str, Any], known: set[str]) -> None:
    """Raise Wrong where the launch states a constant that nothing takes."""
    if unknown := sorted(set(want["said"]) - known):
        raise Wrong(f"{want['kernel']} has no constants {unknown}; it has: {', '.join(sorted(known)) or 'none'}")


def with_triton(job: dict[str, Any]) -> list[tuple[dict[str, Any], bytes]]:
    """Each kernel's facts and cubin."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.runtime.jit import JITFunction

    capability = re.fullmatch(r"sm_(\d+)[af]?", job["architecture"])
    assert capability is not None
    target = GPUTarget("cuda", int(capability[1]), 32)
    module = module_of(job["source"])
    made = []
    for want in job["kernels"]:
        function = found(module, want["kernel"])
        while not isinstance(function, JITFunction) and hasattr(function, "fn"):  # autotune, heuristics
            function = function.fn
        if not isinstance(function, JITFunction):
            raise Wrong(f"{want['kernel']!r} is no @triton.jit function")
        constant = [p for p in function.params if p.is_constexpr]
        passed = [p for p in function.params if not p.is_constexpr]
        match(want["kernel"], [p.name for p in passed], want["arguments"])
        taken(want, {p.name for p in constant} | set(OPTIONS))
        if missing := [p.name for p in constant if p.name not in want["constants"] and not p.has_default]:
            raise Wrong(f"{want['kernel']}: no tunable or constant gives {', '.join(missing)} a value")
        signature, attributes = {p.name: "constexpr" for p in constant}, {}
        for parameter, argument in zip(passed, want["arguments"], strict=True):
            dtype = TRITON_TYPES.get(argument["dtype"], argument["dtype"])
            signature[parameter.name] = f"*{dtype}" if argument["pointer"] else dtype
            if argument["divisible"] > 1:
                attributes[(parameter.num,)] = [["tt.divisibility", argument["divisible"]]]
        ordered = {p.name: signature[p.name] for p in function.params}
        values = {p.name: want["constants"].get(p.name, p.default) for p in constant}
        options = {name: want["constants"][name] for name in OPTIONS if name in want["constants"]}
        source = ASTSource(function, ordered, values, attributes)
        kernel = triton.compile(source, target=target, options={**options, "debug": job["debug"]})
        made.append((triton_facts(kernel, len(passed)), kernel.asm["cubin"]))
    return made


def triton_facts(kernel: Any, passed: int) -> dict[str, Any]:
    """How a compiled kernel wants to be launched; ``passed`` is the number of parameters that are the candidate's."""
    metadata = kernel.metadata
    said = re.search(r"\.entry\s+[\w$.]+\s*\(([^)]*)\)", kernel.asm["ptx"])
    hidden = (said[1].count(".param") if said else passed) - passed
    if not 0 <= hidden <= len(TRITON_SCRATCH):
        raise Wrong(f"this Triton passes {hidden} parameters of its own, which is not known here")
    clusters = getattr(metadata, "num_ctas", 1)
    return {
        "symbol": metadata.name,
        "block": (32 * metadata.num_warps, 1, 1),
        "cluster": (clusters, 1, 1) if clusters > 1 else None,
        "shared_bytes": metadata.shared,
        "scratch": [getattr(metadata, name, 0) for name in TRITON_SCRATCH[:hidden]],
    }


def with_cute(job: dict[str, Any]) -> list[tuple[dict[str, Any], bytes]]:
    """Each kernel's facts and cubin. A host function around each is written down, since the compiler reads sources."""
    os.environ["CUTE_DSL_ARCH"] = job["architecture"]
    import cutlass
    from cutlass import cute
    from cutlass.cute.runtime import make_ptr

    module = module_of(job["source"])
    made = []
    for want in job["kernels"]:
        kernel = found(module, want["kernel"])
        text, arguments = "", []
        written = []
        given = iter(enumerate(want["arguments"]))
        parameters = inspect.signature(kernel).parameters.values()
        constant = {p.name for p in parameters if "Constexpr" in str(p.annotation)}
        match(want["kernel"], [p.name for p in parameters if p.name not in constant], want["arguments"])
        taken(want, constant)
        for parameter in parameters:
            if parameter.name in constant:
                value = want["constants"].get(parameter.name, parameter.default)
                if value is parameter.empty:
                    raise Wrong(f"{want['kernel']}: no tunable or constant gives {parameter.name} a value")
                written.append(repr(value))
                continue
            index, argument = next(given)
            dtype = getattr(cutlass, CUTE_TYPES[argument["dtype"]])
            if argument["pointer"]:
                arguments.append(make_ptr(dtype, 0, cute.AddressSpace.gmem, assumed_align=argument["divisible"]))
                text += f", a{index}: cute.Pointer"
            else:
                arguments.append(dtype(0))
                text += f", a{index}: cutlass.{dtype.__name__}"
            written.append(f"a{index}")
        cluster = f", cluster={list(want['cluster'])}" if want["cluster"] else ""
        host = os.path.join(tempfile.mkdtemp(), "stated_launch.py")
        with open(host, "w") as file:
            file.write(
                "import cutlass\nfrom cutlass import cute\n\n\n@cute.jit\n"
                f"def launch(kernel: cutlass.Constexpr{text}):\n"
                f"    kernel({', '.join(written)}).launch(grid=[1, 1, 1], block={list(want['block'])}{cluster})\n"
            )
        options = f"--keep-cubin --dump-dir={os.path.dirname(host)} --gpu-arch {job['architecture']}"
        done = cute.compile(module_of(host).launch, kernel, *arguments, options=options)
        symbols = list(done.kernel_info)
        if len(symbols) != 1:
            raise Wrong(f"{want['kernel']} became {len(symbols)} kernels")
        made.append(({"symbol": symbols[0], "scratch": []}, bytes(done.__cubin__)))
    return made


def compile_job(job: dict[str, Any]) -> None:
    """Compile as the job says. Raises whatever the module or the compiler raises."""
    home = tempfile.mkdtemp()
    os.environ.update(HOME=home, TRITON_CACHE_DIR=os.path.join(home, "triton"), TRITON_ALWAYS_COMPILE="1")
    made = {"triton": with_triton, "cute": with_cute}[job["backend"]](job)
    with open(job["output"], "wb") as output:
        output.write(json.dumps([{**facts, "bytes": len(cubin)} for facts, cubin in made]).encode() + b"\n")
        for _, cubin in made:
            output.write(cubin)


def explained(error: BaseException) -> str:
    """An error in a line that has the word in it, then where it came from."""
    if isinstance(error, Wrong):
        return f"error: {error}\n"
    trace = "".join(traceback.format_exception(error))
    first = error
    while first.__cause__ is not None:
        first = first.__cause__
    lines = [line.strip() for line in str(first).splitlines() if line.strip(" ^")]
    return f"error: {type(error).__name__}: {''.join(lines[-1:])}\n{trace[-PRINTED // 2 :]}"


def apart(job: dict[str, Any]) -> NoReturn:
    """Compile in a child, whose prints go to a file: a compiler may dump megabytes before it says what is wrong."""
    printed = tempfile.TemporaryFile()  # noqa: SIM115 (two processes share it)
    said, saying = os.pipe()
    child = os.fork()
    if not child:
        os.close(said)
        for stream in (1, 2):
            os.dup2(printed.fileno(), stream)
        status = 0
        try:
            compile_job(job)
        except BaseException as error:  # noqa: BLE001 (a process edge: the module may raise anything)
            os.write(saying, explained(error).encode()[:PRINTED])
            status = FAILED
        sys.stdout.flush()
        os._exit(status)
    os.close(saying)
    with os.fdopen(said, "rb") as words:
        summary = words.read(PRINTED)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended == -signal.SIGKILL:
        os.kill(os.getpid(), signal.SIGKILL)
    if ended < 0:
        summary += f"error: the compiler ended by {signal.Signals(-ended).name}\n".encode()
    printed.seek(0)
    sys.stdout.flush()
    os.write(1, summary + printed.read(PRINTED))
    sys.exit(ended if ended in (0, FAILED) else FAILED)


def main() -> None:
    """One of the two verbs above."""
    if sys.argv[1] == "version":
        sys.path.extend(p for p in json.loads(sys.argv[3]) if p not in sys.path)
        sys.stdout.write(f"{version(sys.argv[2])}\n")
        return
    with open(sys.argv[2]) as file:
        job = json.load(file)
    sys.path.extend(p for p in job["paths"] if p not in sys.path)
    apart(job)


if __name__ == "__main__":
    main()
