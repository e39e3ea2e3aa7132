"""What tokens cost: the price table as data, and exact arithmetic on it.

Prices are Decimals read from TOML text, so a cost is tokens times price to the last digit; nothing is rounded before it
is shown.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from warpsmith.errors import BadInput
from warpsmith.model.asks import Usage
from warpsmith.model.base import Record

TABLE = Path(__file__).with_name("prices.toml")
MILLION = 6
"""Prices are per 10**6 tokens."""

Dollars = Annotated[Decimal, Field(ge=0)]


class Rates(Record):
    """US dollars per million tokens."""

    input: Dollars
    output: Dollars
    cache_write: Dollars | None = None
    """Into the cache for the shorter time; as ``input`` where it is not given."""
    cache_write_long: Dollars | None = None
    """Into the cache for the longer time; as ``cache_write`` where it is not given."""
    cache_read: Dollars | None = None
    """As ``input`` where it is not given."""

    def cost(self, usage: Usage, *, long_cache: bool) -> Decimal:
        """US dollars of one request, exact."""
        write = self.input if self.cache_write is None else self.cache_write
        if long_cache and self.cache_write_long is not None:
            write = self.cache_write_long
        read = self.input if self.cache_read is None else self.cache_read
        total = usage.input * self.input + usage.cache_write * write + usage.cache_read * read
        return (total + usage.output * self.output).scaleb(-MILLION)


class LongRates(Rates):
    """Rates of requests whose prompt is long."""

    above: Annotated[int, Field(gt=0)]
    """Tokens of the prompt, cached ones too, beyond which the whole request costs these rates."""


class Price(Rates):
    """What one model costs."""

    long: LongRates | None = None

    def of(self, usage: Usage, *, long_cache: bool = False) -> Decimal:
        """US dollars of one request, exact. ``long_cache``: its cache writes were for the longer time."""
        rates = self.long if self.long is not None and usage.prompt > self.long.above else self
        return Rates.cost(rates, usage, long_cache=long_cache)

    def affordable(self, money: Decimal, prompt: int, *, long_cache: bool = False) -> int:
        """The most tokens of output that ``money`` pays for after a prompt of ``prompt`` tokens, at the dearest of the
        rates that they can fall under. Never negative.
        """
        read = max((self.of(u, long_cache=long_cache) for u in _ways(prompt)), default=Decimal())
        rates = self.long if self.long is not None and prompt > self.long.above else self
        left = money - read
        if left <= 0:
            return 0
        return int(left.scaleb(MILLION) / rates.output) if rates.output else 2**31


def _ways(prompt: int) -> tuple[Usage, ...]:
    return (Usage(input=prompt), Usage(cache_write=prompt))


class Prices:
    """The table, with a user's own over it. Raises BadInput naming file and entry."""

    def __init__(self, own: Path | None = None) -> None:
        self.table = _read(TABLE)
        if own is not None:
            self.table |= _read(own)

    def of(self, model: str) -> Price | None:
        """The price of a model as the settings name it, without the key's variable; None where none is known.

        At a URL it is that of the entry with the URL, else that of the name; a dated snapshot costs as its name does.
        """
        name = model.partition("@")[0]
        undated = re.sub(r"-(\d{8}|\d{4}-\d{2}-\d{2})$", "", name)
        return next((self.table[key] for key in (model, name, undated) if key in self.table), None)


def _read(path: Path) -> dict[str, Price]:
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}.", "Name a readable file with the setting 'prices'.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not TOML: {error}.", "Mend the syntax at that place.") from None
    models = said.get("models", {})
    if set(said) - {"models"} or not isinstance(models, Mapping):
        raise BadInput(f"{path}: only tables [models.NAME] belong here.", 'Write [models."anthropic:NAME"].')
    found = {}
    for name, entry in models.items():
        try:
            found[name] = Price.model_validate(entry)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BadInput(f"{path}: {name}: {where}: {first['msg']}.", "Dollars per million tokens.") from None
    return found


def cents(money: Decimal) -> str:
    """Money as people read it: to the cent, below a cent to two digits that say something."""
    if not money or abs(money) >= Decimal("0.01"):
        return f"${money.quantize(Decimal('0.01'), ROUND_HALF_EVEN)}"
    return f"${money.quantize(Decimal(1).scaleb(money.adjusted() - 1), ROUND_HALF_EVEN):f}"
