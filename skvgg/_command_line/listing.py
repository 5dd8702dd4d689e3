"""List the images that the arguments of a command name."""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path
from typing import NamedTuple

from skvgg._images import image_files, name_of


class Listing(NamedTuple):
    """Paths of images, and labels from folders or a table ("" without a label)."""

    paths: list[str]
    labels: list[str]


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that select images."""
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help="folders (searched recursively, in sorted order), CSV tables of paths, or "
        "image files",
    )
    parser.add_argument(
        "--path-column",
        default="path",
        metavar="NAME",
        help="column of paths in a CSV table; relative paths start from the folder of "
        "the table (default: path)",
    )
    parser.add_argument(
        "--label-column",
        default="label",
        metavar="NAME",
        help="column of labels, if any (default: label)",
    )


def find_images(options: argparse.Namespace) -> Listing:
    """Return the images that the arguments name.

    Raises
    ------
    FileNotFoundError
        If a path does not exist.
    ValueError
        If a folder has no images, or a table does not have the column.
    """
    found = Listing([], [])
    for text in options.images:
        path = Path(text)
        if path.is_dir():
            more = _of_folder(path)
        elif not path.exists():
            raise FileNotFoundError(f"{text!r}: no such file or folder.")
        elif path.suffix.lower() == ".csv":
            more = _of_table(path, options.path_column, options.label_column)
        else:
            more = Listing([text], [""])
        found.paths.extend(more.paths)
        found.labels.extend(more.labels)
    return found


def _of_folder(folder: Path) -> Listing:
    images, n_skipped = image_files(folder)
    if not images:
        raise ValueError(
            f"{str(folder)!r} has no images ({n_skipped} other files). Expected files "
            "with the extension of an image format that Pillow reads."
        )
    parts = [image.relative_to(folder).parts for image in images]
    labels = [some[0] if len(some) > 1 else "" for some in parts]
    return Listing([str(image) for image in images], labels)


def _of_table(table: Path, path_column: str, label_column: str) -> Listing:
    # File names that are not UTF-8 are written and read with surrogate escapes.
    with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        try:
            rows = list(reader)
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(
                f"{str(table)!r} is not a CSV file in UTF-8 ({error})."
            ) from error
    columns = list(reader.fieldnames or ())
    if path_column not in columns:
        raise ValueError(
            f"{str(table)!r} has no column {path_column!r}; its columns are "
            f"{', '.join(columns) or 'none'}. Select one with --path-column."
        )
    for number, row in enumerate(rows):
        if not row[path_column]:
            raise ValueError(f"{str(table)!r}: row {number} has no path.")
    if not rows:
        raise ValueError(f"{str(table)!r} has no rows.")
    return Listing(
        [os.path.join(table.parent, row[path_column]) for row in rows],
        [row.get(label_column) or "" for row in rows],
    )


def reason_of(message: str, path: str, index: int) -> str:
    """Return an error message about an image without the name of the image."""
    return message.removeprefix(name_of(path, index)).lstrip(":; ")


def positive(text: str) -> int:
    """Return a positive integer, for argparse."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)
