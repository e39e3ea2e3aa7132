"""The base of every record, and the hash that identifies it. Imports pydantic only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in lower-case hexadecimal."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]
"""An identifier that C, Python and an expression can all use."""


class Record(BaseModel):
    """A frozen fact. Unknown fields are refused, so a misspelt key is never silently ignored; so are NaN and infinity,
    which JSON cannot carry: a ledger with one could not be read back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A changed copy, without the cached properties of the original (an identity must be computed anew)."""
        copied = super().model_copy(update=update, deep=deep)
        for cached in set(copied.__dict__) - set(type(self).model_fields):
            del copied.__dict__[cached]
        return copied


def canonical(value: Any) -> bytes:
    """The one JSON text of ``value``: sorted keys, no spaces, ASCII. Equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of ``value`` (a record is dumped first)."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return hashlib.sha256(canonical(plain)).hexdigest()


def digest_bytes(content: bytes) -> str:
    """SHA-256 of raw bytes: the name of a blob."""
    return hashlib.sha256(content).hexdigest()


def short(identity: str) -> str:
    """The first 10 hexadecimal digits: what people see and type."""
    return identity[:10]
