"""The guard table and the launch plans as one C header, which also is C++: artefacts as bytes, no other file needed.

The header is the core of every format: callers in C include it, and tvm-ffi's functions are written over it
(:mod:`warpsmith.ship.export.binding`). ``templates/runtime.h`` and ``templates/guard.h`` are its unchanging part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from warpsmith.model.base import digest_bytes
from warpsmith.model.task import Dtype, Role
from warpsmith.ship.export.devicerow import C_TYPES, DeviceRow, kernels_of, quoted, scratches_of
from warpsmith.ship.export.expressions import Term, Writer
from warpsmith.ship.export.family import Family, Member
from warpsmith.ship.export.guards import Box, Row
from warpsmith.ship.runtime.dispatch import REASONS

TEMPLATES = Path(__file__).parent / "templates"
CODES = (
    "HIT", "ARGUMENT", "DEVICES", "DISAGREE", "LAYOUT", "DEVICE", "ARCHITECTURE", "UNMEASURED", "DTYPE", "SHAPE",
    "SCALAR", "ALIGNMENT", "OVERLAP", "PLAN", "LOAD", "ALLOCATOR",
)  # fmt: skip
"""C names of the reasons, by position in REASONS."""
DTYPES = {d: at for at, d in enumerate(Dtype, 1)}
"""How a structure says an element type."""


def header(family: Family, stamp: Sequence[str]) -> str:
    """The whole header. ``stamp``: lines of its first comment. Raises ExpressionError for a plan that C cannot say."""
    return _Header(family).text(stamp)


class _Header:
    def __init__(self, family: Family) -> None:
        self.family = family
        self.p = family.name
        self.blobs = {m.row.artefact: m.artefact for m in family.members}
        self.blob = {sha: f"{self.p}_blob{at}" for at, sha in enumerate(self.blobs)}

    def text(self, stamp: Sequence[str]) -> str:
        fixed = [(TEMPLATES / name).read_text() for name in ("runtime.h", "guard.h")]
        reasons = ", ".join(quoted(reason) for reason in REASONS)
        runtime, guard = (part.replace("@REASONS@", reasons).replace("@P@", self.p) for part in fixed)
        said = "\n".join(f"   {line}".rstrip() for line in stamp).replace("*/", "* /")
        parts = (
            f"/*\n{said}\n*/\n#ifndef {self.p}_h_included\n#define {self.p}_h_included",
            "#include <dlfcn.h>\n#include <pthread.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <string.h>",
            "#include <sys/mman.h>\n#include <unistd.h>",
            self._names(), self._call(), runtime, *self._bytes(), *self._rows(), self._switches(), guard,
            "#endif\n",
        )  # fmt: skip
        return "\n\n".join(parts)

    def _names(self) -> str:
        p, members = self.p, self.family.members
        codes = ", ".join(f"{p}_{code} = {at}" for at, code in enumerate(CODES))
        types = ", ".join(f"{p}_{d.value} = {at}" for d, at in DTYPES.items())
        keys = 3 + len(self.family.axes) + len(self.family.scalars)
        sizes = {
            "ROWS": len(members),
            "TENSORS": len(self.family.tensors),
            "KEYS": keys,
            "LAUNCHES": max(1, *(len(m.manifest.candidate.launch) for m in members)),
            "KERNELS": max(1, *(len(kernels_of(m)) for m in members)),
            "SCRATCH": max(1, *(len(scratches_of(m)) for m in members)),
            "MAPS": max(1, *(len(m.manifest.candidate.tensor_map) for m in members)),
            "HAS_HOST": int(any(m.is_host for m in members)),
            "HAS_CUDA": int(not all(m.is_host for m in members)),
        }
        defined = "\n".join(f"#define {p}_{name} {value}" for name, value in sizes.items())
        return f"enum {{{codes}}};\nenum {{{types}}};\nenum {{{p}_CPU = 1, {p}_CUDA = 2}};\n{defined}"

    def _call(self) -> str:
        """The structure that a call is said in, and its guard key."""
        p, f = self.p, self.family
        lines = [f"    void *{a.name}; /* {a.role.value} {list(a.shape or ())} */" for a in f.tensors]
        lines += [f"    int32_t {a.name}_dtype;" for a in f.tensors]
        lines += [f"    int64_t {axis};" for axis in f.axes]
        lines += [f"    {C_TYPES[a.element]} {a.name};" for a in f.scalars]
        lines += ["    void *scratch; /* at least scratch_bytes of them, aligned to 256; may be null where none */"]
        lines += ["    int64_t scratch_bytes;"]
        body = "\n".join(lines)
        packed = " | ".join(f"(int64_t)call->{a.name}_dtype << {4 * i}" for i, a in enumerate(f.tensors))
        address = " | ".join(f"(uintptr_t)call->{a.name}" for a in f.tensors)
        most = max(m.row.alignment for m in f.members)
        keys = [
            "((int64_t)call->device_type << 32) | (uint32_t)call->device",
            packed,
            f"alignment | {p}_epoch_now() << 16",
        ]
        keys += [f"call->{axis}" for axis in f.axes]
        filled = "\n".join(f"    key[{i}] = {text};" for i, text in enumerate(keys))
        for at, a in enumerate(f.scalars, len(keys)):
            filled += f"\n    key[{at}] = 0;\n    memcpy(&key[{at}], &call->{a.name}, sizeof call->{a.name});"
        return f"""/* One call: what is passed, and where: {p}_CPU or {p}_CUDA, and the ordinal. */
typedef struct {{
    int32_t device_type, device;
{body}
}} {p}_call;

static inline int64_t {p}_epoch_now(void);
/* What a decision depends on; returns what every address is a multiple of, as far as it matters. */
static inline int64_t {p}_key(const {p}_call *call, int64_t *key) {{
    uintptr_t address = ({address}) | {most};
    int64_t alignment = (int64_t)(address & -address);
{filled}
    return alignment;
}}"""

    def _bytes(self) -> Iterable[str]:
        for sha, content in self.blobs.items():
            name = self.blob[sha]
            assert digest_bytes(content) == sha
            rows = "\n".join(_octal(content[i : i + 64]) for i in range(0, len(content), 64))
            yield (
                f"/* SHA-256 {sha} */\n#define {name}_size {len(content)}\n"
                f"static const unsigned char {name}[] __attribute__((aligned(64))) =\n{rows};"
            )

    def _rows(self) -> Iterable[str]:
        p = self.p
        yield f"static inline int64_t {p}_epoch_now(void) {{ return __atomic_load_n(&{p}_epoch, __ATOMIC_RELAXED); }}"
        yield self._sizes()
        for at, member in enumerate(self.family.members):
            yield f"/* row {at}: {member.row.release}, {member.row.architecture}, {member.row.proof} */"
            yield self._fits(at, member.row, member)
            blob = self.blob[member.row.artefact]
            if member.is_host:
                yield self._host_row(at, member, blob)
            else:
                yield from DeviceRow(self.family, at, member, blob).functions()

    def _sizes(self) -> str:
        """Bytes of every tensor, and whether an output overlaps another tensor."""
        p, f = self.p, self.family
        writer = Writer(p, {axis: Term(f"call->{axis}") for axis in f.axes})
        lines = []
        for at, a in enumerate(f.tensors):
            extent = f"INT64_C(1) * {p}_itemsize(call->{a.name}_dtype)"
            for dim in a.shape or ():
                extent = f"{p}_mul({extent}, {writer.whole(dim)}, &bad)"
            lines.append(f"    bytes[{at}] = {extent};")
        pairs = []
        for i, a in enumerate(f.tensors):
            for j, b in enumerate(f.tensors):
                if a.role is Role.output and (j < i or b.role is Role.input) and i != j:
                    mine, other = f"(char *)call->{a.name}", f"(char *)call->{b.name}"
                    pairs.append(f"({mine} < {other} + bytes[{j}] && {other} < {mine} + bytes[{i}])")
        sizes = ", ".join(str(d.itemsize) for d in DTYPES)
        written = "\n".join(lines)
        return f"""static inline int64_t {p}_itemsize(int dtype) {{
    static const unsigned char sizes[] = {{0, {sizes}}};
    return dtype > 0 && dtype < (int)sizeof sizes ? sizes[dtype] : 0;
}}
static inline void {p}_sizes(const {p}_call *call, int64_t *bytes) {{
    int bad = 0;
{written}
    if (bad) memset(bytes, 0x3f, sizeof(int64_t) * {p}_TENSORS);
}}
static inline int {p}_overlap(const {p}_call *call, const int64_t *bytes) {{
    return {" || ".join(pairs) or "(void)call, (void)bytes, 0"};
}}"""

    def _fits(self, at: int, row: Row, member: Member) -> str:
        """The guard of a row: 0, or the reason."""
        p, f = self.p, self.family
        kind = f"{p}_CPU" if member.is_host else f"{p}_CUDA"
        lines = [f"    if (device_type != {kind}) return {p}_DEVICE;"]
        if member.is_host:
            lines.append(f"    if (!{p}_processor_has({quoted(member.features)})) return {p}_ARCHITECTURE;")
        else:
            lines.append(f"    if (device->capability != {row.capability}) return {p}_ARCHITECTURE;")
        if not row.measured:
            lines.append(f"    if (!{p}_is_allowed({row.capability})) return {p}_UNMEASURED;")
        types = " || ".join(
            f"call->{a.name}_dtype != {p}_{row.dtypes[a.name]}" for a in f.tensors if a.name in row.dtypes
        )
        shapes = " || ".join(f"({self._box(box)})" for box in row.boxes) or "0"
        body = [f"    if ({types or '0'}) return {p}_DTYPE;", f"    if (!({shapes})) return {p}_SHAPE;"]
        for a in f.scalars:
            values = " || ".join(f"call->{a.name} == {_number(a.element, v)}" for v in row.scalars.get(a.name, ()))
            body.append(f"    if (!({values or '1'})) return {p}_SCALAR;")
        body.append(f"    if (alignment < {row.alignment}) return {p}_ALIGNMENT;")
        return f"""static inline int {p}_row{at}_device(int device_type, const {p}_device *device) {{
    (void)device;
{chr(10).join(lines)}
    return 0;
}}
static inline int {p}_row{at}_fits(const {p}_call *call, const {p}_device *device, int64_t alignment) {{
    int code = {p}_row{at}_device(call->device_type, device);
    if (code) return code;
{chr(10).join(body)}
    return 0;
}}"""

    def _box(self, box: Box) -> str:
        texts = []
        for axis, bound in box.items():
            low, high = f"INT64_C({bound.low})", f"INT64_C({bound.high})"
            texts.append(
                f"call->{axis} == {low}"
                if bound.low == bound.high
                else f"call->{axis} >= {low} && call->{axis} <= {high}"
            )
            if bound.multiple_of > 1:
                texts.append(f"call->{axis} % {bound.multiple_of} == 0")
        return " && ".join(texts) or "1"

    def _host_row(self, at: int, member: Member, blob: str) -> str:
        """Load and call the library's entry; a processor has nothing to plan."""
        p = self.p
        types, passed = [], []
        for a in member.task.arguments:
            if a.is_tensor:
                const = "const " if a.role is Role.input else ""
                types.append(f"{const}{C_TYPES[a.element]} *")
                passed.append(f"({types[-1]})call->{a.name}")
            else:
                types.append(C_TYPES[a.element])
                passed.append(f"call->{a.name}")
        entry = quoted(member.manifest.candidate.entry)
        return f"""static inline int {p}_row{at}_load({p}_device *device, int ordinal) {{
    (void)ordinal;
    device->function[{at}][0] = {p}_open({blob}, {blob}_size, {entry});
    return device->function[{at}][0] ? 0 : {p}_LOAD;
}}
static inline int {p}_row{at}_plan(const {p}_call *call, const {p}_device *device, {p}_entry *entry) {{
    (void)call, (void)device;
    entry->scratch_bytes = 0;
    return 0;
}}
static inline int {p}_row{at}_launch(const {p}_call *call, {p}_device *device, {p}_entry *entry, void *stream) {{
    void (*function)({", ".join(types)});
    (void)entry, (void)stream;
    memcpy(&function, &device->function[{at}][0], sizeof function);
    function({", ".join(passed)});
    return 0;
}}"""

    def _switches(self) -> str:
        """From a row's number to its functions."""
        p = self.p

        call, device, entry = f"const {p}_call *call", f"{p}_device *device", f"{p}_entry *entry"
        wanted = (
            ("fits_device", "device", f"int device_type, const {device}", "device_type, device", "DEVICE"),
            ("fits", "fits", f"{call}, const {device}, int64_t alignment", "call, device, alignment", "DEVICE"),
            ("plan", "plan", f"{call}, const {device}, {entry}", "call, device, entry", "PLAN"),
            ("load_row", "load", f"{device}, int ordinal", "device, ordinal", "LOAD"),
            ("launch_row", "launch", f"{call}, {device}, {entry}, void *stream", "call, device, entry, stream", "PLAN"),
        )
        made = []
        for name, function, types, passed, otherwise in wanted:
            rows = range(len(self.family.members))
            cases = "\n".join(f"    case {at}: return {p}_row{at}_{function}({passed});" for at in rows)
            head = f"static inline int {p}_{name}(int row, {types}) {{\n    switch (row) {{\n{cases}\n    }}\n"
            made.append(f"{head}    return {p}_{otherwise};\n}}")
        return "\n".join(made)


def _octal(content: bytes) -> str:
    return '"' + "".join(f"\\{byte:03o}" for byte in content) + '"'


def _number(dtype: Dtype, value: float) -> str:
    """The literal that a number of this type equals."""
    return f"({C_TYPES[dtype]}){value!r}" if dtype.is_float else f"{int(value)}"
