"""Addresses of notifications: where they are said, and what of them may be shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from warpsmith.settings import Settings

HIDDEN = "***"
PLAIN = {"http": "json", "https": "jsons"}
"""A plain webhook gets JSON; services that apprise knows by their own https addresses are left to it."""
_OWN_HOST = {"json", "jsons", "xml", "xmls", "form", "forms", *PLAIN}
"""Schemes where the host says who is told, and no secret."""
SHORTEST = 6
"""Parts of an address that are shorter are words and numbers rather than secrets; a password always counts."""


@dataclass(frozen=True)
class Channels:
    """Every address that the settings name."""

    urls: tuple[str, ...] = field(default=(), repr=False)
    problem: str = ""
    """Why ``notify_file`` cannot be read; empty where it can, or none is named."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Each address as it may be shown."""
        return tuple(masked(url) for url in self.urls)


def channels(settings: Settings, root: Path) -> Channels:
    """The addresses of the settings and of their file. Raises nothing: a run goes on without notifications."""
    urls, problem = list(settings.notify_urls), ""
    if settings.notify_file:
        path = root / Path(settings.notify_file).expanduser()
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            urls += [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        except (OSError, UnicodeDecodeError) as error:
            problem = f"notify_file: {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}"
    return Channels(tuple(dict.fromkeys(urls)), problem)


def masked(url: str) -> str:
    """The address without what is secret: the scheme, and the host where that is no secret itself."""
    scheme, found, _ = url.partition("://")
    if not found or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.\-]*", scheme):
        return HIDDEN
    host = _parts(url)[1]
    return f"{scheme}://{host}/{HIDDEN}" if scheme.lower() in _OWN_HOST else f"{scheme}://{HIDDEN}"


def secrets(url: str) -> tuple[str, ...]:
    """What must not be shown of the address, the longest first."""
    login, host, path = _parts(url)
    shown = url.partition("://")[0].lower() in _OWN_HOST
    pieces = re.split(r"[/?&=:@#+,;]", f"{login}/{'' if shown else host}/{path}")
    whole = {url, path, login, login.partition(":")[2]} - {""}
    found = {p for p in pieces if len(p) >= SHORTEST} | whole
    return tuple(sorted({x for one in found for x in (one, unquote(one))}, key=len, reverse=True))


def _parts(url: str) -> tuple[str, str, str]:
    """Login, host with port, and all that follows."""
    rest = url.partition("://")[2]
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    login, _, host = place.rpartition("@")
    return login, host, rest[len(place) :].lstrip("/")


def rub_out(text: str, urls: Iterable[str]) -> str:
    """``text`` without the secrets of any of the addresses."""
    for url in urls:
        for secret in secrets(url):
            text = text.replace(secret, HIDDEN)
    return text
