"""Which chunks of a file of rows are there: one line each, each with a checksum."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from skvgg._rows_file.durable import sync, write_whole

#: Raise it where older versions would misread a journal.
VERSION = 1


@dataclass(frozen=True)
class Chunk:
    """One line: a chunk that is on the disk.

    Attributes
    ----------
    index : int
        Which chunk; the first is 0.
    checksum : str
        That of its rows; "" if the chunk is not there any more.
    state : str
        That of its images' files when they were read; see
        :func:`skvgg._rows_file.identity.state_of`.
    bad : dict of int to str
        What is wrong with the images whose rows are NaN, by index in X.
    """

    index: int
    checksum: str
    state: str
    bad: dict[int, str] = field(default_factory=dict)


class Journal:
    """The journal of one file of rows.

    Parameters
    ----------
    path : Path
        Its file, which is read if it exists.

    Attributes
    ----------
    header : dict or None
        What the rows are of; None if there is no journal, or no readable one.
    chunks : dict of int to Chunk
        The last line of each chunk that is there, in the order of the lines.
    is_torn : bool
        Whether lines at the end were damaged, and so have been left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: dict[str, Any] | None = None
        self.chunks: dict[int, Chunk] = {}
        self.is_torn = False
        self._n_good_bytes = 0
        self._read()

    def start(self, header: dict[str, Any]) -> None:
        """Begin anew, with no chunks."""
        self.header = {"version": VERSION, **header}
        line = _to_line(self.header)
        write_whole(self.path, line)
        self.chunks, self.is_torn, self._n_good_bytes = {}, False, len(line)

    def append(self, chunk: Chunk) -> None:
        """Add a chunk that is on the disk. A torn tail is cut off first."""
        line = _to_line(asdict(chunk))
        with self.path.open("rb+") as file:
            file.truncate(self._n_good_bytes)
            file.seek(self._n_good_bytes)
            file.write(line)
            sync(file)
        self._n_good_bytes += len(line)
        self._take(chunk)

    def withdraw(self, index: int) -> None:
        """Note that a chunk is not there any more, before it is written again."""
        if index in self.chunks:
            self.append(Chunk(index, "", ""))

    def bad(self) -> dict[int, str]:
        """Return what is wrong with the images whose rows are NaN, by index in X."""
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
                bad = {int(index): why for index, why in record.pop("bad").items()}
                self._take(Chunk(**record, bad=bad))

    def _take(self, chunk: Chunk) -> None:
        """Keep a line in place of an earlier one of the same chunk."""
        self.chunks.pop(chunk.index, None)  # so that the last line comes last
        if chunk.checksum:
            self.chunks[chunk.index] = chunk

    def _checked(self, header: dict[str, Any]) -> dict[str, Any]:
        if header["version"] > VERSION:
            raise ValueError(
                f"{str(self.path)!r} is of a newer version of skvgg. Use that one, "
                "or choose another path."
            )
        return header


def _to_line(record: dict[str, Any]) -> bytes:
    text = json.dumps(record).encode()
    return _checksum(text) + b" " + text + b"\n"


def _from_line(line: bytes) -> dict[str, Any] | None:
    """Return what a line holds, or None if it is not what was written."""
    checksum, _, text = line.partition(b" ")
    if not text.endswith(b"\n") or checksum != _checksum(text[:-1]):
        return None
    return json.loads(text)


def _checksum(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=8).hexdigest().encode()
