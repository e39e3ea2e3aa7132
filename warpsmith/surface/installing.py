"""The verbs ``install``, ``status`` and ``uninstall``: an exported package in a framework of an environment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warpsmith.surface import answers_install


def install(
    package: Path,
    *,
    target: tuple[str, ...] = (),
    targets: Path | None = None,
    operation: str = "",
    framework: str = "",
    python: str = "",
    dry_run: bool = False,
) -> answers_install.InstallAnswer:
    """Make a framework use an exported package, by at most 16 lines at the end of its ``__init__.py``.

    Functions are swapped when their modules are imported, once signature and version were checked; what is missing or
    changed is said and left alone. Done again, it makes the lines anew where the framework has another version by now.
    Exit status 2 where some targets cannot be swapped; 1 where none can, or where it was measured that the win does not
    arrive, and then nothing is written.

    Args:
        package: Folder of the exported package.
        target: A function to swap, as module:function or module:Class.method, once for each.
        targets: A file of targets with their adapters; without either, the package's own, or those that are known.
        operation: What of the package takes the place of --target; its only operation where it has one.
        framework: Name that the framework is imported by; that of the targets where none is given.
        python: The environment's interpreter; the one that runs warpsmith where none is given.
        dry_run: Show the change, write nothing.
    """
    from warpsmith.surface.patching import Installation
    from warpsmith.surface.workspace import Workspace

    asked = Installation.asked(Workspace(), package, framework, python)
    return asked.install(asked.choose(target, targets, operation), dry_run=dry_run)


def status(package: str = "") -> answers_install.StatusAnswer:
    """Say which exported packages are installed in which framework, and whether that still holds.

    Exit status 1 where the framework has another version by now, or the lines are gone; 'install' makes them anew.

    Args:
        package: Of this package only, by name.
    """
    from warpsmith.surface.patching import list_installed
    from warpsmith.surface.workspace import Workspace

    return list_installed(Workspace(), package)


def uninstall(package: str, *, framework: str = "") -> answers_install.UninstallAnswer:
    """Take a package's lines out of every framework that 'install' put them in; the files are as they were before.

    Exit status 2 where somebody else changed a file meanwhile: the lines are taken out, the rest is left.

    Args:
        package: The package's name, or its folder.
        framework: Of this framework only.
    """
    from warpsmith.surface.patching import take_out
    from warpsmith.surface.workspace import Workspace

    return take_out(Workspace(), Path(package).name, framework)
