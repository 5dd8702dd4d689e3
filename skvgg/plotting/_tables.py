"""Helpers for the tables and the parameters of displays."""

from __future__ import annotations

from typing import Any

from skvgg._images import is_whole


def import_pandas(caller: str) -> Any:
    """Return pandas, or raise an error that says how to install it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"{caller} needs pandas: pip install pandas") from error
    return pandas


def check_count(number: Any, name: str) -> int:
    """Check that a parameter is a positive integer, and return it as int."""
    if not is_whole(number) or number < 1:
        raise ValueError(f"{name}={number!r}; expected an integer, 1 or more.")
    return int(number)
