"""Load labeled images from folders and tables, and find unusable images."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from numbers import Integral, Number
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval

from skvgg._csv_file import read_csv
from skvgg._extraction.run import find_bad
from skvgg._images import (
    MAX_PIXELS,
    Exclusion,
    MissingFileError,
    UnusableError,
    as_images,
    check_file,
    check_flattened_shape,
    describe_lost,
    describe_repeated,
    image_files,
    is_whole,
)
from skvgg._runtime.missing import is_missing
from skvgg._runtime.progress import progress_bar
from skvgg._runtime.special_files import kind_of_special_file
from skvgg._runtime.warn import warn
from skvgg._typing import checked_params
from skvgg.exceptions import ImageError

__all__ = ["find_bad_images", "load_image_folder", "load_image_table"]

#: Plain decimals only: 01, 1_1, 1e5, +1 and nan may be codes. At most the digits that
#: an int64 holds.
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?")


class _LabeledImages(Bunch):
    """A Bunch whose repr shows array shapes instead of all paths."""

    def __repr__(self) -> str:
        parts = (f"{name}={_describe(value)}" for name, value in self.items())
        return f"Bunch({', '.join(parts)})"


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"<array of shape {value.shape}, {value.dtype}>"
    return repr(value)


@checked_params({"path": "no_validation", "exclude": [str, list, tuple, None]})
def load_image_folder(
    path: str | os.PathLike[str], *, exclude: str | Sequence[str] | None = None
) -> Bunch:
    """List the images of a folder that has one subfolder per class.

    Images are not decoded: `data` contains paths, which :class:`skvgg.VGG19Features`
    reads when needed.

    Parameters
    ----------
    path : str or path-like
        The folder. Each subfolder is a class and may contain images at any depth.
        Links are followed, except back to a parent, and each folder is listed once, so
        it belongs to one class. Files whose extension does not belong to a format that
        Pillow reads are skipped and counted.
        Hidden files, and those that programs leave beside images (such as
        ``Thumbs.db`` and ``__MACOSX``), are not counted.
    exclude : str or sequence of str, default=None
        Patterns of files and folders to leave out, such as ``"*_mirror*"``. A pattern
        is compared with the name and with the path relative to `path`, as in
        :mod:`fnmatch`.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        With the following attributes:

        data : ndarray of shape (n_images,), dtype object
            Path of each image (str), sorted.
        target : ndarray of shape (n_images,), dtype int64
            Index of each image's class in `target_names`.
        target_names : ndarray of shape (n_classes,), dtype str
            Names of the subfolders, sorted.
        filenames : ndarray of shape (n_images,), dtype object
            Same as `data`, for compatibility with :func:`sklearn.datasets.load_files`.
        n_skipped : int
            Number of skipped files, links that lead nowhere, and folders that cannot be
            read; without what `exclude` leaves out.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If fewer than two subfolders contain images, or if `path` is a file.

    Warns
    -----
    UserWarning
        If links lead nowhere or to a folder of another class, folders cannot be read,
        or a class has files but no images; or if a pattern of `exclude` matches
        nothing.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from PIL import Image
    >>> from skvgg.datasets import load_image_folder
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("cat", "dog"):
    ...     (folder / name).mkdir()
    ...     Image.new("RGB", (40, 30)).save(folder / name / "1.png")
    >>> photos = load_image_folder(folder)
    >>> photos.target, [str(name) for name in photos.target_names]
    (array([0, 1]), ['cat', 'dog'])
    """
    root = Path(path)
    if not root.is_dir():
        if root.exists():
            raise ValueError(f"{str(root)!r} is a file; expected a folder of classes.")
        raise FileNotFoundError(f"{str(root)!r}: no such folder.")
    exclusion = Exclusion(exclude, root)
    found = image_files(root, exclusion)
    images, others = _by_class(found.images, root), _by_class(found.others, root)
    for name in sorted({*others} - {*images}):
        warn(
            f"{str(root / name)!r} contains {len(others[name])} file(s), but none with "
            "the extension of an image format that Pillow reads, so it does not "
            "count as a class. To read other formats, register a Pillow plug-in "
            "first, such as pillow_heif.register_heif_opener()."
        )
    if found.lost:
        warn(describe_lost(found.lost))
    if found.repeated:
        warn(describe_repeated(found.repeated))
    for pattern in exclusion.unused:
        warn(f"exclude={pattern!r} matches no file or folder in {str(root)!r}.")
    if len(images) < 2:
        raise ValueError(
            f"{str(root)!r} has {len(images)} subfolder(s) with images; expected one "
            f"per class and at least two, such as {str(root / 'cats')!r} and "
            f"{str(root / 'dogs')!r}. Images directly in the folder have no class."
        )
    paths = [path for files in images.values() for path in files]
    data = np.array(paths, dtype=object)
    return _LabeledImages(
        data=data,
        target=np.repeat(
            np.arange(len(images), dtype=np.int64), [*map(len, images.values())]
        ),
        target_names=np.array([*images]),
        filenames=data,
        n_skipped=found.n_skipped,
    )


def _by_class(paths: Sequence[Path], root: Path) -> dict[str, list[str]]:
    """Return sorted paths by subfolder, without those directly in the folder."""
    found: dict[str, list[str]] = {}
    for path in paths:
        name, *rest = path.relative_to(root).parts
        if rest:
            found.setdefault(name, []).append(str(path))
    return found


@checked_params(
    {
        "max_pixels": [Interval(Integral, 1, None, closed="left"), None],
        "flattened_shape": [list, tuple, None],
        "verbose": ["verbose"],
    }
)
def find_bad_images(
    images: Any,
    *,
    max_pixels: int | None = MAX_PIXELS,
    flattened_shape: Sequence[int] | None = None,
    verbose: int = 0,
) -> dict[int, ImageError]:
    """Find images that cannot be used, and why.

    Images are read and decoded as in :meth:`skvgg.VGG19Features.transform`, with the
    same number of threads and the same memory limits, but without running the network.

    Parameters
    ----------
    images : array, list, Series or one-column DataFrame
        Images as in :meth:`skvgg.VGG19Features.transform`.
    max_pixels : int or None, default=89478485
        Larger images are rejected before they are decoded.
    flattened_shape : (h, w), (h, w, 3) or None, default=None
        If given, `images` may also be a table whose rows are flattened images.
    verbose : int, default=0
        1 shows a progress bar for the images.

    Returns
    -------
    dict of int to ImageError
        The problem with each image that cannot be used, by its index in `images`; empty
        if all images can be used. See :class:`skvgg.exceptions.ImageError`.

    Raises
    ------
    ValueError
        If `images` as a whole has an unsupported form or is empty.

    Warns
    -----
    UserWarning
        If all values of a float image lie in 0..1, or those of a 16-bit image in
        0..4095; if an image is transparent everywhere, or has a color profile that
        cannot be applied.

    See Also
    --------
    skvgg.VGG19Features : With ``on_error="nan"``, returns rows of NaN for such images.

    Examples
    --------
    >>> import numpy as np
    >>> from skvgg.datasets import find_bad_images
    >>> images = [np.zeros((40, 30, 3), "uint8"), b"no image", np.full((9, 9), 300)]
    >>> bad = find_bad_images(images)
    >>> sorted(bad)
    [1, 2]
    >>> bad[2].reason
    'pixels lie in 300..300; expected 0..255'
    >>> good = np.delete(np.arange(len(images)), list(bad))
    >>> good
    array([0])
    """
    shape = check_flattened_shape(flattened_shape)
    images = as_images(images, shape, check_items=False)
    with progress_bar(total=len(images), unit="image", disable=not verbose) as bar:

        def report(n_more: int, counts: Counter[str]) -> None:
            bar.update(n_more)

        return find_bad(images, max_pixels, report)


def load_image_table(
    table: Any,
    path_column: str,
    label_column: str,
    root: str | os.PathLike[str] | None = None,
) -> Bunch:
    """Load the paths and labels of images from a table.

    Parameters
    ----------
    table : path or DataFrame
        A CSV file in UTF-8 with a header, or a pandas or polars DataFrame.
    path_column, label_column : str
        Names of the columns of the paths and of the labels.
    root : path, default=None
        Folder that relative paths start from. None means the folder of the CSV file, or
        the working directory for a DataFrame.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the following attributes:

        data : ndarray of shape (n_images,), dtype object
            The paths.
        target : ndarray of shape (n_images,)
            The labels: numbers unchanged, text as indices into `target_names` (int64).
            A CSV column is numeric if all its cells are plain decimals, such as 1, -2
            or 0.50, and different cells are different numbers. Otherwise the whole
            column is text, for example if it contains 01, 1_1, 1e5, +1 or nan, or both
            1.1 and 1.10.
        target_names : ndarray of shape (n_classes,) or None
            The distinct labels, sorted. None if the labels are numbers.
        filenames : ndarray of shape (n_images,), dtype object
            Same as `data`.

    Raises
    ------
    ValueError
        If `table` is neither a CSV file in UTF-8 nor a DataFrame, if a column is
        missing, if the table has no rows, if a path or label is missing, or if a path
        is a folder or a URL. The message names the row, counted from 0 without the
        header.
    FileNotFoundError
        If the table or an image does not exist.

    See Also
    --------
    load_image_folder : List the images of a folder with one subfolder per class.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from PIL import Image
    >>> from skvgg.datasets import load_image_table
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("a.png", "b.png"):
    ...     Image.new("RGB", (40, 30)).save(folder / name)
    >>> table = pd.DataFrame({"file": ["a.png", "b.png"], "animal": ["dog", "cat"]})
    >>> photos = load_image_table(table, "file", "animal", root=folder)
    >>> photos.target, [str(name) for name in photos.target_names]
    (array([1, 0]), ['cat', 'dog'])
    """
    is_csv = isinstance(table, str | os.PathLike)
    if not is_csv and (not hasattr(table, "columns") or hasattr(table, "column_names")):
        hint = "table.to_pandas()" if hasattr(table, "to_pandas") else ""
        hint = hint or "pandas.DataFrame(table), with column names"
        raise ValueError(
            f"table is of type {type(table).__name__}; expected the path of a CSV "
            f"file, or a pandas or polars DataFrame. Pass {hint}."
        )
    if is_csv:
        kind = kind_of_special_file(table)
        if kind is not None:
            raise ValueError(f"{str(table)!r} is a {kind}; expected a CSV file.")
        root = Path(table).parent if root is None else Path(root)
        names, rows = read_csv(Path(table))
        _check_names_differ(names)
        columns = {
            name: [cells[i] for _, cells in rows] for i, name in enumerate(names)
        }
    else:
        root = Path("" if root is None else root)
        _check_names_differ(table.columns)
        columns = {name: list(table[name]) for name in table.columns}
    for name in (path_column, label_column):
        if name not in columns:
            found = ", ".join(map(str, columns))
            raise ValueError(f"The table has no column {name!r}; it has {found}.")
    paths, column = columns[path_column], columns[label_column]
    if not len(paths):
        raise ValueError("The table has no rows.")
    _check_labels(column, label_column)
    data = np.array(
        [_find_image(path, root, row) for row, path in enumerate(paths)], object
    )
    numbers = _to_numbers(column) if is_csv else None
    labels = np.array(column) if numbers is None else numbers
    if labels.dtype.kind == "f" and all(map(is_whole, column)):
        labels = np.array(column, np.uint64)  # int64 and uint64 mixed make floats
    target_names = None
    if labels.dtype.kind not in "biuf":
        target_names, labels = np.unique(labels.astype(str), return_inverse=True)
        labels = labels.astype(np.int64)
    return _LabeledImages(
        data=data, target=labels, target_names=target_names, filenames=data
    )


def _check_names_differ(names: Any) -> None:
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise ValueError(
            f"The table has several columns named {twice[0]!r}. Rename or drop one."
        )


def _to_numbers(texts: list[str]) -> np.ndarray | None:
    """Return a column as numbers, or None if it is text.

    Some codes look like numbers. A column is text if a cell is not a plain decimal, or
    if two different cells would become the same number.
    """
    if not all(_PLAIN_NUMBER.fullmatch(text) for text in texts):
        return None
    kind = float if any("." in text for text in texts) else int
    numbers = np.array([kind(text) for text in texts])
    return numbers if len(np.unique(numbers)) == len(set(texts)) else None


def _check_labels(labels: list[Any], column: str) -> None:
    for row, label in enumerate(labels):
        if is_missing(label) or label == "":
            raise ValueError(
                f"Row {row} of the table has no label in column {column!r}. Label it, "
                "or drop it."
            )


def _find_image(path: Any, root: Path, row: int) -> str:
    if not isinstance(path, str | os.PathLike) or path == "":
        hint = ""
        if isinstance(path, Number) and path == path:
            hint = " Read that column as text, for example with dtype=str."
        if isinstance(path, bytes):
            hint = " It is bytes; decode that column: column.str.decode('utf-8')."
        raise ValueError(f"Row {row} of the table has no path: {path!r}.{hint}")
    name = f"Row {row} of the table ({os.fspath(path)!r})"
    try:
        check_file(path, root)
    except MissingFileError as error:
        raise FileNotFoundError(f"{name}: {error} Pass another root.") from None
    except UnusableError as error:
        raise ValueError(f"{name}: {error}") from None
    return str(root / path)
