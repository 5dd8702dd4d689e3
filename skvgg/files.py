"""Files of rows: more of them than memory holds, from a run that may be interrupted."""

from __future__ import annotations

import os
from numbers import Integral
from pathlib import Path
from typing import Any

from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import _num_samples

from skvgg._rows_file import Checked, Places, Run, alone, check, format_of
from skvgg._typing import checked_params

__all__ = ["check_rows_file", "transform_to_file"]


@checked_params(
    {
        "transformer": [HasMethods("transform")],
        "X": "no_validation",
        "path": [str, os.PathLike],
        "chunk_size": [Interval(Integral, 1, None, closed="left")],
        "verify": ["boolean"],
        "verbose": ["verbose"],
    }
)
def transform_to_file(
    transformer: Any,
    X: Any,
    path: str | os.PathLike[str],
    *,
    chunk_size: int = 256,
    verify: bool = False,
    verbose: int = 0,
) -> Path:
    """Transform X chunk by chunk, and write the rows to a file.

    One chunk of images and rows is in memory at a time. If the run ends early, for
    whatever reason, the same call goes on from there: the rows that are in the file
    are not computed again. A call whose file is complete returns at once.

    While it grows, the file is called ``rows.npy.part``. A journal beside it,
    ``rows.npy.journal``, says which rows are there, with a checksum for each chunk.
    Both reach the disk after each chunk. The journal stays, for later calls and for
    :func:`check_rows_file`.

    Parameters
    ----------
    transformer : estimator
        Has ``transform`` and treats each row by itself, such as
        :class:`VGG19Features` or a fitted pipeline that ends in a transformer. Rows
        must be the same whatever other rows are transformed with them.
    X : array-like of length n
        What the transformer takes: a list of paths, an array, a DataFrame, or
        anything that has a length and can be sliced, such as an HDF5 or Zarr array.
    path : str or path-like
        The file. Its suffix is the format:

        - ``.npy``: one file. ``np.load(path, mmap_mode="r")`` reads the rows that
          are needed. Its room on the disk is reserved at the beginning.
        - ``.parquet``: a folder with a file a chunk, which pandas, polars, dask and
          pyarrow read as one table. The columns are ``get_feature_names_out()``, or
          x0, x1, ... Needs pyarrow (``pip install 'skvgg[parquet]'``). With thousands
          of columns, use a `chunk_size` of 1024 or more: a chunk takes about as long,
          however few rows it has.
        - ``.zarr``: a Zarr array, with the attribute ``feature_names``. Needs zarr 3
          (``pip install 'skvgg[zarr]'``).
    chunk_size : int, default=256
        Rows that are computed, and are lost with a kill, together. A file that was
        begun keeps its own.
    verify : bool, default=False
        Whether to read all rows that are there and to compute those again whose
        checksum is wrong. Otherwise only the last chunk of an incomplete file is read.
    verbose : int, default=0
        1 shows a progress bar with the time left.

    Returns
    -------
    pathlib.Path
        The path of the file.

    Raises
    ------
    ValueError
        If a parameter is wrong; if the transformer refuses X (indices in the message
        are those of X) or returns no numbers; or if the file was begun with other
        images or another transformer. The message says in what they differ.
    FileNotFoundError
        If the folder of the file, or an image, does not exist.
    FileExistsError
        If there is such a file already that this function has not made.
    PermissionError
        If the folder may not be written to. Nothing has been computed then.
    OSError
        If the disk is full: for ``.npy`` at the beginning. Rows written before stay.
    RuntimeError
        If another process is writing the same file.
    ImportError
        If the package of the format is not installed.

    Warns
    -----
    BadImageWarning
        If the transformer has ``on_error="nan"`` and some images cannot be used,
        whether in this call or in one that it goes on from.

    See Also
    --------
    check_rows_file : Reads a whole file and compares its checksums.

    Notes
    -----
    The work is known by the names of the images (the content of those that are no
    files), and by all parameters and fitted attributes of the transformer but
    `memory`, `n_jobs`, `verbose` and, of :class:`VGG19Features`, others that do not
    change rows. Where an image's file has changed since its row was computed, by size
    or time, its chunk is computed again; so a bad image can be mended, and the same
    call made again.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skvgg import VGG19Features, transform_to_file
    >>> images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), "uint8")
    >>> features = VGG19Features(
    ...     None, layer="block1_pool", pooling="avg", image_size=32, random_state=0
    ... )
    >>> folder = Path(tempfile.mkdtemp())
    >>> path = transform_to_file(features, images, folder / "rows.npy", chunk_size=2)
    >>> rows = np.load(path, mmap_mode="r")
    >>> rows.shape, rows.dtype
    ((5, 64), dtype('float32'))
    """
    path = Path(path)
    format_of(path)
    n = _length_of(X)
    places = Places(path)
    with alone(places):
        Run(
            transformer,
            X,
            n,
            places,
            chunk_size=int(chunk_size),
            verify=bool(verify),
            verbose=int(verbose),
        ).run()
    return path


def check_rows_file(path: str | os.PathLike[str]) -> Checked:
    """See that a file of :func:`transform_to_file` is complete and undamaged.

    All of it is read, one chunk at a time.

    Parameters
    ----------
    path : str or path-like
        The file. Its journal must lie beside it.

    Returns
    -------
    Checked
        A named tuple of `n_rows`, `n_features`, `dtype`, and `bad_images`, which says
        by index what was wrong with the images whose rows are NaN.

    Raises
    ------
    ValueError
        If rows are missing, if a checksum is wrong, or if the journal is missing or
        damaged. The message names the rows, and what computes them again.
    FileNotFoundError
        If there is no such file.
    ImportError
        If the package of the format is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from sklearn.preprocessing import Normalizer
    >>> from skvgg import check_rows_file, transform_to_file
    >>> path = Path(tempfile.mkdtemp()) / "rows.npy"
    >>> path = transform_to_file(Normalizer(), np.eye(3), path)
    >>> check_rows_file(path)
    Checked(n_rows=3, n_features=3, dtype=dtype('float64'), bad_images={})
    """
    return check(Path(path))


def _length_of(X: Any) -> int:
    """Return how many rows X has, or raise."""
    if isinstance(X, str | bytes | os.PathLike):
        raise ValueError(
            f"X must hold one item a row, got a single {type(X).__name__} ({X!r:.80}). "
            "Pass a list: [X]."
        )
    try:
        n = _num_samples(X)
    except TypeError as error:
        raise ValueError(
            f"X is of type {type(X).__name__}; expected something that has a length "
            "and can be sliced, such as a list of paths. Pass list(X)."
        ) from error
    if not n:
        raise ValueError("X holds no rows; at least one is required.")
    return n
