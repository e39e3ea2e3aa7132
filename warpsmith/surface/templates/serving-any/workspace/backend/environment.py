"""Every environment variable that this workspace gives a default, and its default. Nowhere else is one read.

An overlay sets them, and the tunables of task.toml are some of them: the first mutations change nothing else. Those
that begin with ``MODEL_`` are options of warpsmith's transformers backend, which also takes those that are not here
(``MODEL_ATTENTION``, ``MODEL_BATCHING``). Switches of operations (``OPS_RMSNORM``) have their default in
``ops/kernel_manifest.yaml``.
"""

import os

DEFAULTS = {
    "MODEL_MAX_BATCH": "16",
    "MODEL_THREADS": "0",
    "MATMUL_PRECISION": "highest",
    "OPS_BLOCK": "256",
}
"""Rows that share a pass, at most. Threads of torch on the CPU; 0: its own choice. Of float32 products: highest, or
high and medium, which may round their factors. Threads per block of the workspace's kernels."""


def word(name: str, default: str = "") -> str:
    """What a variable says, in small letters; its default where it says nothing."""
    return os.environ.get(name, "").strip().lower() or DEFAULTS.get(name, default)


def number(name: str) -> int:
    """A whole number. Raises ValueError naming the variable."""
    try:
        return int(word(name))
    except ValueError:
        raise ValueError(f"{name}={word(name)!r} is no whole number") from None
