"""Arrays found by a key: SQLite files on disk, or a Redis server.

Nothing here knows of images. joblib is known to :mod:`skvgg._store.backend` and
:mod:`skvgg._store.cache` only. What is promised:

- an array that comes back is the one that was stored: each carries a checksum
  of its key, its form and its bytes;
- what a process has stored stays when it is killed; what it was about to store
  is whole or not there;
- reading runs no code of whoever wrote it: arrays are raw bytes, and a file
  whose schema is not exactly ours is left alone;
- no failure of the disk or of the server reaches the caller: what cannot be
  read is not there, what cannot be written is not kept, and one warning says so.

Several processes share a file, and several machines a server. A server may drop
rows as it likes.

A folder holds one store, ``rows-0.sqlite3``. SQLite files must not be moved or
replaced while others have them open, so a damaged one is followed by
``rows-1.sqlite3`` with all arrays that can still be read: the highest number
is the store, and those below it are never looked at again.
"""

from skvgg._store.array_store import ArrayStore, Entry

__all__ = ["ArrayStore", "Entry"]
