"""Profilers: the judge's own workers and launchers run again under a tool that counts; what it saw becomes a Profile.

Owns the command lines of Nsight Compute, Nsight Systems, callgrind and perf, how their reports are read, and what is
done where one of them cannot. There is no second driver of a kernel: ``launches.py`` and ``cpu.py`` put a tool before
the process that the judge starts anyway, on hidden inputs, and the outputs are verified here too. A profiler's own
durations are never used as times.
"""
