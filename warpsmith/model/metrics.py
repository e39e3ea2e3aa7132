"""The one table of metrics: what each is called here and by the profiler, its unit, its group, and how it is derived.

A profile holds metrics by these keys; rules, reports and skills name nothing else. Shares lie in 0..1, times are in
seconds, sizes in bytes. Profilers' names are Nsight Compute's; a source says for which architectures it exists, and the
first source that a report can serve gives the value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

AMPERE, ADA, HOPPER, BLACKWELL = 80, 89, 90, 100


class Group(StrEnum):
    """Where a metric stands in a report."""

    roofline = "roofline"
    memory = "memory"
    stalls = "warp stalls"
    occupancy = "occupancy"
    instructions = "instructions"
    launch = "launch"


@dataclass(frozen=True)
class Source:
    """One way to a value: ``scale * of / over``, each the sum of its terms ``name`` or ``factor * name``."""

    of: tuple[str, ...]
    over: tuple[str, ...] = ()
    scale: float = 1.0
    least: int = AMPERE
    """Architecture (80, 90, ...) from which on the profiler knows these names."""
    most: int = 999
    largest: bool = False
    """Whether ``of`` means the largest of its terms instead of their sum."""
    idle: float | None = None
    """The value of nothing over nothing: what a kernel shows that has no such work. None: then there is none."""

    @property
    def names(self) -> tuple[str, ...]:
        """The profiler's names that this needs."""
        return tuple(term.rpartition("*")[2] for term in (*self.of, *self.over))

    def value(self, raw: Mapping[str, float]) -> float | None:
        """The value, from the profiler's own; None where one is missing, not finite, or divided by nothing."""
        top = _terms(self.of, raw)
        bottom = _terms(self.over, raw) if self.over else [1.0]
        if top is None or bottom is None:
            return None
        return self._ratio(max(top) if self.largest else sum(top), sum(bottom))

    def _ratio(self, top: float, bottom: float) -> float | None:
        if bottom == 0:
            return self.idle if top == 0 else None
        answer = self.scale * top / bottom
        return answer if math.isfinite(answer) else None


def _terms(terms: tuple[str, ...], raw: Mapping[str, float]) -> list[float] | None:
    """The values of some terms; None where one is missing or not finite."""
    values = []
    for term in terms:
        factor, _, name = term.rpartition("*")
        value = raw.get(name)
        if value is None or not math.isfinite(value):
            return None
        values.append((float(factor) if factor else 1.0) * value)
    return values


@dataclass(frozen=True)
class MetricSpec:
    """One line of the table."""

    key: str
    label: str
    unit: str
    """``share`` (0..1), ``s``, ``byte``, ``byte/s``, ``flop/s``, ``ratio`` or what is counted, such as ``inst``."""
    group: Group
    sources: tuple[Source, ...]
    quick: bool = True
    """Whether the quick effort collects it: some rule needs it."""

    def source(self, architecture: int) -> Source | None:
        """The source to ask a profiler for on an architecture; None where it has none."""
        return next((s for s in self.sources if s.least <= architecture <= s.most), None)


def _m(key: str, label: str, unit: str, group: Group, *sources: Source | str, quick: bool = True) -> MetricSpec:
    ways = tuple(s if isinstance(s, Source) else Source((s,)) for s in sources)
    return MetricSpec(key, label, unit, group, ways, quick)


def _percent(name: str, least: int = AMPERE, most: int = 999) -> Source:
    """A share, from one that is given in per cent."""
    return Source((name,), scale=0.01, least=least, most=most)


STALLS = {
    "long_scoreboard": "waits for global, local or texture memory",
    "short_scoreboard": "waits for shared memory, special functions or dynamic branches",
    "mio_throttle": "queue of the memory input/output unit is full",
    "lg_throttle": "queue of local and global accesses is full",
    "tex_throttle": "queue of the texture unit is full",
    "math_pipe_throttle": "arithmetic pipe is busy",
    "wait": "fixed latency of the instruction before",
    "barrier": "waits for its block at a barrier",
    "membar": "waits for a memory fence",
    "dispatch_stall": "dispatcher holds it back",
    "drain": "waits for its stores at exit",
    "imc_miss": "constant cache missed",
    "no_instruction": "instruction cache missed or a branch was taken",
    "sleeping": "sleeps",
    "branch_resolving": "branch target is being computed",
    "not_selected": "ready, but another warp was issued",
    "selected": "issued",
    "misc": "anything else",
    "gmma": "waits for asynchronous matrix instructions of its warp group",
}
"""Why a warp does not issue, by the profiler's word for it."""

_KNOWN = {"gmma": (HOPPER, BLACKWELL - 1), "imc_miss": (AMPERE, BLACKWELL - 1)}
_ONLY_FULL = ("tex_throttle", "dispatch_stall", "sleeping", "selected", "misc")
_SAMPLED_AS = {"math_pipe_throttle": "math_pipe", "no_instructions": "no_instruction", "warpgroup_arrive": "gmma"}
_PER_ISSUE = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"
_LATENCY = "smsp__average_warp_latency_per_inst_issued.ratio"


def stall_key(word: str) -> str:
    """The metric key of a stall, from the profiler's word for it in a counter or a sample (``long_scoreboard``)."""
    return "stall_" + _SAMPLED_AS.get(word, word)


def _stall(word: str, label: str) -> MetricSpec:
    least, most = _KNOWN.get(word, (AMPERE, 999))
    ratio = Source((_PER_ISSUE.format(word),), (_LATENCY,), least=least, most=most)
    return _m(stall_key(word), f"stalled: {label}", "share", Group.stalls, ratio, quick=word not in _ONLY_FULL)


def _flops(letter: str) -> tuple[str, ...]:
    op = "smsp__sass_thread_inst_executed_op_{}_pred_on.sum"
    return (op.format(letter + "add"), op.format(letter + "mul"), "2*" + op.format(letter + "fma"))


_PEAK_ELAPSED = ".avg.pct_of_peak_sustained_elapsed"
_PEAK_ACTIVE = ".avg.pct_of_peak_sustained_active"
_L2_PATHS = tuple(
    f"lts__{path}{_PEAK_ELAPSED}" for path in ("lts2xbar_cycles_active", "xbar2lts_cycles_active", "t_sectors")
)
_LSU = "l1tex__t_{}_pipe_lsu_mem_{}_op_{}.sum"
_SECONDS = "1e-9*gpu__time_duration.sum"
_DRAM = ("dram__bytes_read.sum", "dram__bytes_write.sum")
_SHARED_LD = "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_ld.sum"
_SHARED_ST = "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_st.sum"
_CONFLICTS = "l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_{}.sum"
_OPS = "sm__ops_path_tensor_src_{}.sum"
_SASS = "smsp__sass_inst_executed_op_{}.sum"
_TENSOR = "sm__inst_executed_pipe_tensor_op_{}.sum"

_TENSOR_OPERANDS: dict[str, tuple[tuple[tuple[str, ...], int, int], ...]] = {
    "f16": ((("fp16",), HOPPER, BLACKWELL - 1), (("fp16_dst_fp16", "fp16_dst_fp32"), AMPERE, 999)),
    "bf16": ((("bf16_dst_fp32",), AMPERE, 999),),
    "tf32": ((("tf32_dst_fp32",), AMPERE, 999),),
    "f64": ((("fp64",), AMPERE, 999),),
    "int8": ((("int8",), AMPERE, 999),),
    "fp8": ((("fp8",), ADA, BLACKWELL - 1),),
}
"""Operations of the tensor cores by the type of their operands: the profiler's words, and where it knows them."""

_ROWS = (
    # Roofline: shares of what each unit can sustain, and the work done.
    _m("duration", "time under the profiler", "s", Group.roofline, Source((_SECONDS,))),
    _m("sm", "SM throughput", "share", Group.roofline, _percent("sm__throughput" + _PEAK_ELAPSED)),
    _m("memory", "memory throughput, the busiest level", "share", Group.roofline,
       _percent("gpu__compute_memory_throughput" + _PEAK_ELAPSED)),
    _m("dram", "DRAM throughput", "share", Group.roofline, _percent("gpu__dram_throughput" + _PEAK_ELAPSED)),
    _m("l2", "L2 data paths to and from the SMs", "share", Group.roofline, Source(_L2_PATHS, scale=0.01, largest=True)),
    _m("l1", "L1 and shared-memory throughput", "share", Group.roofline, _percent("l1tex__throughput" + _PEAK_ELAPSED)),
    _m("shared", "shared-memory data path", "share", Group.roofline,
       _percent("l1tex__data_pipe_lsu_wavefronts_mem_shared" + ".sum.pct_of_peak_sustained_elapsed")),
    _m("pipe_fma", "fp32 pipe", "share", Group.roofline, _percent("sm__pipe_fma_cycles_active" + _PEAK_ELAPSED)),
    _m("pipe_alu", "integer and logic pipe", "share", Group.roofline,
       _percent("sm__pipe_alu_cycles_active" + _PEAK_ELAPSED)),
    _m("pipe_fp64", "fp64 pipe", "share", Group.roofline, _percent("sm__pipe_fp64_cycles_active" + _PEAK_ELAPSED)),
    _m("pipe_fp16", "fp16 pipe", "share", Group.roofline,
       _percent("sm__inst_executed_pipe_fp16" + _PEAK_ELAPSED, most=ADA - 1),
       _percent("sm__inst_executed_pipe_fma_type_fp16" + _PEAK_ELAPSED, least=ADA)),
    _m("pipe_xu", "special-function pipe", "share", Group.roofline,
       _percent("sm__inst_executed_pipe_xu" + _PEAK_ELAPSED)),
    _m("pipe_lsu", "load and store pipe", "share", Group.roofline,
       _percent("sm__inst_executed_pipe_lsu" + _PEAK_ELAPSED)),
    _m("pipe_tensor", "tensor pipe", "share", Group.roofline,
       _percent("sm__pipe_tensor_cycles_active" + _PEAK_ELAPSED)),
    _m("dram_bytes", "DRAM traffic", "byte", Group.roofline, Source(_DRAM)),
    _m("dram_rate", "DRAM rate", "byte/s", Group.roofline, Source(_DRAM, (_SECONDS,))),
    _m("l2_bytes", "traffic between SMs and L2", "byte", Group.roofline,
       Source(("32*lts__t_sectors_srcunit_tex.sum",))),
    _m("fp32_rate", "fp32 rate", "flop/s", Group.roofline, Source(_flops("f"), (_SECONDS,))),
    _m("fp64_rate", "fp64 rate", "flop/s", Group.roofline, Source(_flops("d"), (_SECONDS,))),
    _m("fp16_rate", "fp16 rate", "flop/s", Group.roofline, Source(_flops("h"), (_SECONDS,)), quick=False),
    *(
        _m(f"tensor_{name}_rate", f"tensor {name} rate", "flop/s", Group.roofline,
           *(Source(tuple(_OPS.format(s) for s in of), (_SECONDS,), least=least, most=most)
             for of, least, most in ways), quick=False)
        for name, ways in _TENSOR_OPERANDS.items()
    ),
    # Memory: where the bytes go, and how well they are asked for.
    _m("dram_read_bytes", "DRAM read", "byte", Group.memory, "dram__bytes_read.sum"),
    _m("dram_write_bytes", "DRAM written", "byte", Group.memory, "dram__bytes_write.sum"),
    _m("l1_hit", "L1 hit rate", "share", Group.memory, _percent("l1tex__t_sector_hit_rate.pct")),
    _m("l2_hit", "L2 hit rate", "share", Group.memory, _percent("lts__t_sector_hit_rate.pct")),
    _m("l2_read_hit", "L2 hit rate of reads", "share", Group.memory, _percent("lts__t_sector_op_read_hit_rate.pct")),
    _m("compulsory_bytes", "least traffic that the work needs, known by the judge", "byte", Group.memory),
    _m("load_requests", "global load requests", "request", Group.memory, _LSU.format("requests", "global", "ld")),
    _m("load_sectors", "global load sectors", "sector", Group.memory, _LSU.format("sectors", "global", "ld")),
    _m("store_requests", "global store requests", "request", Group.memory, _LSU.format("requests", "global", "st")),
    _m("store_sectors", "global store sectors", "sector", Group.memory, _LSU.format("sectors", "global", "st")),
    _m("load_bytes_per_sector", "bytes used per sector loaded", "byte", Group.memory,
       "smsp__sass_average_data_bytes_per_sector_mem_global_op_ld.ratio"),
    _m("store_bytes_per_sector", "bytes used per sector stored", "byte", Group.memory,
       "smsp__sass_average_data_bytes_per_sector_mem_global_op_st.ratio"),
    _m("sectors_over_ideal", "global sectors moved over the least possible", "ratio", Group.memory,
       Source(("memory_l2_theoretical_sectors_global",), ("memory_l2_theoretical_sectors_global_ideal",), idle=1.0)),
    _m("ideal_sectors", "least global sectors for the bytes asked for", "sector", Group.memory,
       "memory_l2_theoretical_sectors_global_ideal"),
    _m("shared_wavefronts", "shared-memory wavefronts", "wavefront", Group.memory, Source((_SHARED_LD, _SHARED_ST))),
    _m("shared_over_ideal", "shared-memory wavefronts over the least possible", "ratio", Group.memory,
       Source(("memory_l1_wavefronts_shared",), ("memory_l1_wavefronts_shared_ideal",), idle=1.0)),
    _m("bank_conflicts", "shared-memory bank conflicts", "wavefront", Group.memory,
       Source((_CONFLICTS.format("ld"), _CONFLICTS.format("st")))),
    _m("local_sectors", "local-memory sectors", "sector", Group.memory,
       Source((_LSU.format("sectors", "local", "ld"), _LSU.format("sectors", "local", "st")))),
    # Warp stalls: shares of the time that warps are resident.
    *(_stall(name, label) for name, label in STALLS.items()),
    # Occupancy.
    _m("occupancy", "achieved occupancy", "share", Group.occupancy, _percent("sm__warps_active" + _PEAK_ACTIVE)),
    _m("occupancy_limit", "theoretical occupancy", "share", Group.occupancy,
       _percent("sm__maximum_warps_per_active_cycle_pct")),
    _m("blocks_by_registers", "blocks per SM by registers", "block", Group.occupancy,
       "launch__occupancy_limit_registers"),
    _m("blocks_by_shared", "blocks per SM by shared memory", "block", Group.occupancy,
       "launch__occupancy_limit_shared_mem"),
    _m("blocks_by_warps", "blocks per SM by warps", "block", Group.occupancy, "launch__occupancy_limit_warps"),
    _m("blocks_by_slots", "blocks per SM by block slots", "block", Group.occupancy, "launch__occupancy_limit_blocks"),
    _m("eligible_warps", "warps ready to issue, per scheduler", "warp", Group.occupancy,
       "smsp__warps_eligible.avg.per_cycle_active"),
    _m("sm_busy", "share of the time in which an SM has work", "share", Group.occupancy,
       Source(("sm__cycles_active.avg",), ("sm__cycles_elapsed.max",))),
    # Instructions.
    _m("ipc", "instructions per cycle and SM, while active", "inst/cycle", Group.instructions,
       "sm__inst_executed.avg.per_cycle_active"),
    _m("issue_active", "share of cycles in which a scheduler issues", "share", Group.instructions,
       _percent("smsp__issue_active" + _PEAK_ACTIVE), Source(("smsp__issue_active.avg.per_cycle_active",))),
    _m("instructions", "warp instructions", "inst", Group.instructions, "smsp__inst_executed.sum"),
    _m("ffma", "fp32 multiply-adds, by thread", "inst", Group.instructions,
       "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum"),
    _m("hfma", "fp16 multiply-adds, by thread", "inst", Group.instructions,
       "smsp__sass_thread_inst_executed_op_hfma_pred_on.sum"),
    _m("dfma", "fp64 multiply-adds, by thread", "inst", Group.instructions,
       "smsp__sass_thread_inst_executed_op_dfma_pred_on.sum"),
    _m("tensor_instructions", "tensor instructions", "inst", Group.instructions, "sm__inst_executed_pipe_tensor.sum"),
    _m("mma_instructions", "warp-wide matrix instructions (mma)", "inst", Group.instructions,
       Source((_TENSOR.format("hmma"),), most=BLACKWELL - 1),
       Source(("sm__inst_executed_pipe_tensor_subpipe_hmma.sum",), least=BLACKWELL)),
    _m("wgmma_instructions", "asynchronous matrix instructions (wgmma)", "inst", Group.instructions,
       Source((_TENSOR.format("gmma"),), least=HOPPER, most=BLACKWELL - 1)),
    _m("load_instructions", "global load instructions", "inst", Group.instructions, _SASS.format("global_ld")),
    _m("store_instructions", "global store instructions", "inst", Group.instructions, _SASS.format("global_st")),
    _m("tma_instructions", "TMA instructions", "inst", Group.instructions,
       Source(("sm__inst_executed_pipe_tma.sum",), least=HOPPER)),
    _m("async_copies", "asynchronous copies to shared memory (cp.async)", "inst", Group.instructions,
       _SASS.format("ldgsts")),
    _m("local_instructions", "local-memory instructions", "inst", Group.instructions, _SASS.format("local")),
    _m("shared_instructions", "shared-memory instructions", "inst", Group.instructions, _SASS.format("shared")),
    # Launch.
    _m("grid_size", "blocks", "block", Group.launch, "launch__grid_size"),
    _m("block_size", "threads per block", "thread", Group.launch, "launch__block_size"),
    _m("registers", "registers per thread", "register", Group.launch, "launch__registers_per_thread"),
    _m("shared_bytes", "shared memory per block", "byte", Group.launch,
       Source(("launch__shared_mem_per_block_static", "launch__shared_mem_per_block_dynamic"))),
    _m("waves_per_sm", "waves", "wave", Group.launch, "launch__waves_per_multiprocessor"),
    _m("sm_count", "SMs", "SM", Group.launch, "device__attribute_multiprocessor_count"),
    _m("l2_capacity", "size of the L2", "byte", Group.launch, "device__attribute_l2_cache_size"),
    # A processor's, simulated by callgrind.
    _m("cpu_instructions", "instructions of the processor", "inst", Group.instructions, quick=False),
    _m("cpu_reads", "reads of memory", "access", Group.memory, quick=False),
    _m("cpu_writes", "writes to memory", "access", Group.memory, quick=False),
    _m("cpu_l1_misses", "misses of the processor's first cache", "access", Group.memory, quick=False),
    _m("cpu_ll_misses", "misses of the processor's last cache", "access", Group.memory, quick=False),
)  # fmt: skip

METRICS: dict[str, MetricSpec] = {spec.key: spec for spec in _ROWS}


def wanted(architecture: int, *, quick: bool) -> tuple[str, ...]:
    """The profiler's names to collect on an architecture (80, 90, 100), each once, in the order of the table."""
    names: dict[str, None] = {}
    for spec in METRICS.values():
        source = spec.source(architecture)
        if source is not None and (spec.quick or not quick):
            names.update(dict.fromkeys(source.names))
    return tuple(names)


def read(
    raw: Mapping[str, float], architecture: int, *, quick: bool = False
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Metrics by key from the profiler's own names and values (its base units), and the keys that it could not give."""
    metrics: dict[str, float] = {}
    missing: list[str] = []
    for spec in METRICS.values():
        ways = [s for s in spec.sources if s.least <= architecture <= s.most]
        value = next((v for s in ways if (v := s.value(raw)) is not None), None)
        if value is not None:
            metrics[spec.key] = value
        elif ways and (spec.quick or not quick):
            missing.append(spec.key)
    return metrics, tuple(missing)


_SYMBOLS = {"byte": "B", "byte/s": "B/s", "flop/s": "FLOP/s", "ratio": ""}
_LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SMALL = ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))


def show(key: str, value: float) -> str:
    """A value as people read it: ``82 %``, ``3.1 us``, ``1.2 TB/s``, ``12.5 Minst``."""
    unit = METRICS[key].unit if key in METRICS else ""
    if unit == "share":
        return f"{100 * value:.3g} %"
    prefixes = _SMALL if unit == "s" else _LARGE
    factor, prefix = next(((f, p) for f, p in prefixes if abs(value) >= f), (1.0, ""))
    return f"{value / factor:.3g} {prefix}{_SYMBOLS.get(unit, unit)}".rstrip()
