"""The verbs: one typed, documented function each. The command line, and every other surface, is made from these.

A verb returns an answer with the exit status of docs/cli.md, or raises a WarpsmithError. Each lies in the module of its
subject, which imports heavy modules inside the verbs, so that ``warpsmith --help`` stays quick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from warpsmith.surface.capturing import capture
from warpsmith.surface.doctor import doctor
from warpsmith.surface.explaining import explain, profile
from warpsmith.surface.exporting import export, exports
from warpsmith.surface.installing import install, status, uninstall
from warpsmith.surface.integrating import intake, integrate
from warpsmith.surface.knowledge import (
    knowledge,
    knowledge_export,
    knowledge_import,
    knowledge_search,
    knowledge_show,
)
from warpsmith.surface.launching import launch
from warpsmith.surface.loading import load
from warpsmith.surface.mcp_serving import mcp
from warpsmith.surface.measuring import bench, check, passed_sanitizers
from warpsmith.surface.notifying import notify_status, notify_test
from warpsmith.surface.observing import observe
from warpsmith.surface.optimizing import optimize, stop, submit
from warpsmith.surface.pinning import gpu_exec, gpu_list, gpu_select
from warpsmith.surface.reporting import diff, history, report, show
from warpsmith.surface.running import run
from warpsmith.surface.serving import serve
from warpsmith.surface.shipping import handoff, promote, regress, reject, releases, verify
from warpsmith.surface.stamp import new
from warpsmith.surface.trying import trial

__all__ = [
    "VERBS", "bench", "capture", "check", "diff", "doctor", "explain", "export", "exports", "gpu_exec", "gpu_list",
    "gpu_select", "handoff", "history", "install", "intake", "integrate", "knowledge", "knowledge_export",
    "knowledge_import", "knowledge_search", "knowledge_show", "launch", "load", "mcp", "new", "notify_status",
    "notify_test", "observe", "optimize", "passed_sanitizers", "profile", "promote", "regress", "reject", "releases",
    "report", "run", "serve", "show", "status", "stop", "submit", "trial", "uninstall", "verify",
]  # fmt: skip
"""The verbs, and what programs may ask beside them."""
VERBS: tuple[Callable[..., Any], ...] = (
    doctor, run, new, intake, observe, capture, check, bench, profile, explain, optimize, stop, submit, history, show,
    diff, report,
    promote, reject, verify, releases, handoff, regress, export, exports,
    install, status, uninstall, trial, integrate,
    knowledge, knowledge_search, knowledge_show, knowledge_import, knowledge_export, launch, mcp,
    serve, load, gpu_list, gpu_select, gpu_exec,
    notify_test, notify_status,
)  # fmt: skip
"""In the order of the help; an underscore in a name is a space on the command line."""
