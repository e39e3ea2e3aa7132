"""What is said: frozen records. No files, no clocks, no torch; each module imports earlier ones only.

base -> expression -> task, candidate -> evaluation, target -> step -> campaign
"""
