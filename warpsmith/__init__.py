"""warpsmith: from a slow kernel to a faster, verified, pinned one, with the evidence.

Importing this package imports nothing else: the verbs live in :mod:`warpsmith.surface.api`.
"""

__version__ = "0.1.0"
