"""Missing values of all libraries: None, NaN, NaT and pandas.NA."""

from __future__ import annotations

from typing import Any


def is_missing(value: Any) -> bool:
    """Return whether a label is missing."""
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas.NA has no truth value
        return True
