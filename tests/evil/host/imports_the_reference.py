# crashed or wrong_values | theft: runs the oracle itself, from the step's folder
import importlib.util
import sys
from pathlib import Path

import numpy as np

PATH = Path(sys.argv[1]).resolve().parents[2] / "task" / "reference.py"


def kernel(x, w, y, m, n):
    spec = importlib.util.spec_from_file_location("reference", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    y[...] = module.reference(np, x.astype(np.float64), w.astype(np.float64))
