"""How many threads libraries start in a task."""

from __future__ import annotations

import os

# Libraries take the sizes of their thread pools from these, once, when they are first used; some would start a thread
# for each cpu of the machine. Programs get the same ones (`engine/exec/src/process/threads.rs`).
VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


def limit_threads(cpus: int) -> None:
    """Have libraries use as many threads as a task has cpus, except where the environment says something else."""
    for name in VARIABLES:
        os.environ.setdefault(name, str(cpus))
