"""What becomes of a model between its weights and its first token, hooks aside.

Which weights is said by task.toml: the files of ``server.snapshot``, or small random ones of the shape and seed in
``server.options``. Layouts, fused or repacked weights and preallocated buffers belong here.
"""

import torch

from backend import environment


def arrange(model: torch.nn.Module) -> str:
    """Make the model ready for serving only; what was done. Raises ValueError for a precision that torch has not."""
    model.requires_grad_(False)
    precision = environment.word("MATMUL_PRECISION")
    if precision not in ("highest", "high", "medium"):
        raise ValueError(f"MATMUL_PRECISION={precision!r}: use highest, high or medium")
    torch.set_float32_matmul_precision(precision)
    return f"matmul precision {precision}"
