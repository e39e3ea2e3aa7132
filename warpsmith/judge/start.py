"""Starts a judge session: ``python -P start.py [MODULE]``. A program of its own, never imported.

It takes this very package, wherever it lies, and leaves the search path alone: run as ``-m warpsmith.judge``, Python
would import from the working directory first, where a ``torch.py`` may lie that is nobody's torch.
"""

import importlib.util
import os
import runpy
import sys

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

said = os.environ.get("PYTHONPATH", "").split(os.pathsep)
here = {os.path.abspath(folder) for folder in said if not os.path.isabs(folder)}  # an empty entry means: here
sys.path[:] = [folder for folder in sys.path if folder in said or os.path.abspath(folder) not in here]
path = os.path.join(PACKAGE, "__init__.py")
spec = importlib.util.spec_from_file_location("warpsmith", path, submodule_search_locations=[PACKAGE])
assert spec is not None and spec.loader is not None
sys.modules["warpsmith"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["warpsmith"])
runpy.run_module(sys.argv[1] if len(sys.argv) > 1 else "warpsmith.judge", run_name="__main__", alter_sys=True)
