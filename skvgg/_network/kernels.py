"""The functions in machine code, compiled once per process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from llvmlite import ir

from skvgg._network.dense_kernel import write_multiply
from skvgg._network.panels import panel_columns
from skvgg._network.winograd_kernels import write_convolve, write_pack
from skvgg._runtime.machine_code import compile_functions
from skvgg._runtime.processor import vectors

#: Held while the functions are compiled; other threads wait.
_LOCK = threading.Lock()


class Kernels(NamedTuple):
    """The compiled functions and their panel size.

    Attributes
    ----------
    n_columns : int
        Columns of a panel; see :mod:`skvgg._network.panels`.
    pack, convolve, multiply : callable
        See :func:`skvgg._network.winograd_kernels.write_pack`,
        :func:`skvgg._network.winograd_kernels.write_convolve` and
        :func:`skvgg._network.dense_kernel.write_multiply`.
    """

    n_columns: int
    pack: Callable[..., None]
    convolve: Callable[..., None]
    multiply: Callable[..., None]


def kernels() -> Kernels:
    """Return the functions for this processor."""
    with _LOCK:
        return compile_kernels()


@cache
def compile_kernels() -> Kernels:
    """Compile the functions for this processor; used by :func:`kernels`."""
    module, width = ir.Module(), vectors().width
    n_columns = panel_columns(vectors())
    write_pack(module, width, n_columns)
    write_convolve(module, width, n_columns)
    write_multiply(module, width, n_columns)
    return Kernels(n_columns, **compile_functions(module))
