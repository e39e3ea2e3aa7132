"""The clock of the device contract against kernels that know where it keeps its stamps, and with what keys."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from warpsmith.judge.trusted import cubin
from warpsmith.model.base import digest_bytes
from warpsmith.model.candidate import Candidate, SourceFile
from warpsmith.model.target import Target
from warpsmith.toolchains.cache import build

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]
ATTACKS = """
typedef unsigned long long u64;
__device__ u64 now() { u64 t; asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t)); return t; }
__device__ void work(u64 ns) { u64 t = now(); while (now() - t < ns) {} }
#define ATTACK(name) extern "C" __global__ void name(volatile u64 *first, u64 a, volatile u64 *last, u64 b)
ATTACK(honest) { work(30000); }
ATTACK(begins_later) { work(30000); *first = now() ^ a; work(3000); }
ATTACK(ends_earlier) { *last = (now() + 3000) ^ b; work(90000); }
ATTACK(writes_beside) { work(30000); first[1 - 2 * ((u64)first / 8 % 2)] = 7; work(3000); }
"""
PROGRAM = """
import ctypes, gc, json, sys
from cuda.bindings import driver as cu
from warpsmith.judge.stamps import Clock, Doubtful, Forged, ask
said = json.loads(sys.argv[1])
ask(cu.cuInit, 0)
ask(cu.cuCtxSetCurrent, ask(cu.cuDevicePrimaryCtxRetain, ask(cu.cuDeviceGet, 0)))
stream = ask(cu.cuStreamCreate, 1)
stamps, attacks = (ask(cu.cuModuleLoadData, bytes.fromhex(said[n])) for n in ("stamps", "attacks"))
clock = Clock(cu, stream, ask(cu.cuModuleGetFunction, stamps, b"stamp"))
attack = ask(cu.cuModuleGetFunction, attacks, said["kernel"].encode())
gc.disable()
host = int(ask(cu.cuMemHostAlloc, 4096, cu.CU_MEMHOSTALLOC_DEVICEMAP))
gate, held, turn = ctypes.c_uint32.from_address(host), ask(cu.cuMemHostGetDevicePointer, host, 0), 0

def call(held_back=True):
    global turn
    turn += held_back
    if held_back:
        ask(cu.cuStreamWaitValue32, stream, held, turn, 0)
    enqueue()
    clock.opening()
    gate.value = turn

def enqueue():
    clock.begin()
    (first, last), (a, b) = clock.slots, clock.keys
    values = (clock.address + 8 * first, a, clock.address + 8 * last, b)
    kinds = (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64)
    ask(cu.cuLaunchKernel, attack, 1, 1, 1, 1, 1, 1, 0, stream, (values, kinds), 0)
    if said["kernel"] == "ends_earlier" and said["silent"]:
        return  # as if it had silenced the last stamp, too
    if said["shifted"]:  # as if the kernel had changed a parameter of the last stamp, which it cannot see
        key = clock.keys[1]
        clock.keys = (a, b ^ 0x4000)
        clock.end()
        clock.keys = (a, key)
        return
    clock.end()

seconds, disturbed = [], []
try:
    call(held_back=False)
    clock.unwatched()
    for _ in range(20):
        call()
        one, why = clock.watched()
        seconds.append(one)
        disturbed.append(why)
except (Forged, Doubtful) as forged:
    print(json.dumps(str(forged)))
else:
    print(json.dumps([seconds, disturbed]))
"""


@pytest.fixture(scope="module")
def cubins(tmp_path_factory: pytest.TempPathFactory, gpu_target: Target) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("attacks")
    (folder / "attacks.cu").write_text(ATTACKS)
    source = SourceFile(path="attacks.cu", content=digest_bytes(ATTACKS.encode()))
    made = build(
        Candidate(toolchain="cuda", entry="honest", sources=(source,)), folder, gpu_target, "release", folder / "b"
    )
    stamps = cubin("stamps.cu", "stamp", gpu_target, folder / "b")
    return {"stamps": stamps.hex(), "attacks": made.binary.read_bytes().hex()}


def run(cubins: dict[str, str], kernel: str, **how: bool) -> object:
    said = json.dumps({**cubins, "kernel": kernel, "silent": False, "shifted": False, **how})
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, said], capture_output=True, text=True, check=False, timeout=60,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_honest_kernel_takes_its_time(cubins: dict[str, str]) -> None:
    answer = run(cubins, "honest")
    assert isinstance(answer, list), answer
    seconds, disturbed = answer
    assert all(30e-6 < s < 45e-6 for s in seconds)
    assert sum(map(bool, disturbed)) < 20


@pytest.mark.parametrize("kernel", ["begins_later", "ends_earlier", "writes_beside"])
def test_a_kernel_that_knows_the_place_and_the_key_is_found(cubins: dict[str, str], kernel: str) -> None:
    assert run(cubins, kernel) == "it wrote where the judge keeps its clock"


def test_silencing_the_last_stamp_does_not_help(cubins: dict[str, str]) -> None:
    answer = run(cubins, "ends_earlier", silent=True)
    assert isinstance(answer, str)
    # on a busy host the clock outside says it first
    assert answer.startswith(("it was still running", "its time stamps do not agree with the clock outside"))


def test_changing_what_a_stamp_writes_does_not_help(cubins: dict[str, str]) -> None:
    answer = run(cubins, "honest", shifted=True)
    assert isinstance(answer, str)
    assert answer.startswith(("its time stamps do not agree with the clock outside", "its last time stamp is before"))
