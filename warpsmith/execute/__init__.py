"""Where a step runs. Opens a session on a target (one argv, kept warm) and moves step folders through it.

Knows no toolchain and never imports the judge: the two meet in model/step.py, as files.
"""
