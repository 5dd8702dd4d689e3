"""Warnings that point at the line in user code."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType, ModuleType

#: Packages between user code and ours on the call stack.
_PACKAGES = ("skvgg", "sklearn", "joblib", "contextlib")

_warned_of: set[tuple[str, str]] = set()
_held: ContextVar[list[Warning] | None] = ContextVar("held", default=None)


def warn(message: str | Warning, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that points at the line that called scikit-learn or skvgg.

    Python 3.12 has ``skip_file_prefixes`` in :func:`warnings.warn` for this.
    """
    held = _held.get()
    if held is not None:
        held.append(message if isinstance(message, Warning) else category(message))
        return
    prefixes = tuple(_prefix(sys.modules[n]) for n in _PACKAGES if n in sys.modules)
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(prefixes):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def warn_once(place: str, problem: str, message: str) -> None:
    """Warn, unless this process has already warned of this problem at this place."""
    if (place, problem) not in _warned_of:
        _warned_of.add((place, problem))
        warn(message)


@contextmanager
def holding_warnings() -> Iterator[list[Warning]]:
    """Collect the warnings of this thread that :func:`warn` would issue.

    Other warnings and Python's filters are not affected.
    """
    held: list[Warning] = []
    token = _held.set(held)
    try:
        yield held
    finally:
        _held.reset(token)


def _prefix(module: ModuleType) -> str:
    """Return the common prefix of the paths of a module's files."""
    path = module.__file__ or ""
    is_package = hasattr(module, "__path__")
    return os.path.dirname(path) + os.sep if is_package else path
