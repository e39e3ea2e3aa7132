"""The process that speaks to the network: ``python -m warpsmith.notify.sending``. Ends by itself, whatever hangs.

In, on standard input, so that no address stands in an argument or a variable: ``{"urls", "title", "body", "limit_s"}``;
without a body it only looks. Out: a JSON line per address, as soon as it is known: ``{"at": INDEX, "ok": BOOL,
"detail": TEXT}``, or one ``{"missing": true}``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from warpsmith.notify.channels import PLAIN

Say = Callable[[dict[str, Any]], None]


def main() -> None:
    """Carry out the job on standard input."""
    job = json.load(sys.stdin)
    limit = float(job["limit_s"])
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limit + 1)  # also where whoever started this is gone
    os.nice(10)  # beside a measurement
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    writing = threading.Lock()

    def say(message: dict[str, Any]) -> None:
        with writing:
            out.write(json.dumps(message) + "\n")
            out.flush()

    _carry_out(job, say, time.monotonic() + limit)
    os._exit(0)  # threads that hang are left where they are


def _carry_out(job: dict[str, Any], say: Say, end: float) -> None:
    if find_spec("apprise") is None:
        say({"missing": True})
        return
    threads = [
        threading.Thread(target=_one, args=(number, url, job, say), daemon=True)
        for number, url in enumerate(job["urls"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


def _one(number: int, url: str, job: dict[str, Any], say: Say) -> None:
    """Send to one address; or only look at it, where the job has no body."""
    import apprise

    asset = apprise.AppriseAsset(app_id="warpsmith", async_mode=False, secure_logging=True, http_redirects=False)
    there = apprise.Apprise(asset=asset)
    try:
        if not (there.add(url) or there.add(_plain(url))):
            ok, detail = False, "not understood"
        elif job["body"] is None:
            ok, detail = True, ""
        else:
            done = there.notify(body=job["body"], title=job["title"], body_format="text")
            said = [entry.message for entry in done.logs()]
            ok, detail = bool(done), "" if done else said[-1] if said else "refused"
    except Exception as error:  # noqa: BLE001 (a plug-in may raise anything; the other addresses go on)
        ok, detail = False, f"{type(error).__name__}: {error}"
    say({"at": number, "ok": ok, "detail": detail})


def _plain(url: str) -> str:
    """The address of a plain webhook as apprise writes it."""
    scheme, _, rest = url.partition("://")
    return f"{PLAIN.get(scheme.lower(), scheme)}://{rest}"


if __name__ == "__main__":
    main()
