"""Write rows to a file: more than fit in memory, in runs that can be resumed."""

from __future__ import annotations

import os
from numbers import Integral
from pathlib import Path
from typing import Any

from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import _num_samples

from skvgg._feature_file import Checked, Paths, Writer, check, format_of, locked
from skvgg._typing import checked_params

__all__ = ["check_feature_file", "transform_to_file"]


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
    """Transform X in chunks and write the rows to a file.

    Only one chunk of images and rows is in memory at a time. If a run is interrupted,
    the same call resumes it: rows that are already in the file are not computed again.
    If the file is complete, the call returns immediately.

    While incomplete, the file is named ``rows.npy.part``. A journal beside it,
    ``rows.npy.journal``, records which rows are written and a checksum for each chunk.
    Both are flushed to disk after each chunk. The journal is kept for later calls and
    for :func:`check_feature_file`.

    Parameters
    ----------
    transformer : estimator
        An object with ``transform``, such as :class:`VGG19Features` or a fitted
        pipeline that ends in a transformer. Each row of its output must depend only on
        the corresponding row of X.
    X : array-like of length n
        Input of the transformer: a list of paths, an array, a DataFrame, or anything
        that has a length and can be sliced, such as an HDF5 or Zarr array.
    path : str or path-like
        The file to write. Its suffix determines the format:

        - ``.npy``: one file. ``np.load(path, mmap_mode="r")`` reads only the rows that
          are accessed. Its disk space is reserved at the start.
        - ``.parquet``: a folder with one file per chunk, which pandas, polars, dask and
          pyarrow read as one table. The columns are ``get_feature_names_out()``, or x0,
          x1, ... Needs pyarrow (``pip install 'skvgg[parquet]'``). With thousands of
          columns, use a `chunk_size` of 1024 or more: the time per chunk hardly depends
          on its number of rows.
        - ``.zarr``: a Zarr array, with the attribute ``feature_names``. Needs zarr 3
          (``pip install 'skvgg[zarr]'``).
    chunk_size : int, default=256
        Number of rows that are computed together, and that are lost if the process is
        killed. A file that was started with another size keeps it.
    verify : bool, default=False
        Whether to read all existing rows and recompute chunks whose checksum is wrong.
        If False, only the last chunk of an incomplete file is read.
    verbose : int, default=0
        1 shows a progress bar with the remaining time.

    Returns
    -------
    pathlib.Path
        The path of the file.

    Raises
    ------
    ValueError
        If a parameter is invalid; if the transformer rejects X (indices in the message
        refer to X) or does not return numbers; if the file of its weights is replaced
        by another one meanwhile (rows already written are kept); if the file was
        started with other images or another transformer (the message names the
        differences); or if the file is damaged as a whole, such as by a wrong length.
        It is left as it is.
    FileNotFoundError
        If the folder of the file or an image does not exist.
    FileExistsError
        If the file, its incomplete version or its journal exists but was not written by
        this function, or cannot be identified. Nothing is deleted or overwritten.
    PermissionError
        If the folder is not writable. This is checked before anything is computed.
    OSError
        If the disk is full; ``.npy`` checks this at the start. Rows already written are
        kept.
    RuntimeError
        If another process is writing the same file.
    ImportError
        If the package of the format is not installed.

    Warns
    -----
    BadImageWarning
        If the transformer has ``on_error="nan"`` and some images cannot be used, in
        this call or in one that it resumes.

    See Also
    --------
    check_feature_file : Reads a whole file and compares its checksums.

    Notes
    -----
    A run is identified by the names of the images (or their content, if they are not
    files) and by all parameters and fitted attributes of the transformer except
    `memory`, `n_jobs`, `verbose` and other parameters of :class:`VGG19Features` that do
    not affect rows. Classes and functions are identified by their names, so a change of
    their code is not noticed. Lambdas, functions and classes that are defined within
    functions, and whatever else cannot be pickled, raise an error. If the size or
    modification time of an image file has changed, its chunk is recomputed. To repair a
    bad image, replace the file and repeat the call.

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
    paths = Paths(path)
    with locked(paths):
        Writer(
            transformer,
            X,
            n,
            paths,
            chunk_size=int(chunk_size),
            verify=bool(verify),
            verbose=int(verbose),
        ).write()
    return path


def check_feature_file(path: str | os.PathLike[str]) -> Checked:
    """Check that a file of :func:`transform_to_file` is complete and undamaged.

    This reads the whole file, one chunk at a time.

    Parameters
    ----------
    path : str or path-like
        The file. Its journal must be in the same folder.

    Returns
    -------
    Checked
        A named tuple of `n_rows`, `n_features`, `dtype` and `bad_images`, a dict of the
        problems with the images whose rows are NaN, by their index.

    Raises
    ------
    ValueError
        If rows are missing, if a checksum is wrong, or if the journal is missing or
        damaged. The message names the rows and how to recompute them.
    FileNotFoundError
        If the file does not exist.
    ImportError
        If the package of the format is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from sklearn.preprocessing import Normalizer
    >>> from skvgg import check_feature_file, transform_to_file
    >>> path = Path(tempfile.mkdtemp()) / "rows.npy"
    >>> path = transform_to_file(Normalizer(), np.eye(3), path)
    >>> check_feature_file(path)
    Checked(n_rows=3, n_features=3, dtype=dtype('float64'), bad_images={})
    """
    return check(Path(path))


def _length_of(X: Any) -> int:
    """Return the number of rows of X, or raise."""
    if isinstance(X, str | bytes | os.PathLike):
        raise ValueError(
            f"X must hold one item per row, got a single {type(X).__name__} "
            f"({X!r:.80}). Pass a list: [X]."
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
