"""The C functions of one row that is launched on a GPU: load the cubin, evaluate the plan, launch."""

from __future__ import annotations

from collections.abc import Iterable

from warpsmith.model.candidate import Launch, TensorMap
from warpsmith.model.task import Dtype
from warpsmith.ship.export.expressions import Term, Writer
from warpsmith.ship.export.family import Family, Member

C_TYPES = {
    Dtype.f64: "double", Dtype.f32: "float", Dtype.f16: "uint16_t", Dtype.bf16: "uint16_t",
    Dtype.i64: "int64_t", Dtype.i32: "int32_t", Dtype.i8: "int8_t", Dtype.u8: "uint8_t",
}  # fmt: skip
MAP_TYPES = {
    Dtype.f64: 8, Dtype.f32: 7, Dtype.f16: 6, Dtype.bf16: 9, Dtype.i64: 5, Dtype.i32: 3, Dtype.i8: 0, Dtype.u8: 0,
}  # fmt: skip
"""CUtensorMapDataType."""
SWIZZLES = {"none": 0, "32B": 1, "64B": 2, "128B": 3}
INTERLEAVES = {"none": 0, "16B": 1, "32B": 2}
PROMOTIONS = {"none": 0, "64B": 1, "128B": 2, "256B": 3}


class DeviceRow:
    """The functions of a row that is launched on a GPU."""

    def __init__(self, family: Family, at: int, member: Member, blob: str) -> None:
        self.p, self.at, self.member, self.family, self.blob = family.name, at, member, family, blob
        self.candidate = member.manifest.candidate
        self.kernels = kernels_of(member)
        self.scratches = scratches_of(member)
        self.built = {index: k for k in member.build.kernels if k.compiled for index in k.compiled.launches}
        known = {
            a.name: Term(f"{'(double)' if a.element.is_float else '(int64_t)'}call->{a.name}", a.element.is_float)
            for a in self.family.scalars
        }
        known |= {axis: Term(f"call->{axis}") for axis in self.family.axes}
        known |= {name: Term(f"INT64_C({value})") for name, value in self.candidate.parameters.items()}
        known["SM_COUNT"] = Term("(int64_t)device->sm_count")
        self.writer = Writer(self.p, known)

    def functions(self) -> Iterable[str]:
        """Load, plan and launch."""
        yield self._load()
        yield self._plan()
        yield self._launch()

    def _load(self) -> str:
        p, at = self.p, self.at
        symbols = ", ".join(quoted(symbol) for _, symbol, _ in self.kernels)
        offsets = ", ".join(str(offset) for *_, offset in self.kernels)
        cluster = int(any(one.cluster for one in self.candidate.launch))
        cluster |= int(any(k.compiled and k.compiled.cluster for k in self.built.values()))
        return f"""static inline int {p}_row{at}_load({p}_device *device, int ordinal) {{
    static const char *const symbols[] = {{{symbols}}};
    static const size_t offsets[] = {{{offsets}}};
    return {p}_load_cubin(device, ordinal, {at}, {self.blob}, symbols, offsets, {len(self.kernels)}, {cluster});
}}"""

    def _plan(self) -> str:
        """Every number of the plan, once for a guard key."""
        p = self.p
        lines = ["    int bad = 0, any = 0;", "    int64_t at = 0;"]
        for slot, name in enumerate(self.scratches):
            lines += [
                f"    entry->scratch[{slot}] = at;",
                f"    {{ int64_t size = {self._scratch_bytes(name)};",
                f"      if (bad || size < 0 || size > (INT64_C(1) << 40)) return {p}_PLAN;",
                "      at += (size + 255) / 256 * 256; }",
            ]
        lines.append("    entry->scratch_bytes = at;")
        for index, launch in enumerate(self.candidate.launch):
            lines += self._planned(index, launch)
        for index, made in enumerate(self.candidate.tensor_map):
            lines += self._described(index, made)
        lines.append(f"    return bad || !any ? {p}_PLAN : 0;")
        body = "\n".join(lines)
        return (
            f"static inline int {p}_row{self.at}_plan(const {p}_call *call, const {p}_device *device, "
            f"{p}_entry *entry) {{\n    (void)call, (void)device;\n{body}\n}}"
        )

    def _scratch_bytes(self, name: str) -> str:
        """Stated in the plan, or a compiler's own: so many for each block of the largest launch."""
        stated = next((s for s in self.candidate.scratch if s.name == name), None)
        if stated is not None:
            return self.writer.whole(stated.bytes)
        made = "INT64_C(0)"
        for index, kernel in self.built.items():
            for position, size in enumerate(kernel.compiled.scratch if kernel.compiled else ()):
                if f"{kernel.name}:{position}" == name:
                    grid = [self.writer.whole(g) for g in self.candidate.launch[index].grid]
                    bytes_ = f"INT64_C({size * (kernel.compiled.cluster or (1,))[0] if kernel.compiled else size})"
                    for extent in grid:
                        bytes_ = f"{self.p}_mul({bytes_}, {self.p}_max(0, {extent}), &bad)"
                    made = f"{self.p}_max({made}, {bytes_})"
        return made

    def _planned(self, index: int, launch: Launch) -> list[str]:
        p, whole = self.p, self.writer.whole
        when = "1" if launch.when is None else self.writer.truth(launch.when)
        cluster = [whole(c) for c in launch.cluster] if launch.cluster else ["0", "0", "0"]
        grid, block = [whole(g) for g in launch.grid], [whole(b) for b in launch.block or (1, 1, 1)]
        shared = whole(launch.shared_bytes)
        compiled = self.built[index].compiled if index in self.built else None
        if compiled is not None:
            if compiled.cluster:
                cluster = [str(c) for c in compiled.cluster]
                grid[0] = f"{p}_mul({grid[0]}, {compiled.cluster[0]}, &bad)"
            if compiled.block:
                block = [str(b) for b in compiled.block]
            if compiled.shared_bytes is not None:
                shared = str(compiled.shared_bytes)
        divides = [f"(int64_t)call->{name} % {divisor} == 0" for name, divisor in launch.divisible.items()]
        lines = [f"    entry->launch[{index}].on = {when};", f"    if (entry->launch[{index}].on) {{"]
        if divides:
            lines.append(f"        if (!({' && '.join(divides)})) return {p}_PLAN;")
        return [
            *lines,
            f"        int64_t grid[3] = {{{', '.join(grid)}}}, block[3] = {{{', '.join(block)}}};",
            f"        int64_t cluster[3] = {{{', '.join(cluster)}}}, shared = {shared};",
            f"        if (bad || !{p}_possible(device, grid, block, cluster, shared, &entry->launch[{index}]))",
            f"            return {p}_PLAN;",
            "        any = 1;",
            "    }",
        ]

    def _described(self, index: int, made: TensorMap) -> list[str]:
        writer = self.writer
        dims = [writer.whole(d) for d in made.dims]
        size = self._map_type(made).itemsize
        strides = [writer.whole(s) for s in made.strides]
        if not strides:
            running = f"INT64_C({size})"
            for dim in dims[:-1]:
                running = f"{self.p}_mul({running}, {dim}, &bad)"
                strides.append(running)
        element = [writer.whole(e) for e in made.element_strides] or ["1"] * len(dims)
        lines = []
        for field_, texts in (
            ("dims", dims), ("strides", strides), ("box", [writer.whole(b) for b in made.box]),
            ("element_strides", element),
        ):  # fmt: skip
            wide = "uint64_t" if field_ in ("dims", "strides") else "uint32_t"
            lines += [f"        entry->map[{index}].{field_}[{i}] = ({wide}){text};" for i, text in enumerate(texts)]
        return [f"    if ({self._uses(made.name)}) {{", *lines, "    }"]

    def _uses(self, name: str) -> str:
        """Whether a launch is on that is passed the tensor map: elsewhere it need not be possible."""
        launches = enumerate(self.candidate.launch)
        return " || ".join(f"entry->launch[{i}].on" for i, one in launches if name in one.arguments) or "0"

    def _map_type(self, made: TensorMap) -> Dtype:
        tensors = {a.name: Dtype(self.member.row.dtypes[a.name]) for a in self.family.tensors}
        stated = {s.name: s.dtype for s in self.candidate.scratch}
        found = made.dtype or tensors.get(made.of) or stated.get(made.of)
        assert found is not None, "the plan was carried out when it was measured"
        return found

    def _address(self, name: str) -> str:
        if name in self.scratches:
            return f"(void *)((char *)call->scratch + entry->scratch[{self.scratches.index(name)}])"
        return f"call->{name}"

    def _launch(self) -> str:
        p, at = self.p, self.at
        lines = []
        for index, made in enumerate(self.candidate.tensor_map):
            where, kind = self._address(made.of), MAP_TYPES[self._map_type(made)]
            options = (
                f"{INTERLEAVES[made.interleave]}, {SWIZZLES[made.swizzle]}, {PROMOTIONS[made.l2_promotion]}, "
                f"{int(made.oob_fill == 'nan')}"
            )
            lines += [
                f"    {p}_map *map{index} = &entry->map[{index}];",
                f"    if (({self._uses(made.name)}) && map{index}->at != {where}) {{",
                f"        if ({p}_cu.encode(map{index}->bytes, {kind}, {len(made.dims)}, {where},",
                f"                          map{index}->dims, map{index}->strides, map{index}->box,",
                f"                          map{index}->element_strides, {options}))",
                f"            return {p}_PLAN;",
                f"        map{index}->at = {where};",
                "    }",
            ]
        lines.append(f"    int entered = {p}_enter(device);")
        lines.append(f"    if (entered < 0) return {p}_LOAD;")
        lines.append("    int failed = 0;")
        for index, launch in enumerate(self.candidate.launch):
            lines += self._started(index, launch)
        lines += [f"    {p}_leave(entered);", "    return -failed;"]
        body = "\n".join(lines)
        return (
            f"static inline int {p}_row{at}_launch(const {p}_call *call, {p}_device *device, {p}_entry *entry, "
            f"void *stream) {{\n{body}\n}}"
        )

    def _started(self, index: int, launch: Launch) -> list[str]:
        """The parameters of one launch, in an array of their addresses."""
        p = self.p
        maps = [m.name for m in self.candidate.tensor_map]
        numbers = {a.name: C_TYPES[a.element] for a in self.family.task.arguments if not a.is_tensor}
        lines, addresses = [], []
        for position, name in enumerate(launch.arguments):
            if name in maps:
                addresses.append(f"(void *)entry->map[{maps.index(name)}].bytes")
                continue
            kind, value = (numbers[name], f"call->{name}") if name in numbers else ("void *", self._address(name))
            lines.append(f"        {kind} a{position} = {value};")
            addresses.append(f"&a{position}")
        kernel = self.built.get(index)
        for position, size in enumerate(kernel.compiled.scratch if kernel and kernel.compiled else ()):
            value = self._address(f"{kernel.name}:{position}") if kernel and size else "0"
            lines.append(f"        void *hidden{position} = {value};")
            addresses.append(f"&hidden{position}")
        which = next(
            i for i, (name, *_) in enumerate(self.kernels) if name == (kernel.name if kernel else launch.kernel)
        )
        return [
            f"    if (!failed && entry->launch[{index}].on) {{",
            *lines,
            f"        void *parameters[] = {{{', '.join(addresses) or '0'}}};",
            f"        failed = {p}_start(device, {self.at}, {which}, &entry->launch[{index}], parameters, stream);",
            "    }",
        ]


def kernels_of(member: Member) -> list[tuple[str, str, int]]:
    """Name, symbol and offset in the artefact of every kernel that the plan launches."""
    apart = [k for k in member.build.kernels if k.compiled]
    if apart:
        return [(k.name, k.compiled.symbol, k.compiled.offset) for k in apart if k.compiled]
    return [(name, name, 0) for name in sorted({one.kernel for one in member.manifest.candidate.launch})]


def scratches_of(member: Member) -> list[str]:
    """The names of the scratch buffers: those of the plan, and those that a compiler wants for itself."""
    stated = [s.name for s in member.manifest.candidate.scratch]
    own = [f"{k.name}:{i}" for k in member.build.kernels if k.compiled for i, n in enumerate(k.compiled.scratch) if n]
    return stated + own


def quoted(text: str) -> str:
    """A C string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
