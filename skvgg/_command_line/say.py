"""Messages on standard error, and the exit codes."""

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

OK, SOME_BAD, FATAL, INTERRUPTED = 0, 1, 2, 130


def say(kind: str, message: Any, error: BaseException | None = None) -> None:
    """Write a line to standard error.

    Parameters
    ----------
    kind : str
        Kind of message: "error", "warning", "note", "interrupted".
    message : object
        Text of the message; line breaks become spaces.
    error : exception, optional
        An exception whose notes are appended.
    """
    notes = getattr(error, "__notes__", [])
    text = " ".join(" ".join([str(message), *notes]).split())
    print(f"skvgg: {kind}: {text}".rstrip(": "), file=sys.stderr)


def as_options(text: str, options: argparse.Namespace) -> str:
    """Write the parameters in a message as options of the command.

    ``weights='hed'`` becomes ``--weights hed``, ``layer=('fc1', 'fc2')`` becomes
    ``--layer fc1,fc2``, and ``image_size=(96, 128)`` becomes ``--image-size 96x128``.

    Parameters
    ----------
    text : str
        A message about parameters of a transformer.
    options : argparse.Namespace
        The options; parameters that are not among them stay as they are.
    """
    names = "|".join(vars(options))
    return re.sub(
        rf"\b({names})=('[^']*'|\([^()]*\)|\w+)",
        lambda match: _as_option(match[1].replace("_", "-"), match[2]),
        text,
    )


def _as_option(name: str, value: str) -> str:
    if value == "None" and name != "weights":
        return f"no --{name}"
    found = re.findall(r"'([^']*)'|(\w+)", value)
    words = [shlex.quote(text or word.lower()) for text, word in found]
    is_size = value.startswith("(") and all(word.isdecimal() for word in words)
    return f"--{name} {('x' if is_size else ',').join(words)}"
