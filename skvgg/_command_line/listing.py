"""List the images that the arguments of a command name."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from skvgg._command_line.say import say
from skvgg._csv_file import read_csv
from skvgg._runtime.special_files import kind_of_special_file

if TYPE_CHECKING:
    from skvgg._images import ImageFiles


class Listing(NamedTuple):
    """Paths of images, and labels from folders or a table ("" without a label)."""

    paths: list[str]
    labels: list[str]
    #: Links that lead nowhere, and folders that cannot be read.
    lost: list[Path]


def add_images(parser: argparse.ArgumentParser, *, has_labels: bool) -> None:
    """Add the arguments that select images, and their labels."""
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help="folders (searched recursively, in sorted order), CSV tables of paths, or "
        "image files",
    )
    parser.add_argument(
        "--path-column",
        metavar="NAME",
        help="column of paths in a CSV table; relative paths start from the folder of "
        "the table (default: path)",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        metavar="PATTERN",
        help="leave out files and folders whose name or path within the folder matches "
        "a pattern, such as '*_mirror*'; may be repeated",
    )
    if has_labels:
        parser.add_argument(
            "--label-column",
            metavar="NAME",
            help="column of labels in a CSV table (default: label, if there is one)",
        )
    else:
        parser.set_defaults(label_column=None)


def find_images(options: argparse.Namespace) -> Listing:
    """Return the images that the arguments name.

    Raises
    ------
    FileNotFoundError
        If a path does not exist.
    ValueError
        If a path is empty, a folder has no images, a table does not have the column,
        or a column is given without a table, or a pattern without a folder.
    """
    from skvgg._images import (
        Exclusion,
        ImageFiles,
        describe_lost,
        describe_others,
        describe_repeated,
        image_files,
    )

    found, left_out = Listing([], [], []), ImageFiles()
    unused = set(options.exclude or ())
    has_table = False
    n_folders = sum(map(os.path.isdir, filter(None, options.images)))
    for text in options.images:
        if not text:
            raise ValueError("A path of images is empty. Is a variable not set?")
        path = Path(text)
        if path.is_dir():
            # Of several folders, such as photos/*, each is a class.
            exclusion = Exclusion(options.exclude, path)
            files = image_files(path, exclusion)
            more = _of_folder(path, files, path.name if n_folders > 1 else "")
            unused &= {*exclusion.unused}
            left_out.others += files.others
            left_out.repeated += files.repeated
        elif not path.exists():
            raise FileNotFoundError(f"{text!r}: no such file or folder.")
        elif kind := kind_of_special_file(path):
            raise ValueError(f"{text!r} is a {kind}; expected a file or a folder.")
        elif path.suffix.lower() == ".csv":
            more = _of_table(path, options.path_column, options.label_column)
            has_table = True
        else:
            more = Listing([text], [""], [])
        found.paths.extend(more.paths)
        found.labels.extend(more.labels)
        found.lost.extend(more.lost)
    for option, column in (
        ("--path-column", options.path_column),
        ("--label-column", options.label_column),
    ):
        if column is not None and not has_table:
            raise ValueError(
                f"{option} {column} selects a column of a CSV table; there is none."
            )
    if options.exclude and not n_folders:
        raise ValueError("--exclude leaves out files of a folder; there is none.")
    if found.lost:
        say("warning", describe_lost(found.lost))
    if left_out.repeated:
        say("warning", describe_repeated(left_out.repeated))
    if left_out.others:
        say("note", describe_others(left_out.others))
    for pattern in sorted(unused):
        say("warning", f"--exclude {pattern} matches no file or folder.")
    return found


def _of_folder(folder: Path, files: ImageFiles, label: str) -> Listing:
    if not files.images:
        raise ValueError(
            f"{str(folder)!r} has no images ({files.n_skipped} other files). Expected "
            "files with the extension of an image format that Pillow reads."
        )
    parts = [image.relative_to(folder).parts for image in files.images]
    labels = [names[0] if len(names) > 1 else label for names in parts]
    return Listing([str(image) for image in files.images], labels, files.lost)


def _of_table(
    table: Path, path_column: str | None, label_column: str | None
) -> Listing:
    found = Listing([], [], [])
    # File names that are not UTF-8 are written and read with surrogate escapes.
    columns, rows = read_csv(table, errors="surrogateescape")
    place = _find_column(table, columns, "--path-column", path_column or "path")
    label_place = None
    if label_column is not None or "label" in columns:
        label_column = label_column or "label"
        label_place = _find_column(table, columns, "--label-column", label_column)
    for line, cells in rows:
        if not cells[place]:
            raise ValueError(
                f"{str(table)!r}, line {line}: there is no path in the column "
                f"{columns[place]!r}."
            )
        found.paths.append(os.path.join(table.parent, cells[place]))
        found.labels.append("" if label_place is None else cells[label_place])
    if not found.paths:
        raise ValueError(f"{str(table)!r} has no rows.")
    return found


def _find_column(table: Path, columns: list[str], option: str, name: str) -> int:
    """Return the position of a column."""
    if columns.count(name) > 1:
        raise ValueError(
            f"{str(table)!r} has {columns.count(name)} columns {name!r}. Rename them."
        )
    if name not in columns:
        raise ValueError(
            f"{str(table)!r} has no column {name!r}; its columns are "
            f"{', '.join(columns) or 'none'}. Select one with {option}."
        )
    return columns.index(name)


def positive(text: str) -> int:
    """Return a positive integer, for argparse."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)
