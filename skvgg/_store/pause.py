"""Pauses of stores that failed, so that they cannot slow down every call.

Deletions ignore them.
"""

from __future__ import annotations

import time
from collections.abc import Hashable

#: After a failure, a store is not waited for this many times as long as the failed call
#: took, and at least a second. So it costs at most a tenth of the time.
_PAUSE = 10
_paused_until: dict[Hashable, float] = {}


def is_paused(place: Hashable) -> bool:
    """Return whether a place is not to be waited for now."""
    return time.monotonic() < _paused_until.get(place, 0.0)


def pause(place: Hashable, start: float) -> None:
    """Pause a place, for all stores of this process that use it.

    Parameters
    ----------
    place : hashable
        The server or file.
    start : float
        When the call that failed began, by :func:`time.monotonic`.
    """
    now = time.monotonic()
    _paused_until[place] = now + max(1.0, _PAUSE * (now - start))


def resume(place: Hashable) -> None:
    """End the pause of a place, if there is one."""
    _paused_until.pop(place, None)
