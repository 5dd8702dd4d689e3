"""The backend of ``joblib.Memory(location, backend="skvgg")``."""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from joblib import register_store_backend
from joblib._store_backends import CacheItemInfo, StoreBackendBase, StoreBackendMixin

from skvgg._store import ArrayStore
from skvgg._store.redis_store import RedisStore
from skvgg._store.store import Store
from skvgg._store.urls import is_url, one_folder, without_joblib

#: Name of the backend in ``joblib.Memory``.
NAME = "skvgg"


class ArrayStoreBackend(StoreBackendMixin, StoreBackendBase):
    """A joblib store backend for arrays.

    joblib's mixin keeps pickles in files; this class overrides every method that
    touches an item. Results of memoized functions must be arrays.

    Attributes
    ----------
    location : str
        A folder, or the URL of a server.
    store : Store
        The store, for callers that handle many arrays at once.
    """

    def configure(
        self, location: str, verbose: int = 1, backend_options: Any = None
    ) -> None:
        """Set up; joblib calls this."""
        find = without_joblib if is_url(location) else one_folder
        self.location = find(location)
        self.verbose = verbose
        # joblib reads these from any backend. Arrays are not compressed or mapped.
        self.compress, self.mmap_mode = False, None
        store_class = RedisStore if is_url(location) else ArrayStore
        self.store: Store = store_class(self.location)

    # Items

    def load_item(
        self,
        call_id: Sequence[str],
        verbose: int = 1,
        timestamp: Any = None,
        metadata: Any = None,
    ) -> np.ndarray:
        """Return the cached result of a call."""
        for array in self.store.get([_key(call_id)]).values():
            return array.copy()
        raise KeyError(f"There is no stored result for {os.path.join(*call_id)}.")

    def dump_item(self, call_id: Sequence[str], item: Any, verbose: int = 1) -> None:
        """Store the result of a call."""
        if not isinstance(item, np.ndarray | np.generic):
            raise TypeError(
                f"{call_id[0]} returned a {type(item).__name__}, but "
                "joblib.Memory(backend='skvgg') stores NumPy arrays only. Use joblib's "
                "default backend for other results."
            )
        self.store.put({_key(call_id): np.asarray(item)}, group=call_id[0])

    def contains_item(self, call_id: Sequence[str]) -> bool:
        """Return whether the result of a call is stored."""
        return self.store.entry(_key(call_id)) is not None

    def clear_item(self, call_id: Sequence[str]) -> None:
        """Delete the result of a call."""
        self.store.delete_keys([_key(call_id)])

    def get_metadata(self, call_id: Sequence[str]) -> dict[str, Any]:
        """Return when the result of a call was stored; there is no other metadata."""
        entry = self.store.entry(_key(call_id))
        return {} if entry is None else {"time": entry.stored}

    def store_metadata(self, call_id: Sequence[str], metadata: Any) -> None:
        """Do nothing: items are stored together with their metadata."""

    # Functions

    def contains_path(self, call_id: Sequence[str]) -> bool:
        """Return whether the code of a function is stored."""
        return self.store.get_code(os.path.join(*call_id)) is not None

    def clear_path(self, call_id: Sequence[str]) -> None:
        """Delete all results of a function."""
        self.store.delete_group(os.path.join(*call_id))

    def store_cached_func_code(
        self, call_id: Sequence[str], func_code: str | None = None
    ) -> None:
        """Store the code of a function, so that joblib notices changes."""
        if func_code is not None:
            self.store.put_code(os.path.join(*call_id), func_code)

    def get_cached_func_code(self, call_id: Sequence[str]) -> str:
        """Return the code of a function."""
        code = self.store.get_code(os.path.join(*call_id))
        if code is None:
            raise OSError(f"There is no stored code for {os.path.join(*call_id)}.")
        return code

    # The whole store

    def get_items(self) -> list[CacheItemInfo]:
        """Return the metadata by which joblib chooses items to delete."""
        return [
            CacheItemInfo(
                entry.id, entry.size, datetime.datetime.fromtimestamp(entry.used)
            )
            for entry in self.store.entries()
        ]

    def enforce_store_limits(
        self,
        bytes_limit: int | str | None,
        items_limit: int | None = None,
        age_limit: datetime.timedelta | None = None,
    ) -> None:
        """Delete the least recently used items, in one transaction."""
        items = self._get_items_to_delete(bytes_limit, items_limit, age_limit)
        self.store.delete([item.path for item in items])

    def clear(self) -> None:
        """Delete everything."""
        self.store.clear()

    def clear_location(self, location: Any) -> None:
        """Delete an item by its id, or everything by the store's location."""
        if location == self.location:
            self.store.clear()
        else:
            self.store.delete([location])

    # The mixin would need these if items were files.

    def create_location(self, location: Any) -> None:
        """Do nothing: the store creates its folder on the first write."""

    def _open_item(self, f: Any, mode: str) -> NoReturn:
        raise NotImplementedError("Items of this store are not files.")

    def _item_exists(self, location: Any) -> NoReturn:
        raise NotImplementedError("Items of this store are not files.")

    def _move_item(self, src: Any, dst: Any) -> NoReturn:
        raise NotImplementedError("Items of this store are not files.")


def _key(call_id: Sequence[str]) -> bytes:
    return hashlib.blake2b(os.path.join(*call_id).encode(), digest_size=20).digest()


register_store_backend(NAME, ArrayStoreBackend)
