"""The verbs ``export`` and ``exports``: releases as packages, headers, kernels and solutions that others can use."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from warpsmith.errors import BadInput, BuildFailed, ExpressionError

if TYPE_CHECKING:
    from warpsmith.ship.export.arrival import Look
    from warpsmith.ship.export.family import Against, Family
    from warpsmith.ship.export.keeping import Export, Keeper
    from warpsmith.ship.installed import Through
    from warpsmith.ship.refusals import Refusal
    from warpsmith.surface import answers_export as answers
    from warpsmith.surface.workspace import Workspace

Format = Literal["python", "header", "kernels", "flashinfer"]


def export(
    *releases: str, format_: Format = "python", name: str = "", also: tuple[str, ...] = (), replace: bool = False,
    revert: bool = False, definition: str = "", output: Path = Path("exports"),
) -> answers.ExportAnswer:  # fmt: skip
    """Export releases of one operation as one package, which chooses at run time and falls back to the original.

    Releases for other architectures and shapes join those that were exported under the name before. Where the device is
    there, a Python package is called through an installed function, and refused where its win does not arrive. Exit
    status 1 then, and where a release was changed or nothing measured is left; 3 where what was asked for cannot be;
    every reason is named.

    Args:
        releases: As group/name@version, or group/name for its latest.
        format_: python (a package over apache-tvm-ffi), header (one C header), kernels (Hugging Face), or flashinfer.
        name: Name of the export, a C identifier; the last part of the first release's name where none is given.
        also: Compile for this architecture too, such as sm_100a; what nobody measured is not dispatched by default.
        replace: Leave out what was exported under the name before.
        revert: Put back what was there before the last export of the name.
        definition: FlashInfer's name of the operation.
        output: The folder of exports.
    """
    from warpsmith.ship.export.arrival import looker
    from warpsmith.surface.gpus import settle
    from warpsmith.surface.shelves import shelf
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
    if revert:
        return _reverted(space.outside_releases(space.root / output), name or _default_name(releases), format_)
    settle(space.settings, needed=False)
    look = looker(shelf(space), space.home / "cache" / "build")
    return make_export(
        space, releases, format_, name, also, replace=replace, definition=definition, output=output, look=look
    )


def exports(output: Path = Path("exports")) -> answers.ExportsAnswer:
    """List what was exported: format, releases, architectures, and whether it was changed since or its release is gone.

    Exit status 1 where an export is not what was put there, or rests on a release that is gone.

    Args:
        output: The folder of exports.
    """
    from warpsmith.ship.export.keeping import Keeper
    from warpsmith.surface.answers import NO, YES
    from warpsmith.surface.answers_export import ExportRow, ExportsAnswer
    from warpsmith.surface.shelves import shelf
    from warpsmith.surface.workspace import Workspace

    space = Workspace()
    keeper = Keeper(space.outside_releases(space.root / output))
    keeper.tidy()
    known = {e.spec for e in shelf(space).entries()}
    rows = []
    for one in keeper.all():
        problem = "changed since it was exported" if keeper.changed(one) else ""
        if gone := [spec for spec in one.now.releases if spec not in known]:
            problem = f"there is no release {', '.join(gone)} any more"
        rows.append(ExportRow(export=one, path=str(keeper.place(one)), problem=problem))
    status = NO if any(r.problem for r in rows) else YES
    return ExportsAnswer(exit_status=status, folder=str(keeper.folder), exports=tuple(rows))


def make_export(
    space: Workspace, releases: tuple[str, ...], kind: Format, name: str, also: tuple[str, ...], *, replace: bool,
    definition: str, output: Path, look: Look | None = None,
) -> answers.ExportAnswer:  # fmt: skip
    """Read the family, generate, compile, measure what dispatch adds and whether the win arrives (by ``look``), put it
    in its place, and make the lines anew by which frameworks install it.
    """
    from warpsmith.ship.export import building, family
    from warpsmith.ship.export.keeping import Keeper
    from warpsmith.ship.export.layouts import files
    from warpsmith.surface.answers import YES
    from warpsmith.surface.answers_export import ExportAnswer, exit_status
    from warpsmith.surface.shelves import shelf, trusted_keys

    if not releases:
        raise BadInput("no release was named.", "Name releases as group/name@version; 'warpsmith releases' lists them.")
    there, keeper = shelf(space), Keeper(space.outside_releases(space.root / output))
    there.tidy()
    keeper.tidy()
    name = name or _default_name(releases)
    before, also = _before(keeper, name, kind, also, replace=replace)
    asked = _specs(there.find, releases)
    compile_for = building.compile_for(there, space.home / "cache" / "build")
    found, against = family.read(there, asked, name, trusted_keys(space), before, also, compile_for)
    if found is not None:
        try:
            made = files(found, kind, building.shared_object, building.added_cost, definition)
            measured = _measured(look, found, kind, made)
        except (ExpressionError, BuildFailed) as error:
            against = (family.Against(reason="not_exportable", message=error.message, remedy=_remedy(error)),)
        else:
            made, refused = _asked(keeper.folder / kind / name, measured, made)
            against = tuple(
                family.Against(reason="installed_path", message=r.message, remedy=r.remedy) for r in refused
            ) + _too_dear(made)
    if found is None or against:
        return ExportAnswer(exit_status=exit_status(against), name=name, kind=kind, against=against)
    put = keeper.put(name, kind, made, _generation(found, also))
    said = json.loads(made["export.json"])
    return ExportAnswer(
        exit_status=YES, name=name, kind=kind, export=put, path=str(keeper.place(put)), rows=_rows(found),
        notes=(*found.notes, *_after(space, keeper.place(put), put, measured)), added_cost=said["added_cost"],
        installed_path=said["installed_path"],
    )  # fmt: skip


def _measured(look: Look | None, found: Family, kind: Format, made: Mapping[str, bytes]) -> tuple[Through, ...] | str:
    """Whether the win arrives, or why that is not known; the package lies in a folder of its name meanwhile."""
    from warpsmith.ship.export.arrival import written
    from warpsmith.ship.export.document import NOT_MEASURED

    if look is None or kind != "python":
        return NOT_MEASURED if kind == "python" else f"{NOT_MEASURED}: of Python packages only"
    with tempfile.TemporaryDirectory() as place:
        written(made, Path(place) / found.name)
        return look(found, Path(place) / found.name)


def _too_dear(made: Mapping[str, bytes]) -> tuple[Against, ...]:
    """What speaks against an export whose dispatch costs more than it may."""
    from warpsmith.ship.export import building, family
    from warpsmith.ship.export.document import DOCUMENT

    cost: Any = json.loads(made[DOCUMENT])["added_cost"]
    if not building.too_dear(cost):
        return ()
    said = f"dispatch adds {cost['ns']:.0f} ns to a call, at least {cost['low_ns']:.0f}"
    most = f"{building.MOST_ADDED_NS:.0f} ns are allowed, and {building.COST_TRIES} tries were made"
    remedy = "Export again on a quiet machine; where that does not help, call the C header (--format header)."
    return (family.Against(reason="dispatch_cost", message=f"{said}; {most}.", remedy=remedy),)


def _asked(
    package: Path, measured: tuple[Through, ...] | str, made: Mapping[str, bytes]
) -> tuple[dict[str, bytes], list[Refusal]]:
    """The export with its stamp, and what speaks against putting it where ``package`` says."""
    from warpsmith.ship.export.document import DOCUMENT, arrived
    from warpsmith.ship.installed import gate, identity

    stamp, refused = gate(measured, package, identity(json.loads(made[DOCUMENT])))
    return {**made, DOCUMENT: arrived(made[DOCUMENT], stamp)}, refused


def _after(space: Workspace, package: Path, put: Export, measured: tuple[Through, ...] | str) -> tuple[str, ...]:
    """Keep what was measured, and make anew the lines of the frameworks that the package is installed in."""
    from warpsmith.ship.installed import keep
    from warpsmith.surface.patching import renew
    from warpsmith.surface.shelves import here

    if put.kind != "python":
        return ()
    if not isinstance(measured, str):
        target = here("cpu" if measured[0].how == "wall" else "cuda")
        keep(package, target.device if target else "", put.now.at, measured)
    return renew(space, package)


def _reverted(folder: Path, name: str, kind: Format) -> answers.ExportAnswer:
    from warpsmith.ship.export.keeping import Keeper
    from warpsmith.surface.answers import YES
    from warpsmith.surface.answers_export import ExportAnswer

    keeper = Keeper(folder)
    if not folder.is_dir():
        raise BadInput(f"nothing was exported to {folder}.", "Name the folder with --output.")
    left = keeper.revert(name, kind)
    path = str(keeper.place(left)) if left else ""
    return ExportAnswer(exit_status=YES, name=name, kind=kind, export=left, path=path, reverted=True)


def _default_name(releases: tuple[str, ...]) -> str:
    if not releases:
        raise BadInput("neither a release nor a name was given.", "Use --name.")
    return (
        releases[0].partition("@")[0].rstrip("/").split("/")[1 if releases[0].count("/") == 2 else -1].replace("-", "_")
    )


def _specs(find: Callable[[str], Any], releases: tuple[str, ...]) -> tuple[str, ...]:
    """As group/name@version; what there is not stays as it is, and is refused with the other reasons."""
    found = []
    for spec in releases:
        try:
            found.append(find(spec).spec)
        except BadInput:
            found.append(spec)
    return tuple(found)


def _before(
    keeper: Keeper, name: str, kind: Format, also: tuple[str, ...], *, replace: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The releases and architectures that the export holds already."""
    known = keeper.find(name, kind)
    if known is None or replace:
        return (), also
    return known.now.releases, tuple(dict.fromkeys((*known.now.also, *also)))


def _generation(found: Family, also: tuple[str, ...]) -> Any:
    from datetime import UTC, datetime

    from warpsmith.ship.export.keeping import Generation

    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    releases = tuple(m.spec for m in sorted(found.releases, key=lambda m: (m.at, m.spec)))
    return Generation(number=0, releases=releases, also=also, tree="0" * 64, at=at)


def _rows(found: Family) -> tuple[Any, ...]:
    return tuple(m.row for m in found.members)


def _remedy(error: ExpressionError | BuildFailed) -> str:
    return error.remedy or (error.log[-400:] if isinstance(error, BuildFailed) else "")
