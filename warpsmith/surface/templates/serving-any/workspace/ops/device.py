"""The device that torch computes on, as the implementations need to know it."""

import torch

from ops import Absent, Unusable


def architecture() -> str:
    """``sm_90`` of the current GPU. Raises Absent where there is none."""
    if not torch.cuda.is_available():
        raise Absent("torch sees no CUDA device")
    major, minor = torch.cuda.get_device_capability()
    return f"sm_{major}{minor}"


def stream() -> int:
    """The stream that torch's next kernel goes to: launches there are captured in CUDA graphs too."""
    return torch.cuda.current_stream().cuda_stream


def threads(block: int) -> int:
    """``block``, where it is whole warps and not too many. Raises Unusable."""
    if block % 32 or not 32 <= block <= 1024:
        raise Unusable(f"a block of {block} threads: use a multiple of 32 up to 1024")
    return block
