"""Progress bars whose errors never stop a computation."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm  # not tqdm.auto: saved notebooks would always show 0 %

_share: ContextVar[Share | None] = ContextVar("share", default=None)


def progress_bar(steps: Iterable[Any] | None = None, **settings: Any) -> Any:
    """Return a tqdm progress bar on standard error, ignoring errors of the stream.

    Within :func:`sharing`, a bar over images updates its share of the outer bar.

    Parameters
    ----------
    steps : iterable, optional
        Items to iterate over.
    **settings
        Parameters of :class:`tqdm.tqdm`.
    """
    share = _share.get()
    if share is not None and settings.get("unit") == "image":
        return share
    return tqdm(steps, file=_Unfailing(sys.stderr), **settings)


@contextmanager
def sharing(bar: tqdm, n: int) -> Iterator[None]:
    """Advance a bar by `n` images in total, as inner bars advance."""
    share = Share(bar, n)
    token = _share.set(share)
    try:
        yield
    finally:
        _share.reset(token)
    share.finish()


class Share:
    """A part of a progress bar that several inner bars advance in turn.

    Parameters
    ----------
    bar : tqdm
        The outer bar.
    n : int
        Maximum number of steps of the part.
    """

    def __init__(self, bar: tqdm, n: int) -> None:
        self._bar = bar
        self._left = n

    def update(self, n: int) -> None:
        """Advance, but not beyond the part."""
        n = min(n, self._left)
        self._left -= n
        self._bar.update(n)

    def finish(self) -> None:
        """Advance to the end of the part."""
        self.update(self._left)

    def set_postfix(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: counts of a part would be wrong for the outer bar."""

    def set_postfix_str(self, text: str) -> None:
        """Show a text that concerns the whole bar."""
        self._bar.set_postfix_str(text)

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *args: object) -> None:
        """Leave the bar open; the outer code closes it."""


class _Unfailing:
    """A stream that ignores the errors of an underlying stream.

    That stream may be closed, None, a broken pipe, or on a full disk.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Try to write; always report success."""
        try:
            self._stream.write(text)
        except Exception:
            self._stream = None
        return len(text)

    def flush(self) -> None:
        """Try to flush."""
        try:
            self._stream.flush()
        except Exception:
            self._stream = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
