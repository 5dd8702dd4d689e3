"""The number of threads that skvgg may use, and executors with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import joblib


def max_threads() -> int:
    """Return the number of cores, limited by ``OMP_NUM_THREADS``.

    joblib sets this variable in its workers to their share of the cores or to
    ``inner_max_num_threads``. It respects the CPU quota of containers.
    """
    # OpenMP allows a list with a number for each level of nesting.
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    n_allowed = joblib.cpu_count()
    return min(int(limit), n_allowed) if limit.isdigit() and int(limit) else n_allowed


def n_cores() -> int:
    """Return the number of cores that this process may run on, ignoring its quota."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads(n: int | None = None) -> Executor:
    """Return an executor with `n` threads, by default as many as are allowed.

    If only one thread is allowed, calls run immediately in the current thread.
    """
    n_allowed = max_threads()
    if n_allowed == 1:
        return InTurn()
    return ThreadPoolExecutor(n or n_allowed, thread_name_prefix="skvgg")


class InTurn(Executor):
    """An executor that runs each call immediately in the calling thread."""

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Run the call; return a finished future with its result or error."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
