"""Suggestions for misspelled names."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


def did_you_mean(name: object, known: Sequence[str]) -> str:
    """Return a question that suggests the most similar name in `known`, if any.

    It starts with a space, to follow a sentence.
    """
    similar = get_close_matches(str(name).lower(), known, n=1)
    return f" Did you mean {similar[0]!r}?" if similar else ""
