"""Arrays stored by key: in SQLite files on disk, or on a Redis server.

Nothing here depends on images. Only :mod:`skvgg._store.backend` and
:mod:`skvgg._store.cache` depend on joblib. The store guarantees:

- A returned array is the stored one: each has a checksum over its key, its form and
  its bytes.
- Stored arrays survive when the process is killed. An array that was being written is
  complete or absent.
- Reading never runs code from the file: arrays are raw bytes, and files with any other
  schema are not used.
- Failures of the disk or the server never reach the caller: unreadable arrays count
  as missing, arrays that cannot be written are not kept, and one warning says so. Only
  deletions, and the list of entries to delete, raise an OSError.

Several processes can share a file, and several machines a server. A server may drop
rows at any time.

A location, however it is written, is one folder: its subfolder ``joblib``, where joblib
has its own files. A folder holds one store, ``rows-0.sqlite3``. SQLite files must not
be moved or replaced while other processes have them open. So a damaged file is replaced
by ``rows-1.sqlite3`` with all readable arrays, and kept as ``rows-0.sqlite3.damaged``.
The file with the highest number is the store; files with lower numbers are never used
again.
"""

from skvgg._store.array_store import ArrayStore
from skvgg._store.store import Entry, Store

__all__ = ["ArrayStore", "Entry", "Store"]
