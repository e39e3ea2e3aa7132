"""The functions that tvm-ffi calls, in C++ over the header: tensors and numbers in, a reason code out.

Written against tvm-ffi's C interface, so that they compile in a second and cost next to nothing to call. ``call`` is
guard and launch, ``direct_N`` the launch of row N without guard (the kernel's own binding). The function of the
family's name is ``call`` with inputs first and outputs last, and raises where no row covers the call.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from warpsmith.model.expression import names
from warpsmith.model.task import Argument, Role
from warpsmith.ship.export.devicerow import C_TYPES
from warpsmith.ship.export.expressions import Term, Writer
from warpsmith.ship.export.family import Family
from warpsmith.ship.export.header import DTYPES

TEMPLATE = Path(__file__).parent / "templates" / "binding.cpp"
_DLPACK = {"f": 2, "b": 4, "i": 0, "u": 1}
"""DLDataTypeCode by the first letter of an element type."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of the operation in Python."""

    name: str
    kind: str
    """input, output, scalar or axis."""
    default: float | int | None = None
    """Of a number; an output's default is None, and it is allocated then."""


def parameters(family: Family) -> tuple[Parameter, ...]:
    """Inputs and numbers without a default, outputs, numbers with one. An axis that the shapes tell is no parameter."""
    told = shapes_tell(family)
    first: list[Parameter] = []
    last: list[Parameter] = []
    for a in family.task.arguments:
        if a.role is Role.input:
            first.append(Parameter(a.name, "input"))
        elif a.role is Role.scalar:
            value = a.value if a.value is None or a.element.is_float else int(a.value)
            (first if value is None else last).append(Parameter(a.name, "scalar", value))
    first += [Parameter(axis, "axis") for axis in family.axes if axis not in told]
    outputs = [Parameter(a.name, "output") for a in family.tensors if a.role is Role.output]
    return (*first, *outputs, *last)


def shapes_tell(family: Family) -> dict[str, tuple[str, int]]:
    """Axis to the tensor and dimension that it is read from; inputs are preferred, since outputs may be allocated."""
    found: dict[str, tuple[str, int]] = {}
    for a in sorted(family.tensors, key=lambda t: t.role is Role.output):
        if a.role is Role.input:
            for at, dim in enumerate(a.shape or ()):
                if dim in family.axes and isinstance(dim, str):
                    found.setdefault(dim, (a.name, at))
    return found


def binding(family: Family, header_name: str) -> str:
    """The C++ file."""
    p = family.name
    parts = {
        "@P@": p,
        "@HEADER@": header_name,
        "@UNPACK@": _unpack(family),
        "@ELEMENTS@": _elements(),
        "@COUNT@": str(len(parameters(family))),
        "@DIRECT@": "\n".join(_direct(p, at) for at in range(len(family.members))),
        "@REORDER@": ", ".join(str(i) for i in _reordered(family)),
    }
    text = TEMPLATE.read_text()
    for mark, value in parts.items():
        text = text.replace(mark, value)
    return text


def _reordered(family: Family) -> list[int]:
    """For each parameter, its place where inputs and numbers stand in the task's order and outputs come last."""
    ours = [q.name for q in parameters(family)]
    outputs = [a.name for a in family.tensors if a.role is Role.output]
    given = [a.name for a in family.task.arguments if a.name in ours and a.name not in outputs]
    theirs = [*given, *(n for n in ours if n not in given and n not in outputs), *outputs]
    return [theirs.index(name) for name in ours]


def _unpack(family: Family) -> str:
    """Arguments into the structure of a call. Where ``checked``, with every reason against it."""
    p, lines = family.name, []
    tensors = {a.name: a for a in family.tensors}
    told = shapes_tell(family)
    for at, parameter in enumerate(parameters(family)):
        if parameter.kind in ("input", "output"):
            lines += _tensor(p, at, tensors[parameter.name])
        elif parameter.kind == "axis":
            lines.append(f"    if (!whole(args[{at}], &call->{parameter.name})) return {p}_ARGUMENT;")
        else:
            element = next(a for a in family.scalars if a.name == parameter.name).element
            lines += [
                f"    double {parameter.name}_;",
                f"    if (!number(args[{at}], &{parameter.name}_)) return {p}_ARGUMENT;",
                f"    call->{parameter.name} = ({C_TYPES[element]}){parameter.name}_;",
            ]
            if not element.is_float:
                lines.append(
                    f"    if (checked && (double)call->{parameter.name} != {parameter.name}_) return {p}_SCALAR;"
                )
    first = family.tensors[0].name
    lines += [
        f"    call->device_type = {first}_->device.device_type;",
        f"    call->device = {first}_->device.device_id;",
    ]
    for axis, (tensor, dim) in told.items():
        rank = len(tensors[tensor].shape or ())
        lines.append(f"    call->{axis} = extent({tensor}_, {rank}, {dim});")
    writer = Writer(p, {axis: Term(f"call->{axis}") for axis in family.axes})
    lines.append("    if (!checked) return 0;")
    lines.append("    int bad = 0;")
    for a in family.tensors:
        lines += _verified(p, a, writer, first)
    lines.append(f"    return bad ? {p}_DISAGREE : 0;")
    return "\n".join(lines)


def _tensor(p: str, at: int, argument: Argument) -> list[str]:
    name = argument.name
    return [
        f"    const DLTensor *{name}_ = tensor(args[{at}]);",
        f"    if (!{name}_) return {p}_ARGUMENT;",
        f"    call->{name} = (char *){name}_->data + {name}_->byte_offset;",
        f"    call->{name}_dtype = element({name}_->dtype);",
    ]


def _verified(p: str, a: Argument, writer: Writer, first: str) -> list[str]:
    """Device, layout and shape of one tensor. Leading dimensions may be more than the task says: rows are rows."""
    shape = a.shape or ()
    lines = [
        f"    if ({a.name}_->device.device_type != {first}_->device.device_type ||",
        f"        {a.name}_->device.device_id != {first}_->device.device_id) return {p}_DEVICES;",
        f"    if (!contiguous({a.name}_)) return {p}_LAYOUT;",
        f"    if (!ranked({a.name}_, {len(shape)}, {int(_folds(shape))})) return {p}_DISAGREE;",
    ]
    for at, dim in enumerate(shape):
        lines.append(f"    if (extent({a.name}_, {len(shape)}, {at}) != {writer.whole(dim)}) return {p}_DISAGREE;")
    return lines


def _folds(shape: tuple[str | int, ...]) -> bool:
    """Whether more leading dimensions may be folded into the first: it is an axis of its own."""
    return len(shape) > 1 and isinstance(shape[0], str) and names(shape[0]) == {shape[0]}


def _direct(p: str, at: int) -> str:
    return (
        f"TVM_FFI_DLL_EXPORT int __tvm_ffi_direct_{at}(void *, const TVMFFIAny *args, int32_t count, "
        f"TVMFFIAny *result) {{\n    return direct<{at}>(args, count, result);\n}}"
    )


def _elements() -> str:
    """DLPack's code and bits to ours, as cases of a switch."""
    return "\n".join(
        f"    case {_DLPACK[d.value[0]]} << 8 | {d.itemsize * 8}: return {at};  // {d.value}"
        for d, at in DTYPES.items()
    )
