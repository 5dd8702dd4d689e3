"""``skvgg extract``: write the features of images to a file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from skvgg._command_line.listing import (
    Listing,
    add_images,
    find_images,
    positive,
)
from skvgg._command_line.say import OK, SOME_BAD, say
from skvgg._command_line.table import (
    check_output,
    seen_from,
    write_table,
)
from skvgg._definition.architecture import POOLINGS
from skvgg._definition.vocabulary import (
    EngineName,
    Flips,
    Precision,
    PreprocessingName,
    Resize,
)

if TYPE_CHECKING:
    from skvgg.exceptions import ImageError
    from skvgg.features import VGG19Features

HELP = "write the features of images to a file"

DESCRIPTION = """\
Compute the features of images and write them to a file, one row per image. The
suffix of the file selects the format: .npy (numpy.load), .parquet (a folder;
needs pyarrow) or .zarr (needs zarr). A table next to it, rows.npy.images.csv,
lists the image of each row (index, path, label, error). Labels are the names of
subfolders, or of the folders if there are several, or a column of a table.
Relative paths in the table start from its folder.

Run the same command again to resume an interrupted run. Unreadable images become
rows of NaN; with --strict they end the run.
"""

EPILOG = """\
examples:
  skvgg extract photos/ -o rows.npy --layer fc1 --memory cache
  skvgg extract photos/ -o rows.parquet --weights hed --image-size 96 \\
      --layer block4_pool,block5_pool --pooling avg
  skvgg extract table.csv --path-column file -o rows.zarr --strict

Messages name the parameters of VGG19Features: image_size is --image-size, None as
weights is none.

exit codes:
  0    all rows were computed
  1    done, but the rows of some images are NaN, or links of a folder lead nowhere
  2    wrong usage, or an error that ended the run
  130  interrupted; run the same command again to resume
"""

#: First columns of the table of images.
_COLUMNS = ("index", "path")

#: Options that take one of several words.
_WORDS = {
    "--resize": (Resize, "how to resize images of another shape (default: stretch)"),
    "--preprocessing": (
        PreprocessingName,
        "scale of the pixels (default: auto, as the weights were trained)",
    ),
    "--views": (Flips, "average over the mirror image, or over all flips"),
    "--precision": (
        Precision,
        "fewer bits are faster on some processors (default: float32)",
    ),
    "--engine": (EngineName, "how to compute convolutions on a CPU (default: auto)"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_images(parser, has_labels=True)
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help="output file"
    )
    network = parser.add_argument_group("features (see VGG19Features)")
    network.add_argument(
        "--weights",
        metavar="W",
        help="imagenet (the default; downloaded once), hed, none (random), or a file",
    )
    network.add_argument(
        "--layer",
        type=_words,
        metavar="L",
        help="a layer, or several separated by commas (default: fc1)",
    )
    network.add_argument(
        "--pooling", type=_poolings, metavar="P", help="avg, max, or avg,max"
    )
    network.add_argument(
        "--image-size",
        default=224,
        type=_size,
        metavar="N",
        help="height and width in pixels, or HEIGHTxWIDTH (default: 224)",
    )
    for option, (words, meaning) in _WORDS.items():
        network.add_argument(option, choices=get_args(words), help=meaning)
    network.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="images in the network at a time (default: 32)",
    )
    network.add_argument(
        "--memory", metavar="DIR", help="folder of a cache of the features"
    )
    _add_arguments_of_the_run(parser)


def _add_arguments_of_the_run(parser: argparse.ArgumentParser) -> None:
    run = parser.add_argument_group("the run")
    bad_images = run.add_mutually_exclusive_group()
    bad_images.add_argument(
        "--on-error",
        choices=("nan", "raise"),
        help="for bad images: a row of NaN (the default), or an error",
    )
    bad_images.add_argument(
        "--strict",
        dest="on_error",
        action="store_const",
        const="raise",
        help="stop at the first bad image; the same as --on-error raise",
    )
    run.add_argument(
        "--chunk-size",
        type=positive,
        default=256,
        metavar="N",
        help="number of rows to write at a time (default: 256)",
    )
    run.add_argument(
        "--verify",
        action="store_true",
        help="check all existing rows, and recompute damaged ones",
    )
    run.add_argument("--quiet", action="store_true", help="hide the progress bar")


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from skvgg._feature_file import check_folder
    from skvgg._runtime.warn import holding_warnings
    from skvgg.exceptions import BadImageWarning
    from skvgg.files import transform_to_file

    listing = find_images(options)
    table = options.output.with_name(f"{options.output.name}.images.csv")
    check_folder(options.output)
    check_output(table, _COLUMNS, options.images)
    bad: dict[int, ImageError] = {}
    with holding_warnings() as held:
        try:
            transform_to_file(
                _make_features(options),
                listing.paths,
                options.output,
                chunk_size=options.chunk_size,
                verify=options.verify,
                verbose=int(not options.quiet),
            )
        finally:
            for warning in held:
                if isinstance(warning, BadImageWarning):
                    bad = warning.bad_images
                else:
                    say("warning", warning)
    _write_images(table, listing, bad)
    if not bad:
        return SOME_BAD if listing.lost else OK
    say(
        "warning",
        f"{len(bad)} of {len(listing.paths)} images could not be used; their rows are "
        f"NaN. See the column 'error' of {str(table)!r}.",
    )
    return SOME_BAD


def _make_features(options: argparse.Namespace) -> VGG19Features:
    from skvgg.features import VGG19Features

    names = (
        "weights",
        "layer",
        "resize",
        "preprocessing",
        "views",
        "precision",
        "engine",
        "batch_size",
    )
    every = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in every.items() if value is not None}
    is_random = options.weights == "none"
    if is_random:
        given["weights"] = None
    return VGG19Features(
        pooling=options.pooling,
        image_size=options.image_size,
        memory=options.memory,
        on_error=options.on_error or "nan",
        random_state=0 if is_random else None,
        **given,
    )


def _write_images(table: Path, listing: Listing, bad: dict[int, ImageError]) -> None:
    has_labels = any(listing.labels)
    rows = []
    for index, (path, label) in enumerate(
        zip(listing.paths, listing.labels, strict=True)
    ):
        error = bad[index].explanation if index in bad else ""
        place = seen_from(table.parent, path)
        rows.append([index, place, *([label] if has_labels else []), error])
    header = [*_COLUMNS, *(["label"] if has_labels else []), "error"]
    write_table(table, header, rows)


def _words(text: str) -> str | Sequence[str]:
    words = tuple(text.split(","))
    return words[0] if len(words) == 1 else words


def _poolings(text: str) -> str | Sequence[str]:
    if not {*text.split(",")} <= {*POOLINGS}:
        raise argparse.ArgumentTypeError(
            f"expected {', '.join(POOLINGS)}, or several separated by commas; got "
            f"{text!r}"
        )
    return _words(text)


def _size(text: str) -> Any:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(
            f"expected pixels, as in 224, or HEIGHTxWIDTH, as in 224x320; got {text!r}"
        )
    return int(sides[0]) if len(sides) == 1 else tuple(map(int, sides))
