"""Pillow's process-wide switches that decide which files can be read, and how.

Workers read as the main process does, and rows that depend on a switch have their own
keys.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

#: A switch: the name of its module, its own name, and its value.
Switch = tuple[str, str, Any]

#: Switches that change pixels, with Pillow's defaults.
_CHANGING_PIXELS: tuple[Switch, ...] = (
    ("PIL.ImageFile", "LOAD_TRUNCATED_IMAGES", False),
    ("PIL.BmpImagePlugin", "USE_RAW_ALPHA", False),
    ("PIL.TiffImagePlugin", "READ_LIBTIFF", False),
    ("PIL.AvifImagePlugin", "DECODE_CODEC_CHOICE", "auto"),
)

#: Switches that only change which files are rejected.
_REJECTING = (
    ("PIL.Image", "MAX_IMAGE_PIXELS"),
    ("PIL.PngImagePlugin", "MAX_TEXT_CHUNK"),
    ("PIL.PngImagePlugin", "MAX_TEXT_MEMORY"),
)


def changed_switches() -> tuple[Switch, ...]:
    """Return the switches that change pixels and do not have Pillow's defaults."""
    defaults = {(module, name): value for module, name, value in _CHANGING_PIXELS}
    return tuple(
        (module, name, value)
        for module, name, value in _values(defaults)
        if value != defaults[module, name]
    )


def all_switches() -> tuple[Switch, ...]:
    """Return all switches, to be set in a worker."""
    names = [(module, name) for module, name, _ in _CHANGING_PIXELS]
    return (*_values(names), *_values(_REJECTING))


class _Using:
    """Sets switches in this process while a ``with`` statement runs.

    Threads with the same switches run together; others wait for each other.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._n_inside = 0
        self._switches: tuple[Switch, ...] = ()
        self._before: tuple[Switch, ...] = ()

    @contextmanager
    def __call__(self, switches: tuple[Switch, ...]) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(
                lambda: self._n_inside == 0 or self._switches == switches
            )
            if self._n_inside == 0:
                self._switches, self._before = switches, all_switches()
                _set(switches)
            self._n_inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._n_inside -= 1
                if self._n_inside == 0:
                    _set(self._before)
                    self._changed.notify_all()


#: Takes switches, as :func:`all_switches` returned them, and sets them for a while.
using_switches = _Using()


def _set(switches: Iterable[Switch]) -> None:
    """Set switches, except those of modules that this version of Pillow lacks."""
    for module, name, value in switches:
        if find_spec(module) is not None:
            setattr(import_module(module), name, value)


def _values(names: Iterable[tuple[str, str]]) -> Iterable[Switch]:
    """Yield the values of the switches that this version of Pillow has."""
    for module, name in names:
        if find_spec(module) is not None:
            found = vars(import_module(module))
            if name in found:
                yield module, name, found[name]
