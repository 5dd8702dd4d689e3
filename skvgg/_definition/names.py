"""Suggestions for misspelled names."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


def did_you_mean(name: object, known: Sequence[str]) -> str:
    """Return a question that suggests the most similar known name.

    Parameters
    ----------
    name : object
        An unknown name.
    known : sequence of str
        The valid names.

    Returns
    -------
    str
        Starts with a space, to follow a sentence; empty if no name is similar.
    """
    similar = get_close_matches(str(name), known, n=1)
    return f" Did you mean {similar[0]!r}?" if similar else ""
