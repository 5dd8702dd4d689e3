"""How many threads skvgg may use."""

from __future__ import annotations

import os

import joblib


def max_threads() -> int:
    """Return the number of cores, or what ``OMP_NUM_THREADS`` limits it to.

    joblib sets that variable in its workers: to their share of the cores, or to
    ``inner_max_num_threads``.
    """
    limit = os.environ.get("OMP_NUM_THREADS", "")
    n_cores = joblib.cpu_count()
    return min(int(limit), n_cores) if limit.isdigit() and int(limit) else n_cores
