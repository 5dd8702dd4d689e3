"""Suggestions for misspelled names."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

#: Minimum ratio of common characters; the default of difflib.
_SIMILAR = 0.6


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
    ratios = {
        valid: SequenceMatcher(None, str(name).lower(), valid).ratio()
        for valid in known
    }
    similar = max(ratios, key=ratios.__getitem__)  # the first one of equal ratios
    return f" Did you mean {similar!r}?" if ratios[similar] >= _SIMILAR else ""
