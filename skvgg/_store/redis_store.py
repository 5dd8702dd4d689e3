"""Arrays by key on a Redis server that several machines share.

Each row is one string: header, form, data. There is no separate index that could
disagree with the rows, so the server may drop any row when its memory is full or the
row expires.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from skvgg._runtime.warn import warn_once
from skvgg._store.arrays import DamagedError, checksum, decode, encode
from skvgg._store.pause import is_paused, pause
from skvgg._store.store import Entry
from skvgg._store.urls import PASSWORD_VARIABLE, check_url, with_lower_scheme

#: Prefix of all keys, with the version of the layout. Increase the version when the
#: layout changes.
PREFIX = b"skvgg-1:"
_ROW, _CODE = PREFIX + b"row:", PREFIX + b"code:"
#: Checksum, time stored in seconds since 1970, and digest of the group. The form, a
#: line break and the data follow.
_HEADER = struct.Struct(">IQ8s")

#: Rows per request: client and server hold them in memory.
_ROWS_TOGETHER = 64
#: Names that one request searches or deletes; other clients wait meanwhile.
_NAMES_TOGETHER = 1000

#: Size of each row in bytes, or -1 if it is gone, and seconds since it was used. One
#: script for all rows is several times as fast as a request per row. Servers with an
#: LFU eviction policy do not know the seconds.
_SIZES_AND_SECONDS = """
local numbers = {}
for i, name in ipairs(KEYS) do
    local size = redis.call('MEMORY', 'USAGE', name) or -1
    local idle = redis.pcall('OBJECT', 'IDLETIME', name)
    if type(idle) ~= 'number' then idle = 0 end
    numbers[i] = string.format('%d %d', size, idle)
end
return table.concat(numbers, ' ')
"""

#: In seconds, unless the URL says ``?socket_connect_timeout=...&socket_timeout=...``.
_PATIENCE = {"socket_connect_timeout": 2.0, "socket_timeout": 5.0}


class RedisStore:
    """A :class:`Store` at a URL.

    Parameters
    ----------
    url : str
        URL of a database on a server, such as ``redis://host:6379/0``.

    Raises
    ------
    ValueError
        If `url` is not such a URL.
    ImportError
        If redis-py is not installed.
    """

    def __init__(self, url: str) -> None:
        check_url(url)
        self._url = with_lower_scheme(url)
        self._check_options()

    def __getstate__(self) -> str:
        return self._url

    def __setstate__(self, state: str) -> None:
        self._url = state

    def close(self) -> None:
        """Close idle connections. The next call opens new ones."""
        self._client.connection_pool.disconnect(inuse_connections=False)

    # Arrays

    def get(self, keys: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """Return the stored arrays among `keys`, read-only, by key."""
        found = {}
        for part in _in_parts(list(keys), _ROWS_TOGETHER):
            values: dict[bytes, Any] = {}
            with self._connected() as client:
                if client is not None:
                    answer = client.mget([_ROW + key for key in part])
                    values = dict(zip(part, answer, strict=True))
            for key, value in values.items():
                try:
                    if value is not None:
                        found[key] = _unpack(key, value)
                except DamagedError as error:
                    self._warn("is damaged", error, "Damaged rows are recomputed")
        return found

    def put(self, arrays: Mapping[bytes, np.ndarray], group: str = "") -> None:
        """Store arrays, each of them completely or not at all."""
        for part in _in_parts(list(arrays), _ROWS_TOGETHER):
            values = {_ROW + key: _pack(key, arrays[key], group) for key in part}
            with self._connected(writing=True) as client:
                if client is not None:
                    with client.pipeline(transaction=False) as pipeline:
                        for name, value in values.items():
                            pipeline.set(name, value)
                        answers = pipeline.execute(raise_on_error=False)
                    # Redis' own error would contain the data of the row.
                    for answer in answers:
                        if isinstance(answer, Exception):
                            raise answer

    def entry(self, key: bytes) -> Entry | None:
        """Return the metadata of an array, without reading its data."""
        name = _ROW + key
        with self._connected() as client:
            if client is not None:
                for entry in _entries(client, [name]):
                    header = client.getrange(name, 0, _HEADER.size - 1)
                    if len(header) == _HEADER.size:
                        return entry._replace(stored=_HEADER.unpack(header)[1])
        return None

    def entries(self) -> list[Entry]:
        """Return the metadata of all arrays, except the time they were stored.

        Reading that time would make the server count all arrays as used.
        """
        with self._connected_or_raising() as client:
            return _all_entries(client)

    def __len__(self) -> int:
        with self._connected() as client:
            if client is not None:
                return len({name for names in _names(client, _ROW) for name in names})
        return 0

    def usage(self) -> tuple[int, int]:
        """Return the number of arrays, and their size on the server in bytes."""
        entries: list[Entry] = []
        with self._connected() as client:
            if client is not None:
                entries = _all_entries(client)
        return len(entries), sum(entry.size for entry in entries)

    # Deleting

    def delete(self, ids: Sequence[bytes]) -> None:
        """Delete arrays by the ids of their entries."""
        with self._connected_or_raising() as client:
            for part in _in_parts(ids, _NAMES_TOGETHER):
                client.unlink(*part)

    def delete_keys(self, keys: Iterable[bytes]) -> None:
        """Delete arrays by key."""
        self.delete([_ROW + key for key in keys])

    def delete_group(self, group: str) -> None:
        """Delete the arrays of a group and its code."""
        with self._connected_or_raising() as client:
            for names in _names(client, _ROW):
                with client.pipeline(transaction=False) as pipeline:
                    for name in names:
                        pipeline.getrange(name, 0, _HEADER.size - 1)
                    headers = pipeline.execute(raise_on_error=False)
                of_group = [
                    name
                    for name, header in zip(names, headers, strict=True)
                    if isinstance(header, bytes) and header.endswith(_digest(group))
                ]
                self.delete(of_group)
            client.unlink(_CODE + group.encode())

    def clear(self) -> None:
        """Delete everything that skvgg stored."""
        with self._connected_or_raising() as client:
            for names in _names(client, PREFIX):
                client.unlink(*names)

    # The code of functions, for joblib

    def get_code(self, group: str) -> str | None:
        """Return the text stored by :meth:`put_code`, or None."""
        with self._connected() as client:
            if client is not None:
                code = client.get(_CODE + group.encode())
                return None if code is None else code.decode(errors="replace")
        return None

    def put_code(self, group: str, code: str) -> None:
        """Store a text for a group."""
        with self._connected(writing=True) as client:
            if client is not None:
                client.set(_CODE + group.encode(), code.encode())

    # The server

    def _check_options(self) -> None:
        """Raise if redis-py does not accept the options in the URL."""
        try:
            pool = self._client.connection_pool
            pool.connection_class(**pool.connection_kwargs)  # does not connect
        except (TypeError, ValueError) as error:
            raise ValueError(
                "memory is a URL with an option that redis-py does not accept "
                f"({error}). After '?', expected connection options, such as "
                "redis://host:6379/0?socket_timeout=20"
            ) from error
        if pool.connection_kwargs.get("decode_responses"):
            raise ValueError(
                "memory is a URL with the option decode_responses: rows are bytes, so "
                "remove it."
            )

    @cached_property
    def _client(self) -> Any:
        redis = _import_redis()
        # redis-py before 6 does not check the name in the certificate by default.
        tls = self._url.startswith("rediss://")
        return redis.Redis.from_url(
            self._url,
            password=os.environ.get(PASSWORD_VARIABLE),
            protocol=2,
            # Retry once: the server may have closed an idle connection.
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 1),
            **({"ssl_check_hostname": True} if tls else {}),
            **_PATIENCE,
        )

    @contextlib.contextmanager
    def _connected(self, *, writing: bool = False) -> Iterator[Any]:
        """Yield the client, or None while the server is paused after a failure.

        Failures of the server end the block and become a warning.
        """
        failures = _import_redis().exceptions
        start = time.monotonic()
        try:
            yield None if is_paused(self._url) else self._client
        except failures.ResponseError as error:
            if writing:  # the server is full, or the user has no write permission
                new_ones = "Results are correct, but new rows are not stored"
                self._warn("no longer accepts rows", error, new_ones)
            else:
                self._pause_access(error, start)
        except Exception as error:  # redis-py does not check what a server answers
            self._pause_access(error, start)

    @contextlib.contextmanager
    def _connected_or_raising(self) -> Iterator[Any]:
        """Yield the client, also during a pause; failures become an OSError."""
        try:
            yield self._client
        except Exception as error:  # redis-py does not check what a server answers
            raise OSError(
                f"The store at {self._url!r} cannot be used ({error}). Not all rows "
                "were deleted. Try again when the server works."
            ) from error

    def _pause_access(self, error: Exception, start: float) -> None:
        pause(self._url, start)
        none = (
            "Results are correct, but rows are neither read nor stored. The server is "
            "tried again from time to time"
        )
        self._warn("cannot be used", error, none)

    def _warn(self, problem: str, error: Exception, consequence: str) -> None:
        message = f"The store at {self._url!r} {problem} ({error}). {consequence}."
        warn_once(self._url, problem, message)


def _import_redis() -> Any:
    try:
        import redis.backoff
        import redis.exceptions
        import redis.retry
    except ImportError as error:
        raise ImportError(
            "A URL for memory requires redis-py: pip install 'skvgg[redis]'"
        ) from error
    return redis


def _pack(key: bytes, array: np.ndarray, group: str) -> bytes:
    form, data = encode(array)
    crc = checksum(key, form, data)
    header = _HEADER.pack(crc, int(time.time()), _digest(group))
    return b"".join([header, form.encode(), b"\n", data])


def _unpack(key: bytes, value: Any) -> np.ndarray:
    end = value.find(b"\n", _HEADER.size) if isinstance(value, bytes) else -1
    if end < 0:
        raise DamagedError("a value is not a row")
    crc = _HEADER.unpack_from(value)[0]
    form = value[_HEADER.size : end].decode(errors="replace")
    return decode((key, crc, form, value[end + 1 :]))


def _digest(group: str) -> bytes:
    return hashlib.blake2b(group.encode(), digest_size=8).digest()


def _names(client: Any, prefix: bytes) -> Iterator[list[bytes]]:
    """Yield batches of key names."""
    cursor = 0
    while True:
        cursor, names = client.scan(cursor, prefix + b"*", _NAMES_TOGETHER)
        if names:
            yield names
        if cursor == 0:
            return


def _entries(client: Any, names: Sequence[bytes]) -> list[Entry]:
    now = int(time.time())
    try:
        answer = client.eval(_SIZES_AND_SECONDS, len(names), *names)
        numbers = [*map(int, answer.split())]
    except _import_redis().exceptions.ResponseError:  # scripts are not permitted
        numbers = _sizes_and_seconds(client, names)
    return [
        Entry(name, size, used=now - seconds)
        for name, size, seconds in zip(names, numbers[::2], numbers[1::2], strict=True)
        if size >= 0
    ]


def _all_entries(client: Any) -> list[Entry]:
    # Names may repeat.
    found = {e.id: e for names in _names(client, _ROW) for e in _entries(client, names)}
    return list(found.values())


def _sizes_and_seconds(client: Any, names: Sequence[bytes]) -> list[int]:
    """Return the same as the script, with one request per number."""
    with client.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.memory_usage(name)
            pipeline.object("IDLETIME", name)
        answers = pipeline.execute(raise_on_error=False)
    unknown = [-1, 0] * len(names)
    return [
        answer if isinstance(answer, int) else other
        for answer, other in zip(answers, unknown, strict=True)
    ]


def _in_parts(items: Sequence[Any], n: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + n] for start in range(0, len(items), n))
