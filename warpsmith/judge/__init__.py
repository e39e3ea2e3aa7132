"""The judge: beside the device, owner of inputs, oracle, poisoned outputs and the clock.

Three invariants (docs/architecture.md, The judge): every timed call gets input contents never seen before; every timed
output is verified, from a poisoned buffer, by a process that never runs candidate code; a clock outside the candidate's
process spans "inputs revealed -> outputs final". It meets ``execute`` in model/step.py, as files, and never imports it.
"""

VERSION = "3"
"""Raise it when a change could move a verdict or a time: evaluations of different versions are not compared."""
