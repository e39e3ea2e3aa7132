"""Starts the sandbox's processes: ``entry.py PLAN [inside STATUS GO]``; see outer.py.

A program of its own, never imported. What it does lies in modules, whose compiled form Python keeps.
"""

import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from warpsmith.sandbox.outer import main  # isolated mode leaves this folder out of the path

main(sys.argv[1:])
