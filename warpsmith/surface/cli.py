"""The command line: made from the verbs of :mod:`warpsmith.surface.api`. Owns flags, exit statuses and streams only.

With ``--json`` standard output carries exactly one JSON document; everything else goes to standard error.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import platform
import sys
import traceback
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from warpsmith import __version__
from warpsmith.errors import BadInput, WarpsmithError
from warpsmith.mark import refuse
from warpsmith.surface import api

USAGE, BUG, INTERRUPTED = 3, 5, 130
HIDDEN = {"watch", "application", "hook", "tell"}
"""Parameters of verbs that a command line cannot give."""
SPELLED: dict[str, str | tuple[str, ...]] = {
    "set_": ("--set",), "for_": ("--for",), "max_": ("--max",), "format_": ("--format",),
}  # fmt: skip
"""Flags whose Python name is taken."""


def build_app(application: tuple[str, ...] = ()) -> App:
    """The application with one command per verb. ``application`` is what stands behind ``--``: a program to be run."""
    app = App(
        name="warpsmith",
        help="Make a kernel faster, with the evidence: observe, propose, judge, release.",
        version=__version__,
        help_format="plaintext",
        result_action="return_value",
    )
    groups: dict[str, App] = {}
    for verb in api.VERBS:
        group, _, name = spelled(verb).partition(" ")
        command = _command(verb, application)
        if any(spelled(other).startswith(f"{group} ") for other in api.VERBS):
            if group not in groups:
                groups[group] = App(name=group)
                app.command(groups[group])
            within = groups[group]
            within.command(command, name=name) if name else within.default(command)
        else:
            app.command(command, name=group)
    return app


def spelled(verb: Callable[..., Any]) -> str:
    """A verb as it is typed: ``knowledge search`` for ``knowledge_search``."""
    return verb.__name__.replace("_", " ")


def _command(verb: Callable[..., Any], application: tuple[str, ...]) -> Callable[..., Any]:
    """``verb`` with ``--json``, and without what only Python can pass; prints the answer, returns its exit status."""
    signature = inspect.signature(verb)
    takes_watch = "watch" in signature.parameters
    shown = [_spelled(p, verb.__globals__) for name, p in signature.parameters.items() if name not in HIDDEN]
    asked = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON document on standard output.")]
    shown.append(inspect.Parameter("json_", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=asked))

    @functools.wraps(verb)
    def command(*arguments: Any, json_: bool = False, **options: Any) -> int:
        refuse(verb.__name__)
        if takes_watch:
            from warpsmith.surface.progress import progress

            options["watch"] = progress
        if "tell" in signature.parameters:
            options["tell"] = functools.partial(print, file=sys.stderr)
        if application:
            if "application" not in signature.parameters:
                raise BadInput(f"'{spelled(verb)}' runs no program of yours: {' '.join(application)}.", "Leave -- out.")
            options["application"] = application
        answer = verb(*arguments, **options)
        with _telling():
            if json_:
                print(answer.model_dump_json(indent=1))
            else:
                from warpsmith.surface.render import show

                show(answer)
        status: int = answer.exit_status
        return status

    command.__signature__ = signature.replace(parameters=shown, return_annotation=int)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in shown}
    return command


def _spelled(parameter: inspect.Parameter, known: dict[str, Any]) -> inspect.Parameter:
    """``known`` are the names of the module that the verb is written in."""
    kind = annotation(parameter, known)
    settings = Parameter(name=SPELLED.get(parameter.name), negative=() if kind is bool else None)
    return parameter.replace(annotation=Annotated[kind, settings])


def annotation(parameter: inspect.Parameter, known: dict[str, Any]) -> Any:
    """The type of a parameter of a verb; ``known`` are the names of the module that the verb is written in."""
    scope = {**vars(typing), "Path": Path, **known}
    return eval(parameter.annotation, scope) if isinstance(parameter.annotation, str) else parameter.annotation


def run(arguments: list[str]) -> int:
    """Carry out one command line; returns its exit status. Prints errors, never a traceback but for our own bugs."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    arguments, application = arguments[:at], tuple(arguments[at + 1 :])
    wants_json = "--json" in arguments
    try:
        if platform.system() != "Linux":
            raise WarpsmithError(f"warpsmith supports Linux; this is {platform.system()}.", "Run it on Linux.")
        status = build_app(application)(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _complain(str(error), "See 'warpsmith --help'.", USAGE, wants_json)
    except WarpsmithError as error:
        return _complain(error.message, error.remedy, error.exit_status, wants_json)
    except KeyboardInterrupt:
        return _complain("interrupted; the ledger is whole.", "The same command resumes.", INTERRUPTED, wants_json)
    except Exception as error:  # the edge of this process: anything unexpected is our own bug, and says so
        traceback.print_exc()
        return _complain(f"a bug in warpsmith: {error!r}.", "Please report it with the lines above.", BUG, wants_json)
    return status if isinstance(status, int) else 0


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """For printing the answer. Whoever reads it may stop early: what was done stays done, and the status says how."""
    try:
        yield
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # the latter is rich's word for the former
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str, remedy: str, status: int, wants_json: bool) -> int:
    print(f"warpsmith: {message} {remedy}".rstrip(), file=sys.stderr)
    if wants_json:
        with _telling():
            print(json.dumps({"error": message, "remedy": remedy, "exit_status": status}))
    return status


def main() -> None:
    """The ``warpsmith`` command."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
