"""Write a feature file: check the existing chunks, and compute the missing ones."""

from __future__ import annotations

import errno
import os
import shutil
from typing import Any

import numpy as np

from skvgg._extraction.run import warn_of_bad
from skvgg._feature_file import identity
from skvgg._feature_file.bad_images import find_unnamed
from skvgg._feature_file.base import FileFormat, Layout
from skvgg._feature_file.check import check_container, is_sound, open_rows
from skvgg._feature_file.durable import sync_folder
from skvgg._feature_file.formats import format_of
from skvgg._feature_file.journal import Chunk, Journal
from skvgg._feature_file.paths import Paths, explaining_full_disk
from skvgg._runtime.progress import progress_bar, sharing
from skvgg._runtime.warn import holding_warnings, warn
from skvgg.exceptions import BadImageWarning, ImageError, ImageWarning


class Writer:
    """One call: finds the chunks that a file lacks, and computes and writes them.

    Parameters
    ----------
    transformer : object
        An object with ``transform``.
    X : sequence of length n
        Input of ``transform``.
    n : int
        Number of rows.
    paths : Paths
        Paths of the file.
    chunk_size : int
        Number of rows per chunk, if the file is new.
    verify : bool
        Whether to check all existing chunks instead of only the last one.
    verbose : int
        1 shows a progress bar.
    """

    def __init__(
        self,
        transformer: Any,
        X: Any,
        n: int,
        paths: Paths,
        *,
        chunk_size: int,
        verify: bool,
        verbose: int,
    ) -> None:
        self._transformer = transformer
        self._X = X
        self._paths = paths
        self._verify = verify
        self._verbose = verbose
        self._weights = identity.identities_of_weights(transformer)
        self._work: dict[str, Any] = {
            "n_rows": n,
            "images": identity.digest_images(X, n),
            "transformer": identity.describe_transformer(transformer),
        }
        self._chunk_size = chunk_size
        self._journal = Journal(paths.journal)
        self._rows: FileFormat | None = None
        self._warned_of: set[str] = set()

    def write(self) -> None:
        """Compute the missing chunks, and give the file its final name."""
        self._look()
        layout = self._layout_or_guess()
        to_do = [index for index in range(layout.n_chunks) if not self._has(index)]
        n_left = sum(len(layout.rows_of(index)) for index in to_do)
        with progress_bar(
            total=layout.n_rows,
            initial=layout.n_rows - n_left,
            unit="image",
            desc=self._paths.path.name + ("" if to_do else " is already complete"),
            disable=not self._verbose,
        ) as bar:
            for index in to_do:
                rows = layout.rows_of(index)
                try:
                    with sharing(bar, len(rows)):
                        self._write_chunk(index, rows)
                except BaseException as error:
                    error.add_note(self._describe_saved())
                    raise
        if not self._paths.path.exists():
            self._paths.publish()
        bad = self._journal.bad()
        if bad:
            warn_of_bad(bad, layout.n_rows)

    # Existing chunks

    def _look(self) -> None:
        """Find existing chunks, and check that they have the same X and transformer."""
        paths, header = self._paths, self._journal.header
        if header is None:
            self._check_that_nothing_exists()
        if header is None or not (paths.path.exists() or paths.part.exists()):
            self._check_disk()
            return
        differences = self._differences(header)
        if differences:
            found = paths.path if paths.path.exists() else paths.part
            raise ValueError(
                f"{str(paths.path)!r} was written for other images or with another "
                f"transformer: {'; '.join(differences)}. Choose another path, or "
                f"delete {found.name!r} and {paths.journal.name!r}."
            )
        rows = open_rows(paths, header, self._names(header["n_features"]))
        has_rows = paths.path.exists() or self._journal.chunks or self._journal.is_torn
        if not has_rows and rows.problem() is not None:  # ended while it was created
            self._check_disk()
            return
        check_container(rows, paths)
        self._rows = rows

    def _check_that_nothing_exists(self) -> None:
        paths = self._paths
        for path in (paths.path, paths.part, paths.journal):
            if os.path.lexists(path):
                raise FileExistsError(
                    f"{str(path)!r} exists, but the journal {paths.journal.name!r} is "
                    "missing, damaged, or not one of skvgg, so the rows cannot be "
                    "identified. Nothing was changed. Choose another path, or delete "
                    f"{path.name!r}."
                )

    def _check_disk(self) -> None:
        """Raise an OSError if the disk space for a new file is not sufficient."""
        names = identity.feature_names(self._transformer)
        if names is None or not format_of(self._paths.path).reserves:
            return
        # The dtype is not known yet; VGG19 returns float32.
        n_bytes = self._work["n_rows"] * len(names) * np.dtype(np.float32).itemsize
        free = shutil.disk_usage(self._paths.path.parent).free
        if n_bytes > free:
            with explaining_full_disk(self._paths, n_bytes):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _differences(self, header: dict[str, Any]) -> list[str]:
        """Return the differences between this call and the one in the journal."""
        differences = []
        if header["n_rows"] != self._work["n_rows"]:
            n, n_now = header["n_rows"], self._work["n_rows"]
            differences.append(f"the file has {n} images, and X has {n_now}")
        elif header["images"] != self._work["images"]:
            differences.append("the images differ, or are in another order")
        before, now = header["transformer"], self._work["transformer"]
        for name in dict.fromkeys([*before, *now]):
            old, new = before.get(name, "missing"), now.get(name, "missing")
            if old != new:
                differences.append(
                    f"{name} of the transformer was {old} and is now {new}"
                )
        return differences

    def _layout_or_guess(self) -> Layout:
        """Return the layout; with 0 features if the file does not exist yet."""
        if self._rows is not None:
            return self._rows.layout
        return Layout(self._work["n_rows"], 0, np.dtype("f4"), self._chunk_size)

    def _has(self, index: int) -> bool:
        """Return whether a chunk exists and need not be recomputed."""
        chunk = self._journal.chunks.get(index)
        if chunk is None or self._rows is None or not self._rows.has(index):
            return False
        if chunk.state:
            part = identity.part_of(self._X, self._rows.layout.rows_of(index))
            if chunk.state != identity.digest_file_states(part):
                return False  # a file has changed since
        if chunk.bad and self._raises_errors():
            return False
        is_last = index == next(reversed(self._journal.chunks))
        is_doubtful = is_last and not self._paths.path.exists()
        if (self._verify or is_doubtful) and not is_sound(self._rows, chunk):
            self._journal.withdraw(index)  # now: the call may end before it gets there
            return False
        return True

    def _raises_errors(self) -> bool:
        """Return whether the transformer raises an error for bad images."""
        if not hasattr(self._transformer, "get_params"):
            return False
        parameters = self._transformer.get_params()
        return any(
            value == "raise" and name.rpartition("__")[2] == "on_error"
            for name, value in parameters.items()
            if isinstance(value, str)
        )

    def _names(self, n_features: int) -> list[str]:
        names = identity.feature_names(self._transformer)
        if names is None or len(set(names)) != n_features:
            return [f"x{i}" for i in range(n_features)]
        return names

    # New chunks

    def _write_chunk(self, index: int, rows: range) -> None:
        part = identity.part_of(self._X, rows)
        state = identity.digest_file_states(part)  # before the files are read
        computed, bad = self._transform(part, rows.start)
        while self._has_new_weights():  # of the same content: only touched, or copied
            computed, bad = self._transform(part, rows.start)
        self._check_shape(computed, len(rows))
        named = {bad_index - rows.start for bad_index in bad}
        more = find_unnamed(self._transformer, part, computed, named)
        bad |= {rows.start + i: why.shifted(rows.start) for i, why in more.items()}
        if self._rows is None:
            self._create(computed)
        assert self._rows is not None
        with explaining_full_disk(self._paths):
            if self._paths.path.exists():  # but this chunk is damaged or outdated
                self._paths.reopen()
                self._rows.path = self._paths.part
            self._journal.withdraw(index)
            self._rows.write(index, computed)
            self._journal.append(
                Chunk(index, identity.digest_rows(computed), state, bad)
            )

    def _transform(
        self, part: Any, start: int
    ) -> tuple[np.ndarray, dict[int, ImageError]]:
        """Return the rows of a chunk, and the errors of bad images by index in X."""
        bad: dict[int, ImageError] = {}
        try:
            with holding_warnings() as held:
                rows = self._transformer.transform(part)
        except ImageError as error:
            raise error.shifted(start) from error
        for warning in held:
            if isinstance(warning, BadImageWarning):
                bad |= {
                    start + index: why.shifted(start)
                    for index, why in warning.bad_images.items()
                }
            else:
                self._warn_once(warning, start)
        if hasattr(rows, "toarray"):
            rows = rows.toarray()
        rows = np.asarray(rows)
        return rows.astype(rows.dtype.newbyteorder("="), copy=False), bad

    def _warn_once(self, warning: Warning, start: int) -> None:
        """Issue a warning of a chunk, but only once per call."""
        kind = str(warning)
        if isinstance(warning, ImageWarning):
            kind, warning = "about an image", warning.shifted(start)
        if kind not in self._warned_of:
            self._warned_of.add(kind)
            warn(warning)

    def _has_new_weights(self) -> bool:
        """Return whether the files of the weights changed while rows were computed.

        Raises a ValueError if the weights are others than those of the rows before.
        """
        before, self._weights = (
            self._weights,
            identity.identities_of_weights(self._transformer),
        )
        if self._weights == before:
            return False
        if (
            identity.describe_transformer(self._transformer)
            != self._work["transformer"]
        ):
            raise ValueError(
                "The weights were replaced by others while rows were computed. The "
                "last rows are not saved: all rows of a file are of the same weights. "
                "Restore the original weights."
            )
        return True

    def _check_shape(self, rows: np.ndarray, n: int) -> None:
        if rows.ndim != 2 or len(rows) != n or rows.dtype.kind not in "biuf":
            raise ValueError(
                f"transform returned shape {rows.shape} and dtype {rows.dtype} for {n} "
                "rows of X; expected one row of numbers for each."
            )
        layout = None if self._rows is None else self._rows.layout
        if layout and (rows.shape[1], rows.dtype) != (layout.n_features, layout.dtype):
            raise ValueError(
                f"transform returned {rows.shape[1]} features of dtype {rows.dtype}; "
                f"earlier rows have {layout.n_features} of dtype {layout.dtype}."
            )

    def _create(self, first: np.ndarray) -> None:
        """Create the file and its journal, once the shape of rows is known."""
        paths, n_features = self._paths, first.shape[1]
        layout = Layout(self._work["n_rows"], n_features, first.dtype, self._chunk_size)
        form = format_of(paths.path)
        rows = form(paths.part, layout, self._names(n_features))
        n_needed = layout.nbytes if form.reserves else 0
        with explaining_full_disk(paths, n_needed):
            # First: a file without a journal would be taken for one of the user's.
            self._journal.start(
                {
                    **self._work,
                    "n_features": n_features,
                    "dtype": first.dtype.str,
                    "chunk_size": self._chunk_size,
                }
            )
            try:
                rows.create()
            except OSError:
                paths.journal.unlink()  # it lists no rows
                raise
            sync_folder(paths.part.parent)
        self._rows = rows

    def _describe_saved(self) -> str:
        """Return a sentence for error messages that says which rows are saved."""
        if self._rows is None or not self._journal.chunks:
            return "No rows are saved."
        layout = self._rows.layout
        n = sum(len(layout.rows_of(index)) for index in self._journal.chunks)
        return (
            f"{n} of {layout.n_rows} rows are saved in {str(self._rows.path)!r}. "
            "Repeat the same call to compute the rest."
        )
