"""Device memory by its address, as torch takes it without a copy: the judge's own, and what a worker maps of it.

Imports nothing: part of the worker of the host contract on a GPU too (gpuhostworker.py).
"""


class DeviceBytes:
    """Bytes at an address, under the CUDA array interface. Whoever owns the memory must outlive it."""

    def __init__(self, address: int, size: int) -> None:
        self.__cuda_array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (address, False), "version": 3}
