"""Benchmarks: each compares in one run, with the peers side by side.

Two variables that pin OpenBLAS to an old kernel may halve NumPy's speed. They are read when NumPy
is imported, and this module is imported before it.
"""

import os

for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(_name, None)
