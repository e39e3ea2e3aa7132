"""What travels inside an exported package, copied verbatim as ``_runtime``: the dispatch, and the installer.

Standard library only, relative imports only: nothing of warpsmith is there where it runs.
"""
