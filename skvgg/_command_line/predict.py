"""``skvgg predict``: images to a table of predictions."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from skvgg._command_line.listing import (
    add_images,
    check_output,
    find_images,
    positive,
    reason_of,
    refuse_overwriting,
    seen_from,
    table_line,
)
from skvgg._command_line.say import OK, SOME_BAD, say

HELP = "write a saved model's predictions for images to a table"

DESCRIPTION = """\
Write what a model, saved with joblib.dump, predicts for images: a CSV table with
the columns path, prediction, one probability_CLASS for each class if the model
has predict_proba, and error. An image that cannot be used has an empty
prediction, and error says why. Several predictions for an image are written
into one cell, with spaces between them. Relative paths start from the folder of
the table, or from the working directory if it goes to standard output.

Loading a model runs code that is in its file: only load files from people whom
you trust.
"""

EPILOG = """\
examples:
  skvgg predict model.joblib photos/ -o predictions.csv
  skvgg predict model.joblib a.jpg b.jpg -o - | sort

exit codes:
  0    every image has a prediction
  1    done, but some images could not be used
  2    wrong usage, or an error that ended the run
  130  interrupted
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "model", metavar="MODEL", help="file of joblib.dump; loading it runs its code"
    )
    add_images(parser)
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="the table, or - for standard output",
    )
    parser.add_argument(
        "--strict", action="store_true", help="end the run at a bad image"
    )
    parser.add_argument(
        "--chunk-size",
        type=positive,
        default=256,
        metavar="N",
        help="images that are predicted together (default: 256)",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from skvgg._command_line.model import Model
    from skvgg._runtime.progress import progress_bar, sharing

    paths = find_images(options).paths
    if options.output != "-":
        check_output(Path(options.output))
        refuse_overwriting(Path(options.output), options.images)
    model = Model(options.model)
    place = _naming(options.output)
    n_bad = 0
    with (
        _opened(options.output) as write,
        progress_bar(total=len(paths), unit="image", disable=options.quiet) as bar,
    ):
        write(["path", "prediction", *model.probability_names, "error"])
        for start in range(0, len(paths), options.chunk_size):
            some = paths[start : start + options.chunk_size]
            with sharing(bar, len(some)):
                predicted = model.predict(some, start, strict=options.strict)
            n_bad += len(predicted.bad)
            for index, path in enumerate(some):
                error = ""
                if index in predicted.bad:
                    error = reason_of(predicted.bad[index], path, start + index)
                write([place(path), *predicted.cells[index], error])
    if not n_bad:
        return OK
    say("warning", f"{n_bad} of {len(paths)} images could not be used.")
    return SOME_BAD


def _naming(output: str) -> Callable[[str], str]:
    """Return what gives the path of an image as the table names it."""
    return str if output == "-" else partial(seen_from, Path(output).parent)


@contextmanager
def _opened(output: str) -> Iterator[Any]:
    """Lend what writes a line of the table; the file has its name when all is well."""
    if output == "-":
        yield lambda cells: sys.stdout.write(table_line(cells))
        sys.stdout.flush()
        return
    path = Path(output)
    part = path.with_name(f"{path.name}.part")
    try:
        # Names of files need not be text; they are written as they are.
        with part.open(
            "w", encoding="utf-8", errors="surrogateescape", newline=""
        ) as file:
            yield lambda cells: file.write(table_line(cells))
    except BaseException as error:
        if part.exists():
            error.add_note(f"The predictions so far are in {str(part)!r}.")
        raise
    os.replace(part, path)
