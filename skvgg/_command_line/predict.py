"""``skvgg predict``: write predictions for images to a table."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from skvgg._command_line.listing import (
    add_images,
    find_images,
    positive,
)
from skvgg._command_line.say import OK, SOME_BAD, say
from skvgg._command_line.table import (
    check_output,
    check_stream,
    is_stream,
    opened,
    seen_from,
)

HELP = "write the predictions of a saved model for images to a table"

DESCRIPTION = """\
Predict for images with a model saved by joblib.dump. The output is a CSV table
with the columns path, prediction, one probability_CLASS for each class if the
model has predict_proba, and error. For images that cannot be used, the
prediction is empty and the error column has the reason. Several predictions for
one image are written to one cell, separated by spaces. Relative paths start from
the folder of the table, or from the working directory for standard output.

Loading a model runs code from its file. Only load files that you trust.
"""

EPILOG = """\
examples:
  skvgg predict model.joblib photos/ -o predictions.csv
  skvgg predict model.joblib a.jpg b.jpg -o - | sort

exit codes:
  0    every image has a prediction
  1    done, but some images could not be used, or links of a folder lead nowhere
  2    wrong usage, or an error that ended the run
  130  interrupted
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "model", metavar="MODEL", help="file from joblib.dump; loading it runs its code"
    )
    add_images(parser, has_labels=False)
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="output table, or - for standard output",
    )
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first bad image"
    )
    parser.add_argument(
        "--chunk-size",
        type=positive,
        default=256,
        metavar="N",
        help="number of images to predict at a time (default: 256)",
    )
    parser.add_argument("--quiet", action="store_true", help="hide the progress bar")


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from skvgg._command_line.model import Model
    from skvgg._runtime.progress import progress_bar, sharing

    check_stream(options.output)
    listing = find_images(options)
    paths = listing.paths
    header = ["path", "prediction"]
    if not is_stream(options.output):
        check_output(Path(options.output), header, options.images)
        _check_suffix(Path(options.output))
    model = Model(options.model)
    place = _naming(options.output)
    n_bad = 0
    with (
        opened(options.output) as write,
        progress_bar(
            total=len(paths),
            unit="image",
            desc=None if is_stream(options.output) else Path(options.output).name,
            disable=options.quiet,
        ) as bar,
    ):
        write([*header, *model.probability_names, "error"])
        for start in range(0, len(paths), options.chunk_size):
            part = paths[start : start + options.chunk_size]
            with sharing(bar, len(part)):
                predicted = model.predict(part, start, strict=options.strict)
            n_bad += len(predicted.bad)
            for index, path in enumerate(part):
                bad = predicted.bad.get(index)
                error = "" if bad is None else bad.explanation
                write([place(path), *predicted.cells[index], error])
    if not n_bad:
        return SOME_BAD if listing.lost else OK
    say("warning", f"{n_bad} of {len(paths)} images could not be used.")
    return SOME_BAD


def _check_suffix(output: Path) -> None:
    if output.suffix in (".npy", ".parquet", ".zarr"):
        raise ValueError(
            f"{str(output)!r}: predictions are written as a CSV table. Choose another "
            "output, such as predictions.csv."
        )


def _naming(output: str) -> Callable[[str], str]:
    """Return a function that maps the path of an image to its path in the table."""
    return str if is_stream(output) else partial(seen_from, Path(output).parent)
