"""Suppress Pillow's warnings in some threads."""

from __future__ import annotations

import sys
import threading
import warnings
from types import ModuleType
from typing import Any


class _Silence:
    """Suppresses Pillow's warnings in the threads that have entered it.

    Pillow warns about unusual but readable files, and about large files, for which
    skvgg raises an error. Warning filters, and so ``warnings.catch_warnings``, affect
    the whole process, so they are not used. Instead, while any thread is inside, the
    name :mod:`warnings` in Pillow's modules refers to an object that passes on only the
    warnings of other threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._n_imported = 0
        self._modules: list[ModuleType] = []
        self._stand_in = _WarningsOfOtherThreads()

    def __enter__(self) -> None:
        with self._lock:
            self._n_inside += 1
            if self._n_inside == 1:
                if len(sys.modules) != self._n_imported:  # a search takes 50 us
                    self._n_imported = len(sys.modules)
                    self._modules = _modules_that_warn()
                for module in self._modules:
                    vars(module)["warnings"] = self._stand_in
        self._stand_in.here.is_quiet = True

    def __exit__(self, *_: object) -> None:
        self._stand_in.here.is_quiet = False
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                for module in self._modules:
                    vars(module)["warnings"] = warnings


class _WarningsOfOtherThreads:
    """The module :mod:`warnings`, but silent in the marked threads."""

    def __init__(self) -> None:
        self.here = threading.local()

    def warn(
        self,
        message: Warning | str,
        category: type[Warning] | None = None,
        stacklevel: int = 1,
        **others: Any,
    ) -> None:
        """Warn as :func:`warnings.warn` does, with the same source line."""
        if not getattr(self.here, "is_quiet", False):
            warnings.warn(message, category, stacklevel + 1, **others)

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)


def _modules_that_warn() -> list[ModuleType]:
    """Return Pillow's modules that have imported :mod:`warnings`."""
    return [
        module
        for name, module in [*sys.modules.items()]
        if name.startswith("PIL.") and vars(module).get("warnings") is warnings
    ]


#: Suppresses Pillow's warnings in a ``with`` statement, in the thread that runs it.
SILENCE = _Silence()
