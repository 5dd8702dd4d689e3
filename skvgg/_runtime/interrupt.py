"""Calls in other threads that end soon after Ctrl-C, which only the main one notices.

A thread cannot be ended from outside. So long calls check between two steps whether
somebody still waits for them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from contextvars import ContextVar
from threading import Event
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_stop: ContextVar[Event | None] = ContextVar("stop", default=None)


def stoppable(function: Callable[P, R], stop: Event) -> Callable[P, R]:
    """Return a function within which :func:`check_stop` looks at an event."""

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        token = _stop.set(stop)
        try:
            return function(*args, **kwargs)
        finally:
            _stop.reset(token)

    return call


def check_stop() -> None:
    """Raise a CancelledError if the call of this thread is to end."""
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise CancelledError
