"""Messages on standard error, and the exit codes."""

from __future__ import annotations

import re
import shlex
import sys
from functools import partial
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
    if sys.stderr is not None:  # it may be closed; print would use standard output
        print(f"skvgg: {kind}: {text}".rstrip(": "), file=sys.stderr)


#: A text in quotation marks, but not what is between two apostrophes.
_QUOTED = r"""(?<!\w)'[^']*'|(?<!\w)"[^"]*\""""


def as_options(text: str, options: argparse.Namespace) -> str:
    """Write the parameters in a message as options of the command.

    ``weights='hed'`` becomes ``--weights hed``, ``layer=('fc1', 'fc2')`` becomes
    ``--layer fc1,fc2``, ``image_size=(96, 128)`` becomes ``--image-size 96x128``, and
    ``batch_size`` becomes ``--batch-size``. Values that the user did not give are
    called "the default --layer fc1". File names in quotation marks stay. Of a suggested
    ``VGG19Features(weights, ...)``, the other parameters remain.

    Parameters
    ----------
    text : str
        A message about parameters of a transformer.
    options : argparse.Namespace
        The options; parameters that are not among them stay as they are. `defaults`
        may have the values of options that are None.
    """
    text = re.sub(rf"VGG19Features\((?:{_QUOTED}), (.*)\)", r"\1", text)
    names = "|".join(vars(options))
    long_names = "|".join(name for name in vars(options) if "_" in name) or "(?!)"
    return re.sub(
        rf"\b({names})=({_QUOTED}|\([^()]*\)|\w+)|{_QUOTED}|\b({long_names})\b",
        partial(_as_option, options=options),
        text,
    )


def _as_option(match: re.Match[str], options: argparse.Namespace) -> str:
    name, value, alone = match.groups()
    option = f"--{(name or alone or '').replace('_', '-')}"
    if alone:
        return option
    if not name:
        return match[0]
    if value == "None" and name != "weights":
        return f"no {option}"
    found = re.findall(rf"({_QUOTED})|(\w+)", value)
    words = [shlex.quote(quoted[1:-1] or word.lower()) for quoted, word in found]
    is_size = value.startswith("(") and all(word.isdecimal() for word in words)
    text = ("x" if is_size else ",").join(words)
    is_given = getattr(options, name) is not None
    is_default = not is_given and getattr(options, "defaults", {}).get(name) == text
    return f"{'the default ' if is_default else ''}{option} {text}"
