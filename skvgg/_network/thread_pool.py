"""The threads of a forward pass, for work that TensorFlow does not do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np

from skvgg._runtime.machine_code import empty
from skvgg._runtime.tensorflow import n_threads_of_network
from skvgg._runtime.threads import InTurn


class ThreadPool:
    """Threads with reusable buffers.

    Use it in a ``with`` statement.

    Attributes
    ----------
    n : int
        Number of threads.
    """

    def __init__(self) -> None:
        self.n = n_threads_of_network()
        self._executor: Executor = InTurn()
        if self.n > 1:
            self._executor = ThreadPoolExecutor(self.n, thread_name_prefix="skvgg")
        self._buffers: dict[tuple[int, str], np.ndarray] = {}

    def __enter__(self) -> ThreadPool:
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown()

    def run(self, function: Callable[[int, Any], None], tasks: Sequence[Any]) -> None:
        """Call a function with the index and the value of each task; wait for all."""
        if len(tasks) == 1:
            function(0, tasks[0])
        else:
            list(self._executor.map(function, range(len(tasks)), tasks))

    def buffer(self, thread: int, name: str, n: int) -> np.ndarray:
        """Return a buffer for `n` values; reuse that of an earlier call if possible."""
        buffer = self._buffers.get((thread, name))
        if buffer is None or len(buffer) < n:
            buffer = self._buffers[thread, name] = empty([n])
            buffer.fill(0)  # padding rows of panels are multiplied, too
        return buffer


class Part(NamedTuple):
    """The work of a thread: ranges of tiles or strips, and of panels of channels."""

    rows: tuple[int, int]
    panels: tuple[int, int]


def divide(n: int, n_parts: int, n_panels: int, n_panel_parts: int) -> list[Part]:
    """Divide tiles or strips, and panels of channels; return all pairs of parts."""
    pairs = product(ranges(n, n_parts), ranges(n_panels, n_panel_parts))
    return [Part(*pair) for pair in pairs]


def ranges(n: int, n_parts: int) -> list[tuple[int, int]]:
    """Divide range(n) into `n_parts` parts; return their starts and ends."""
    return [*pairwise(n * i // n_parts for i in range(n_parts + 1))]
