"""Validate collections of images and their items.

This module does not read files.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral, Number
from typing import Any

import numpy as np
from PIL import Image

from skvgg._images.errors import MissingFileError, UnusableError, naming
from skvgg._runtime.special_files import kind_of_special_file
from skvgg._runtime.warn import warn
from skvgg.exceptions import ImageError

ENCODED = bytes | bytearray | memoryview
#: Bytes; the smallest images are shorter, but not text.
_LONGEST_PATH = 4096

#: Minimum side in pixels of an array (3, h, w) that may be one RGB image.
_SMALLEST_PHOTO = 32

#: One item per image: an array of pixels, or a sequence of images in any form.
Images = np.ndarray | Sequence[Any]


def as_images(
    X: Any, flattened_shape: tuple[int, ...] | None = None, *, check_items: bool = True
) -> Images:
    """Return X as a sequence with one item per image.

    Images are not decoded.

    Parameters
    ----------
    X : images
        As in :meth:`skvgg.VGG19Features.transform`.
    flattened_shape : (h, w) or (h, w, 3), or None
        If given, X may also be a table whose rows are flattened images.
    check_items : bool
        Whether to check the type and shape of each item and that its file exists, which
        is cheap.

    Returns
    -------
    sequence of length n

    Raises
    ------
    ValueError
        If X has an unsupported form or is empty, or if an item is not an image.
    FileNotFoundError
        If an item is the path of a file that does not exist.
    """
    table = _unflatten(X, flattened_shape) if flattened_shape else None
    images = _to_sequence(X) if table is None else table
    if len(images) == 0:
        raise ValueError(
            "Found array with 0 sample(s): X has no images, while a minimum of 1 is "
            "required."
        )
    if check_items and not _is_pixels(images):
        for index, item in enumerate(images):
            with naming(index, path_of(item)):
                check_item(item)
    return images


def check_flattened_shape(shape: Sequence[int] | None) -> tuple[int, ...] | None:
    """Return the shape of flattened images as a tuple, or raise."""
    if shape is None:
        return None
    sides = tuple(shape)
    whole = all(is_whole(side) and side > 0 for side in sides)
    if not whole or len(sides) not in (2, 3) or (len(sides) == 3 and sides[2] != 3):
        raise ValueError(
            f"flattened_shape={shape!r}; expected (height, width) or "
            "(height, width, 3) of the flattened images, or None."
        )
    return tuple(int(side) for side in sides)


def is_whole(number: Any) -> bool:
    """Return whether a number is an integer and not a bool."""
    return isinstance(number, Integral) and not isinstance(number, bool)


def _hint_for_one(X: Any) -> str:
    if isinstance(X, str | os.PathLike) and os.path.isdir(X):
        return (
            "This is a folder. Pass a list of paths, such as "
            "skvgg.datasets.load_image_folder(X).data."
        )
    return "Pass a list: [X]."


def _to_sequence(X: Any) -> Images:
    if isinstance(X, str | ENCODED | os.PathLike | Image.Image) or _is_file(X):
        raise ValueError(
            f"X must hold one item per image, got a single {type(X).__name__} "
            f"({X!r:.80}). {_hint_for_one(X)}"
        )
    if isinstance(X, np.ndarray) and X.dtype.kind in "biufc":
        return _check_pixel_block(X)
    if hasattr(X, "columns") and hasattr(X, "shape"):
        if len(X.columns) != 1:
            hint = "Select it: X[['path']]."
            if _table_of(X) is not None:
                hint = "If its rows are flattened images, pass flattened_shape=(h, w)."
            raise ValueError(
                f"X is a DataFrame of {len(X.columns)} columns; expected one column of "
                f"paths or images. {hint}"
            )
        if hasattr(X, "column_names"):  # a pyarrow table
            return X.column(0).to_pylist()
        return list(X[X.columns[0]])
    if isinstance(X, np.ndarray):
        if X.ndim == 1 or (X.ndim == 2 and X.shape[1] == 1):
            return list(X.ravel())
        raise ValueError(
            f"X is an array of shape {X.shape} and dtype {X.dtype}; an array of paths "
            "or images must have shape (n,) or (n, 1)."
        )
    if hasattr(X, "to_pylist"):  # a pyarrow column
        return X.to_pylist()
    if isinstance(X, list | tuple) or _is_series(X):
        return list(X)
    got = "None" if X is None else f"an object of type {type(X).__name__}"
    raise ValueError(
        f"X must be an array of images or a list, array, Series or one-column "
        f"DataFrame of paths, bytes, PIL images or arrays; got {got}.{_way_out(X)}"
    )


def _way_out(X: Any) -> str:
    """Return a hint how to pass X, to end an error message."""
    if isinstance(X, Mapping):
        return " Pass its values: list(X.values())."
    if isinstance(X, Set):
        return " It has no order, which rows need: pass sorted(X)."
    if hasattr(X, "toarray"):
        return " Pass X.toarray(), with flattened_shape=(h, w)."
    if hasattr(X, "__array__"):
        return " Pass np.asarray(X)."
    is_iterable = isinstance(X, Iterable) and not isinstance(X, io.IOBase)
    return " Pass list(X)." if is_iterable else ""


def _unflatten(X: Any, flattened_shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the images in the rows of a table, or None if X is not a table."""
    n_features = int(np.prod(flattened_shape))
    wanted = f"expected {n_features}: flattened_shape={flattened_shape} flattened"
    if _is_list_of_rows(X):
        for index, row in enumerate(X):
            if len(row) != n_features:
                raise ImageError(index, None, f"{len(row)} features, {wanted}")
    table = _table_of(X)
    if table is None:
        _refuse_objects(X, n_features, wanted)
        return None
    if table.shape[1] != n_features:
        raise ValueError(f"X has {table.shape[1]} features, {wanted}.")
    _check_dtype_of_all(table)
    return table.reshape(-1, *flattened_shape)


def _refuse_objects(X: Any, n_features: int, wanted: str) -> None:
    """Raise if X is a table of several columns that are not all numeric."""
    if not (getattr(X, "ndim", 2) == 2 and (_has_columns(X) or _is_list_of_rows(X))):
        return
    table = np.asarray(X, dtype=object)  # keeps numbers next to text
    if table.ndim != 2 or table.shape[1] < 2:
        return
    if table.shape[1] != n_features:
        raise ValueError(f"X has {table.shape[1]} features, {wanted}.")
    for index, row in enumerate(table):
        for feature, cell in enumerate(row):
            if not isinstance(cell, Number):
                text = repr(str(cell) if isinstance(cell, str) else cell)
                raise ImageError(
                    index,
                    None,
                    f"feature {feature} is {text}; expected a number",
                    "Fix or drop the row, or drop the column.",
                )
    raise ValueError(
        f"X is a table of dtype {table.dtype}; expected a numeric dtype. Use "
        "np.asarray(X).astype(float), or another numeric dtype."
    )


def _has_columns(X: Any) -> bool:
    return isinstance(X, np.ndarray) or hasattr(X, "columns")


def _is_list_of_rows(X: Any) -> bool:
    return (
        isinstance(X, list | tuple)
        and len(X) > 0
        and all(isinstance(row, list | tuple) or _is_vector(row) for row in X)
    )


def _is_vector(row: Any) -> bool:
    return getattr(row, "ndim", None) == 1 and not isinstance(row, ENCODED)


def _table_of(X: Any) -> np.ndarray | None:
    """Return a numeric table as an array, or None if X is not one."""
    is_array = getattr(X, "ndim", None) == 2 and hasattr(X, "__array__")
    if not (is_array or hasattr(X, "columns") or _is_list_of_rows(X)):
        return None
    table = np.asarray(X)
    if table.dtype == object and hasattr(X, "dtypes"):
        table = _table_of_pandas(X)
    is_table = table.ndim == 2 and table.dtype.kind in "biufc"
    return table if is_table else None


def _table_of_pandas(X: Any) -> np.ndarray:
    """Return columns that may contain NA as a numeric array, not one of objects."""
    dtypes: list[Any] = [getattr(dtype, "numpy_dtype", dtype) for dtype in X.dtypes]
    kinds = [dtype.kind if isinstance(dtype, np.dtype) else "O" for dtype in dtypes]
    if not set(kinds) <= set("biuf"):
        return np.asarray(X)
    common = np.result_type(*dtypes)
    if not X.isna().any(axis=None):
        return X.to_numpy(common)
    return X.to_numpy(np.result_type(common, np.float32), na_value=np.nan)


def _is_series(X: Any) -> bool:
    return hasattr(X, "dtype") and hasattr(X, "name") and hasattr(X, "__len__")


def _is_pixels(images: Images) -> bool:
    return isinstance(images, np.ndarray)


def _check_pixel_block(X: np.ndarray) -> np.ndarray:
    expected = "expected (n, h, w), (n, h, w, 1), (n, h, w, 3) or (n, h, w, 4)"
    if X.ndim == 4 and X.shape[1] in (1, 3, 4) and X.shape[3] not in (1, 3, 4):
        raise ValueError(
            f"X has shape {X.shape}, which looks channels-first; {expected}. "
            "Use X.transpose(0, 2, 3, 1)."
        )
    if X.ndim == 3 and X.shape[2] in (3, 4):
        raise ValueError(
            f"X has shape {X.shape}, which looks like one RGB image; {expected}. "
            "Use X[None] for one image."
        )
    if X.ndim not in (3, 4) or (X.ndim == 4 and X.shape[3] not in (1, 3, 4)):
        hint = (
            " Pass flattened_shape=(h, w), or reshape first: X.reshape(-1, h, w)."
            if X.ndim == 2
            else ""
        )
        raise ValueError(f"X has shape {X.shape}; {expected}.{hint}")
    if X.ndim == 3 and len(X) == 3 and min(X.shape[1:]) >= _SMALLEST_PHOTO:
        warn(
            f"X has shape {X.shape} and is read as three gray images. If it is one RGB "
            "image with the channels first, use X.transpose(1, 2, 0)[None]; if it is "
            "three gray images, X[..., None] avoids this warning."
        )
    _check_dtype_of_all(X)
    return X


def _check_dtype_of_all(X: np.ndarray) -> None:
    try:
        check_dtype(X)
    except UnusableError as error:
        raise ValueError(f"X: {error}") from None


def path_of(item: Any) -> str | bytes | None:
    """Return the path of an image, or None."""
    path: Any = None
    if isinstance(item, str | os.PathLike):
        path = os.fspath(item)
    elif isinstance(item, Image.Image):
        path = getattr(item, "filename", None)  # set by Image.open
    elif _is_file(item):
        path = getattr(item, "name", None)
    if not path or not isinstance(path, str | bytes):
        return None
    # The repr of NumPy strings differs.
    return str(path) if isinstance(path, str) else path


def check_item(item: Any) -> None:
    """Raise if an item is not an image, using only cheap checks."""
    if isinstance(item, str | os.PathLike):
        check_file(item)
    elif isinstance(item, np.ndarray):
        check_shape(item)
        check_dtype(item)
    elif isinstance(item, ENCODED):
        _refuse_encoded_path(item)
    elif not isinstance(item, Image.Image) and not _is_file(item):
        is_nested = isinstance(item, list | tuple)
        raise UnusableError(
            f"an object of type {type(item).__name__}; expected a path, bytes, an open "
            "binary file, a PIL image or a NumPy array of shape (h, w), (h, w, 1), "
            "(h, w, 3) or (h, w, 4)",
            "X must not be nested; convert images to arrays with np.asarray."
            if is_nested
            else "",
        )


def _refuse_encoded_path(item: ENCODED) -> None:
    """Raise if bytes are a path, as in arrays of h5py or of dtype "S"."""
    if len(item) > _LONGEST_PATH:
        return
    try:
        text = bytes(item).decode()
    except UnicodeDecodeError:
        return
    has_extension = os.path.splitext(text)[1].lower() in Image.registered_extensions()
    if text.isprintable() and (has_extension or "/" in text or os.path.exists(text)):
        raise UnusableError(
            f"{bytes(item)!r:.200} looks like a path; bytes have to be the content of "
            "an image file",
            "Pass paths as text: [os.fsdecode(path) for path in X].",
        )


def _is_file(item: Any) -> bool:
    binary = not isinstance(item, io.TextIOBase)
    return binary and all(hasattr(item, name) for name in ("read", "seek", "tell"))


def check_file(
    item: str | os.PathLike[str], folder: str | os.PathLike[str] = ""
) -> None:
    """Raise if a file does not exist, relative to a folder."""
    text = os.fspath(item)
    if isinstance(text, str) and re.match(r"(https?|ftp|s3|gs)://", text):
        raise UnusableError(
            "a URL; expected the path of a file",
            "Download it first, or pass its bytes.",
        )
    path = os.path.join(folder, text) if folder else text
    if os.path.isfile(path):  # also False for invalid file names
        return
    if os.path.isdir(path):
        raise UnusableError(
            "a folder; expected an image file",
            "Use skvgg.datasets.load_image_folder to list the images of a folder.",
        )
    kind = kind_of_special_file(path)
    if kind is not None:
        raise UnusableError(
            f"a {kind}; expected an image file", "Read it, and pass the bytes."
        )
    raise MissingFileError(
        "no such file", f"Relative paths start from {os.path.abspath(folder)!r}."
    )


def check_shape(array: np.ndarray) -> None:
    """Raise if an array does not have the shape of an image."""
    is_gray = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1)
    is_color = array.ndim == 3 and array.shape[2] in (3, 4)
    if not (is_gray or is_color) or 0 in array.shape:
        is_turned = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        raise UnusableError(
            f"an array of shape {array.shape}; expected (h, w), (h, w, 1), (h, w, 3) "
            "or (h, w, 4)",
            "It looks channels-first: use array.transpose(1, 2, 0)."
            if is_turned
            else "",
        )


def check_dtype(array: np.ndarray) -> None:
    """Raise if an array does not have the dtype of an image, or has masked pixels."""
    if np.ma.is_masked(array):
        raise UnusableError(
            "an array with masked pixels, whose values are unknown",
            "Fill them: array.filled(0).",
        )
    if array.dtype.kind not in "buif":
        raise UnusableError(
            f"an array of dtype {array.dtype}; expected bool, uint8, uint16, another "
            "integer type or float",
            "Convert it: array.astype('uint8').",
        )
