"""What a server says of itself over HTTP: whether it is ready. Any server, ours or of another framework."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from warpsmith.serving import ports

ASK_S = 5.0
"""Longest wait for an answer."""


def health(url: str) -> tuple[bool, str]:
    """Whether the server at ``url`` is ready, and what it says. Other frameworks' servers may have no ``/health``."""
    try:
        status, said = _get(url, "/health")
        if status == 404:
            status, said = _get(url, "/v1/models")
    except (OSError, http.client.HTTPException) as error:
        return False, f"no answer: {error}"
    return status == 200, f"{status}: {said}"


def _get(url: str, path: str) -> tuple[int, str]:
    """Status and beginning of the answer. Raises OSError and HTTPException."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or ports.HOST, parts.port, timeout=ASK_S)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}{path}", headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read(300).decode(errors="replace").strip()
    finally:
        connection.close()
