"""The product as numpy hands it to its BLAS.

The BLAS reads its thread count when numpy is first imported, so the process that runs this peer
must start with OPENBLAS_NUM_THREADS=1 (MKL_NUM_THREADS=1, OMP_NUM_THREADS=1) in its environment;
setting the variable here would be too late.
"""

import numpy as np


def sgemm(a, b, c, M, N, K):
    np.matmul(a, b, out=c)
