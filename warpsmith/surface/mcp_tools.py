"""Verbs as MCP tools: the schema of each from its signature, its words from its docstring. No list written by hand.

A tool is named as its function is, ``knowledge_search`` for ``knowledge search``. Its arguments are those of the
command line; what stands behind ``--`` there is the array ``application``. Does not import the MCP SDK.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from docstring_parser import parse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from warpsmith.errors import BadInput
from warpsmith.mark import permitted
from warpsmith.surface import api
from warpsmith.surface.cli import HIDDEN, annotation

NOT_TOOLS = {"mcp", "gpu_exec", "serve"}
"""Verbs that would serve themselves, become another program, or go on until they are ended."""
GIVEN_BY_JSON = {"application"}
"""Parameters that a command line takes from behind ``--``, and a tool as they are."""


class Tool:
    """One verb as a tool."""

    def __init__(self, verb: Callable[..., Any]) -> None:
        self.verb = verb
        self.name = verb.__name__
        self._said = parse(inspect.getdoc(verb) or "")
        hidden = HIDDEN - GIVEN_BY_JSON
        self._taken = [p for n, p in inspect.signature(verb).parameters.items() if n not in hidden]

    @property
    def description(self) -> str:
        """The verb's docstring without its arguments."""
        parts = (self._said.short_description, self._said.long_description)
        return "\n\n".join(p.strip() for p in parts if p)

    @cached_property
    def model(self) -> type[BaseModel]:
        """A record with a field per argument; unknown ones are refused."""
        told = {p.arg_name: " ".join((p.description or "").split()) for p in self._said.params}
        fields: dict[str, Any] = {}
        for parameter in self._taken:
            kind: Any = annotation(parameter, self.verb.__globals__)
            default: Any = ... if parameter.default is inspect.Parameter.empty else parameter.default
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                kind, default = types.GenericAlias(tuple, (kind, ...)), ()
            name = parameter.name.rstrip("_")
            described = Field(default, description=told.get(parameter.name, ""), validation_alias=name, title=name)
            fields[parameter.name] = (kind, described)
        return create_model(self.name, __config__=ConfigDict(extra="forbid"), **fields)

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        made = self.model.model_json_schema()
        for field in made.get("properties", {}).values():
            field.pop("title", None)
        return {k: v for k, v in made.items() if k != "title"}

    def checked(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments with their types, as JSON. Raises BadInput naming each that is wrong."""
        try:
            given = self.model.model_validate(dict(arguments))
        except ValidationError as error:
            told = "; ".join(f"{'.'.join(str(p) for p in i['loc'])}: {_said(i)}" for i in error.errors())
            known = ", ".join(self.schema.get("properties", {})) or "none"
            raise BadInput(f"{self.name}: {told}.", f"Arguments: {known}.") from None
        return given.model_dump(mode="json")

    def call(self, arguments: Mapping[str, Any], **hidden: Any) -> Any:
        """Carry the verb out with arguments that :meth:`checked` returned; returns its answer."""
        given = self.model.model_validate({k.rstrip("_"): v for k, v in arguments.items()})
        positional: list[Any] = []
        named: dict[str, Any] = dict(hidden)
        for parameter in self._taken:
            value = getattr(given, parameter.name)
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                positional += value
            elif parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
                positional.append(value)
            else:
                named[parameter.name] = value
        return self.verb(*positional, **named)

    def takes(self, name: str) -> bool:
        """Whether the verb has a parameter of this name: ``watch`` and ``tell`` let it say how far it is."""
        return name in inspect.signature(self.verb).parameters


def tools() -> dict[str, Tool]:
    """Every verb that may be called from here, by name."""
    made = [Tool(verb) for verb in api.VERBS if verb.__name__ not in NOT_TOOLS and permitted(verb.__name__)]
    return {tool.name: tool for tool in made}


def _said(issue: Any) -> str:
    words = {"extra_forbidden": "there is no such argument", "missing": "it is required"}
    return words.get(issue["type"], f"{issue['msg'].removeprefix('Value error, ')} (given: {issue['input']!r})")
