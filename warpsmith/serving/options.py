"""Options of a backend: a frozen dataclass says which there are; the task's options and the environment set them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from warpsmith.errors import BadInput
from warpsmith.serving.backend import Given

T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """How the options of one backend are read."""

    backend: str
    """Its name, for complaints."""
    prefix: str
    """Of its environment variables: ``MOCK_MAX_BATCH`` goes over the option ``max_batch``."""
    least: Mapping[str, float]
    """The smallest value of each number that is not just 0 or more."""

    def read(self, kind: type[T], given: Given) -> T:
        """The options as ``kind``. Raises BadInput for one that is unknown, or cannot be what it is given as."""
        kinds = get_type_hints(kind)
        known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
        if unknown := sorted(set(given.options) - set(known)):
            raise BadInput(
                f"the {self.backend} backend has no option {', '.join(unknown)}.", f"Known: {', '.join(known)}."
            )
        said: dict[str, Any] = {}
        for name in known:
            value = given.environment.get(self.prefix + name.upper(), given.options.get(name))
            if value is not None:
                said[name] = self._value(name, value, kinds[name])
        return kind(**said)

    def _value(self, name: str, value: Any, kind: Any) -> Any:
        what = f"{self.backend} backend: {name}={value!r}"
        if get_origin(kind) is Literal:
            if value not in get_args(kind):
                raise BadInput(f"{what} is unknown.", f"Known: {', '.join(filter(None, get_args(kind)))}.")
            return value
        if kind is str:
            return str(value)
        try:
            number = kind(value)
        except (TypeError, ValueError):
            raise BadInput(f"{what} is no number.", f"Give a {kind.__name__}.") from None
        if number < self.least.get(name, 0):
            raise BadInput(f"{what} is too little.", f"Give {self.least.get(name, 0):g} or more.")
        return number
