"""Front matter of Markdown files: the small part of YAML that wikis and skills use, read without ever failing.

Understood are ``key: value``, ``key: [a, b]`` and ``key:`` followed by ``- item`` lines; anything else is passed over,
because a page is worth keeping whatever its head says.
"""

from __future__ import annotations

Head = dict[str, tuple[str, ...]]
"""Key to its values: one for a scalar, several for a list."""

FENCE = "---"
LINES = 200
"""Lines within which a head must be closed."""


def split(text: str) -> tuple[Head, str]:
    """The head and the body of a page; a page without a closed head is all body."""
    lines = text.split("\n", LINES)
    if lines[0].rstrip() != FENCE:
        return {}, text
    for number, line in enumerate(lines[1:LINES], 1):
        if line.rstrip() == FENCE:
            return _read(lines[1:number]), "\n".join(lines[number + 1 :])
    return {}, text


def first(head: Head, key: str) -> str:
    """The first value of ``key``, or an empty string."""
    return next(iter(head.get(key, ())), "")


def _read(lines: list[str]) -> Head:
    head: Head = {}
    key = ""
    for line in lines:
        name, colon, said = line.partition(":")
        item = line.strip()
        if item.startswith("- ") and key:
            head[key] = (*head[key], _plain(item[2:].strip()))
        elif colon and name.replace("_", "").replace("-", "").isalnum() and said[:1] in ("", " ", "\t"):
            key = name
            head[key] = _values(said.strip())
    return head


def _values(said: str) -> tuple[str, ...]:
    if said.startswith("[") and said.endswith("]"):
        return tuple(_plain(part.strip()) for part in said[1:-1].split(",") if part.strip())
    return (_plain(said),) if said else ()


def _plain(said: str) -> str:
    return said[1:-1] if len(said) > 1 and said[0] == said[-1] and said[0] in "\"'" else said
