"""How many threads skvgg may use, and calls in them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import joblib


def max_threads() -> int:
    """Return the number of cores, or what ``OMP_NUM_THREADS`` limits it to.

    joblib sets that variable in its workers: to their share of the cores, or to
    ``inner_max_num_threads``. It counts as many cores as a container's quota allows.
    """
    # OpenMP allows a list, a number for each level of nesting.
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    n_allowed = joblib.cpu_count()
    return min(int(limit), n_allowed) if limit.isdigit() and int(limit) else n_allowed


def n_cores() -> int:
    """Return the number of cores that this process may run on, whatever its quota."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads(n: int | None = None) -> Executor:
    """Return `n` threads beside this one, or as many as are allowed.

    If one thread is allowed, that is this one: each call is then made at once.
    """
    n_allowed = max_threads()
    if n_allowed == 1:
        return InTurn()
    return ThreadPoolExecutor(n or n_allowed, thread_name_prefix="skvgg")


class InTurn(Executor):
    """Makes each call at once, in the thread that asks for it."""

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Return the result, or the error, as a future that is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
