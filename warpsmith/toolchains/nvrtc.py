"""NVRTC in a short-lived process of its own: CUDA source to a cubin. Standard library and ``cuda.bindings.nvrtc`` only.

Started by file path, never imported: hostile source must not meet a compiler inside the judge's process.

    nvrtc.py version PATHS          prints NVRTC's version; PATHS is a JSON list for ``sys.path``
    nvrtc.py wait PATHS OPTIONS     gets warm by compiling next to nothing with OPTIONS (JSON), then reads a line from
                                    standard input: the path of a JOB.json, which it compiles in the folder beside it
    nvrtc.py compile JOB.json       ``paths``, ``source``, ``options``, ``output``; the log goes to standard output

Exit status 0: done. 1: the source does not compile. 3: NVRTC cannot be used.
"""

import ctypes
import glob
import json
import os
import sys
from typing import Any

FAILED, UNUSABLE = 1, 3


def load(paths: list[str]) -> Any:
    """The bindings, with the library loaded; ends the process where that fails."""
    sys.path.extend(p for p in paths if p not in sys.path)
    try:
        preload(paths)
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except (ImportError, OSError, RuntimeError) as error:
        sys.stdout.write(f"NVRTC cannot be used: {error}\n")
        sys.exit(UNUSABLE)
    return nvrtc


def preload(paths: list[str]) -> None:
    """Load the wheel's library: the bindings look for it in the interpreter's own site folder, not on ``sys.path``."""
    for path in paths:
        found = sorted(glob.glob(f"{glob.escape(path)}/nvidia/*/lib/libnvrtc*.so.1[23]*"))  # builtins sort first
        for library in (name for name in found if ".alt." not in name):
            ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
        if found:
            return


def ask(nvrtc: Any, function: str, *arguments: Any) -> Any:
    """Call the library; its value. Ends the process with the library's own name of an error."""
    status, *values = getattr(nvrtc, function)(*arguments)
    if int(status) != 0:
        sys.stdout.write(f"error: {function} gave {status.name}\n")
        sys.exit(FAILED)
    return values[0] if values else None


def compile_job(path: str) -> None:
    """Compile as the job says."""
    with open(path) as file:
        job = json.load(file)
    nvrtc = load(job["paths"])
    with open(job["source"], "rb") as source:
        content = source.read()
    program = ask(nvrtc, "nvrtcCreateProgram", content, job["source"].encode(), 0, [], [])
    options = [option.encode() for option in job["options"]]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    log = bytearray(ask(nvrtc, "nvrtcGetProgramLogSize", program))
    ask(nvrtc, "nvrtcGetProgramLog", program, log)
    sys.stdout.write(bytes(log).rstrip(b"\0 \n").decode(errors="replace") + "\n")
    if int(status) != 0:
        sys.exit(FAILED)
    cubin = bytearray(ask(nvrtc, "nvrtcGetCUBINSize", program))
    ask(nvrtc, "nvrtcGetCUBIN", program, cubin)
    with open(job["output"], "wb") as output:
        output.write(cubin)


def wait(paths: list[str], options: list[str]) -> None:
    """Load all that the first compilation loads, then compile one job; none where standard input ends first."""
    nvrtc = load(paths)
    given = [option.encode() for option in options]
    program = ask(nvrtc, "nvrtcCreateProgram", b"#include <cuda_bf16.h>\n__global__ void f() {}", b"f.cu", 0, [], [])
    nvrtc.nvrtcCompileProgram(program, len(given), given)
    job = sys.stdin.readline().rstrip("\n")
    if job:
        os.chdir(os.path.join(os.path.dirname(job), "sources"))
        compile_job(job)
    sys.stdout.flush()
    os._exit(0)  # taking the interpreter down takes as long as compiling


def main() -> None:
    """One of the verbs above."""
    if sys.argv[1] == "version":
        sys.stdout.write(".".join(str(part) for part in load(json.loads(sys.argv[2])).nvrtcVersion()[1:]) + "\n")
    elif sys.argv[1] == "wait":
        wait(json.loads(sys.argv[2]), json.loads(sys.argv[3]))
    else:
        compile_job(sys.argv[2])


if __name__ == "__main__":
    main()
