"""Measures by hand, for whoever develops an operation: parity (``ops``, ``tokens``) and one profile (``profile``).

Nothing here decides anything: verdicts come from ``warpsmith bench``.
"""
