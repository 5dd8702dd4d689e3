"""The journal of a feature file: one line with a checksum for each finished chunk."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skvgg._feature_file.durable import sync, write_whole
from skvgg.exceptions import ImageError, ImageNotFoundError

#: Increase it when this version and older ones could not read each other's journals.
VERSION = 2

#: Errors by the name that a line has for them.
_ERRORS = {kind.__name__: kind for kind in (ImageError, ImageNotFoundError)}


@dataclass(frozen=True)
class Chunk:
    """One line of the journal: a chunk that is on the disk.

    Attributes
    ----------
    index : int
        Index of the chunk, starting at 0.
    checksum : str
        Checksum of the rows; "" if the chunk no longer exists.
    state : str
        State of the image files when they were read; see
        :func:`skvgg._feature_file.identity.digest_file_states`.
    bad : dict of int to ImageError
        The error of each image whose row is NaN, by index in X.
    """

    index: int
    checksum: str
    state: str
    bad: dict[int, ImageError] = field(default_factory=dict)


class Journal:
    """The journal of one feature file.

    Parameters
    ----------
    path : Path
        Path of the journal, which is read if it exists.

    Attributes
    ----------
    header : dict or None
        Describes the rows; None if the journal is missing or unreadable.
    chunks : dict of int to Chunk
        The last line of each existing chunk, in the order of the lines.
    is_torn : bool
        Whether damaged lines at the end were skipped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: dict[str, Any] | None = None
        self.chunks: dict[int, Chunk] = {}
        self.is_torn = False
        self._n_good_bytes = 0
        self._read()

    def start(self, header: dict[str, Any]) -> None:
        """Start a new journal without chunks."""
        self.header = {"version": VERSION, **header}
        line = _to_line(self.header)
        write_whole(self.path, line)
        self.chunks, self.is_torn, self._n_good_bytes = {}, False, len(line)

    def append(self, chunk: Chunk) -> None:
        """Add a chunk that is on the disk. A damaged tail is truncated first."""
        line = _to_line(
            vars(chunk) | {"bad": [_to_list(e) for e in chunk.bad.values()]}
        )
        with self.path.open("rb+") as file:
            file.truncate(self._n_good_bytes)
            file.seek(self._n_good_bytes)
            file.write(line)
            sync(file)
        self._n_good_bytes += len(line)
        self._take(chunk)

    def withdraw(self, index: int) -> None:
        """Record that a chunk no longer exists, before it is rewritten."""
        if index in self.chunks:
            self.append(Chunk(index, "", ""))

    def bad(self) -> dict[int, ImageError]:
        """Return the error of each image whose row is NaN, by index in X."""
        chunks = [self.chunks[index] for index in sorted(self.chunks)]
        return {index: why for chunk in chunks for index, why in chunk.bad.items()}

    def _read(self) -> None:
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            for line in file:
                record = _from_line(line)
                if record is None:
                    self.is_torn = True
                    return
                self._n_good_bytes += len(line)
                if self.header is None:
                    self.header = self._checked(record)
                    continue
                errors = [_to_error(*fields) for fields in record.pop("bad")]
                bad = {error.index: error for error in errors}
                self._take(Chunk(**record, bad=bad))

    def _take(self, chunk: Chunk) -> None:
        """Store a line; it replaces an earlier line of the same chunk."""
        self.chunks.pop(chunk.index, None)  # keeps the order of the lines
        if chunk.checksum:
            self.chunks[chunk.index] = chunk

    def _checked(self, header: dict[str, Any]) -> dict[str, Any]:
        version = header["version"]
        if version != VERSION:
            age = "a newer" if version > VERSION else "an older"
            raise ValueError(
                f"{str(self.path)!r} was written by {age} version of skvgg. Use that "
                "version, or choose another path."
            )
        return header


def _to_list(error: ImageError) -> list[Any]:
    path = error.path
    is_bytes = isinstance(path, bytes)
    text = None if path is None else os.fsdecode(path)
    kind = type(error).__name__
    return [kind, error.index, text, is_bytes, error.reason, error.remedy]


def _to_error(
    kind: str, index: int, text: str | None, is_bytes: bool, reason: str, remedy: str
) -> ImageError:
    path = os.fsencode(text) if is_bytes and text is not None else text
    return _ERRORS[kind](index, path, reason, remedy)


def _to_line(record: dict[str, Any]) -> bytes:
    text = json.dumps(record).encode()
    return _checksum(text) + b" " + text + b"\n"


def _from_line(line: bytes) -> dict[str, Any] | None:
    """Return the content of a line, or None if its checksum does not match."""
    checksum, _, text = line.partition(b" ")
    if not text.endswith(b"\n") or checksum != _checksum(text[:-1]):
        return None
    return json.loads(text)


def _checksum(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=8).hexdigest().encode()
