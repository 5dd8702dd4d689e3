"""The store on disk: against what was put in, whatever happens to the file."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
import zlib
from hashlib import sha256
from pathlib import Path

import joblib
import numpy as np
import pytest

from skvgg._store import ArrayStore, pause, sqlite

from .conftest import run_python


def key(i):
    return sha256(str(i).encode()).digest()[:20]


def row(i, n=300):
    return np.random.default_rng(i).standard_normal(n, np.float32)


def rows(start, stop):
    return {key(i): row(i) for i in range(start, stop)}


def filled(folder, n=50):
    store = ArrayStore(str(folder))
    store.put(rows(0, n), group="rows")
    store.close()
    return store


def n_right(store, n):
    """Return how many of the rows are there; fail if one is wrong."""
    found = store.get([key(i) for i in range(n)])
    for i in range(n):
        if key(i) in found:
            np.testing.assert_array_equal(found[key(i)], row(i))
    return len(found)


def the_file(folder):
    (path,) = folder.glob("rows-*.sqlite3")
    return path


# Arrays


@pytest.mark.parametrize(
    "array",
    [
        np.arange(5),
        np.float32(3.5),
        np.zeros((2, 0, 3), np.uint8),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.array([True, False]),
        np.array(["é", "long"]),
        np.array([1, 2], ">i4"),
    ],
)
def test_arrays_come_back(tmp_path, array):
    store = ArrayStore(str(tmp_path))
    store.put({key(0): array})
    (back,) = ArrayStore(str(tmp_path)).get([key(0), key(1)]).values()
    np.testing.assert_array_equal(back, array)
    assert (back.dtype, back.shape) == (np.asarray(array).dtype, np.shape(array))


@pytest.mark.parametrize("array", [np.array([{}]), np.zeros(2, "i4,f4")])
def test_objects_are_refused_and_nothing_is_stored(tmp_path, array):
    store = ArrayStore(str(tmp_path))
    with pytest.raises(TypeError, match="cannot hold Python objects"):
        store.put({key(0): np.zeros(2), key(1): array})
    assert len(store) == 0


def test_keys_that_share_an_id_are_not_confused(tmp_path):
    first, second = b"same 8 b" + b"1" * 12, b"same 8 b" + b"2" * 12
    store = ArrayStore(str(tmp_path))
    store.put({first: row(1)})
    assert store.get([second]) == {}
    store.put({second: row(2)})
    assert list(store.get([first, second])) == [second]


def test_reading_makes_no_file(tmp_path):
    store = ArrayStore(str(tmp_path / "new"))
    assert store.get([key(0)]) == {}
    store.delete([1])
    store.clear()
    assert (len(store), store.nbytes()) == (0, 0)
    assert not (tmp_path / "new").exists()


def test_a_closed_store_is_one_file_little_larger_than_its_arrays(tmp_path):
    store = ArrayStore(str(tmp_path))
    store.put({key(i): row(i, 4096) for i in range(200)})
    store.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".gitignore",
        "rows-0.sqlite3",
    ]
    assert store.nbytes() == the_file(tmp_path).stat().st_size
    assert 1 < store.nbytes() / (200 * 4096 * 4) <= 1.1


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_a_store_has_the_permissions_that_the_umask_gives(tmp_path, umask):
    before = os.umask(umask)
    try:
        store = filled(tmp_path / "store")
        files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
        modes = {path.name: path.stat().st_mode & 0o777 for path in files}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o666 & ~umask}, modes
    store.close()


def test_deleting_gives_back_the_room(tmp_path):
    store = filled(tmp_path, 500)
    full = store.nbytes()
    store.put(rows(500, 510), group="others")
    store.delete_group("rows")
    assert n_right(store, 510) == 10
    assert store.nbytes() < full / 5
    store.delete([entry.id for entry in store.entries()][:4])
    assert n_right(store, 510) == len(store) == 6
    store.clear()
    assert len(store) == 0


def test_the_time_of_use_is_kept_to_within_a_day(tmp_path, monkeypatch):
    store = filled(tmp_path, 2)
    stored = store.entry(key(0)).stored
    monkeypatch.setattr(time, "time", lambda: stored + 3600)
    store.get([key(0)])
    assert store.entry(key(0)).used == stored
    monkeypatch.setattr(time, "time", lambda: stored + 100_000)
    store.get([key(0)])
    assert store.entry(key(0)).used == stored + 100_000
    assert store.entry(key(1)).used == stored


def test_reading_does_not_wait_for_one_who_writes(tmp_path, monkeypatch):
    store = filled(tmp_path, 2)
    stored = store.entry(key(0)).stored
    monkeypatch.setattr(time, "time", lambda: stored + 100_000)
    other = sqlite3.connect(the_file(tmp_path), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    start = time.perf_counter()
    assert n_right(store, 2) == 2
    assert time.perf_counter() - start < 5  # it waits a minute to write
    other.execute("ROLLBACK")
    other.close()
    assert n_right(store, 2) == 2
    assert store.entry(key(0)).used == stored + 100_000


# Damage


def flip(path, position, bit):
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ (1 << bit)]))


def test_no_flipped_bit_gives_a_wrong_row(tmp_path):
    """Anywhere in the file; what is lost can be stored again."""
    n = 30
    filled(tmp_path, n)
    sound = the_file(tmp_path).read_bytes()
    rng = np.random.default_rng(0)
    n_lost = []
    for turn in range(150):
        folder = tmp_path / str(turn)
        folder.mkdir()
        path = folder / "rows-0.sqlite3"
        path.write_bytes(sound)
        flip(path, int(rng.integers(len(sound))), int(rng.integers(8)))
        store = ArrayStore(str(folder))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            n_lost.append(n - n_right(store, n))
            store.put(rows(0, n))
            n_right(store, n)
        assert len(caught) <= 1
        store.close()
    assert sum(lost == 1 for lost in n_lost) > 50  # a flip in a row costs that row
    assert np.mean(n_lost) < 5


def test_a_flipped_bit_in_a_row_costs_that_row_and_one_warning(tmp_path):
    store = filled(tmp_path)
    path = the_file(tmp_path)
    position = path.read_bytes().index(row(7).tobytes()[40:80])
    flip(path, position, 3)
    with pytest.warns(UserWarning, match="damaged") as record:
        assert n_right(store, 50) == 49
        assert n_right(store, 50) == 49
    assert len(record) == 1
    store.put({key(7): row(7)})
    assert n_right(store, 50) == 50


@pytest.mark.parametrize("form", ["|O 300", "<f4 7", "(1,)x 300", "<f4 a", ""])
def test_a_row_of_a_form_that_is_none_is_damaged_whatever_its_checksum(tmp_path, form):
    filled(tmp_path, 3)
    change = "UPDATE items SET crc = ?, form = ? WHERE key = ?"
    crc = zlib.crc32(row(1).tobytes(), zlib.crc32(key(1) + form.encode()))
    with sqlite3.connect(the_file(tmp_path)) as connection:
        connection.execute(change, (crc, form, key(1)))
    connection.close()
    with pytest.warns(UserWarning, match="a row is not an array"):
        assert n_right(ArrayStore(str(tmp_path)), 3) == 2


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97])
def test_a_truncated_file_is_mended(tmp_path, share):
    store = filled(tmp_path, 200)
    path = the_file(tmp_path)
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.warns(UserWarning, match="damaged") as record:
        kept = n_right(store, 200)
        store.put(rows(0, 200))
        assert n_right(store, 200) == 200
    assert len(record) == 1
    assert kept < 200
    assert n_right(ArrayStore(str(tmp_path)), 200) == 200


def test_rows_beside_a_broken_page_are_salvaged(tmp_path):
    store = filled(tmp_path, 400)
    path = the_file(tmp_path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        assert 380 <= n_right(store, 400) < 400
    assert the_file(tmp_path).name == "rows-1.sqlite3"


# Files of others


def change(path, statement):
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("PRAGMA user_version = 2", r"newer version of skvgg \(layout 2.*supports 1\)"),
        ("PRAGMA application_id = 1", "not a skvgg store"),
        ("CREATE VIEW v AS SELECT 1", "skvgg did not create"),
        (
            "CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items; END",
            "skvgg did not create",
        ),
    ],
)
def test_a_store_that_is_not_ours_is_left_alone(tmp_path, statement, message):
    store = filled(tmp_path)
    path = the_file(tmp_path)
    change(path, statement)
    before = path.read_bytes()
    with pytest.warns(UserWarning, match=message) as record:
        assert store.get([key(0)]) == {}
        store.put(rows(0, 2))
    assert len(record) == 1
    with pytest.raises(OSError, match="Nothing was deleted"):
        store.clear()
    store.close()
    assert path.read_bytes() == before


def test_a_store_holds_no_pickle(tmp_path):
    """What one reads is numbers: no opcode of a pickle, no code to run."""
    filled(tmp_path)
    connection = sqlite3.connect(the_file(tmp_path))
    for form, data in connection.execute("SELECT form, data FROM items"):
        assert form == "<f4 300"
        assert len(data) == 1200
    connection.close()


# A disk that fails


def test_a_folder_that_cannot_be_made_is_one_warning(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    store = ArrayStore(str(blocked / "folder"))
    with pytest.warns(UserWarning, match="no longer accepts rows") as record:
        store.put(rows(0, 2))
        store.put(rows(2, 4))
    assert store.get([key(0)]) == {}
    assert len(record) == 1


def test_a_full_disk_is_one_warning_and_keeps_what_was_there(tmp_path):
    code = """
import resource, signal, sys, warnings
import joblib
import numpy as np
sys.path.insert(0, sys.argv[2])
from tests.test_store import filled, n_right, rows
from skvgg._store import ArrayStore, pause, sqlite
store = ArrayStore(sys.argv[1])
store.put(rows(0, 20))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for i in range(20, 2000, 20):
        store.put(rows(i, i + 20))
print(len(caught), str(caught[0].message))
print(n_right(store, 2000))
"""
    first, second = run_python(code, tmp_path, os.getcwd()).stdout.splitlines()
    assert first.startswith("1 ")
    assert "no longer accepts rows" in first
    assert 20 <= int(second) < 2000
    assert n_right(ArrayStore(str(tmp_path)), 2000) == int(second)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users here")
def test_a_read_only_folder_is_read(tmp_path):
    """As a user without rights, since root may write anywhere."""
    filled(tmp_path)
    code = """
import os, sys, warnings
sys.path.insert(0, sys.argv[2])
from tests.test_store import n_right, rows, ArrayStore
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    store = ArrayStore(sys.argv[1])
    before = n_right(store, 50)
    store.put(rows(50, 60))
    store.put(rows(60, 70))
    print(before, n_right(store, 70), len(caught), caught[0].message)
"""
    the_file(tmp_path).chmod(0o444)
    above = [f for f in tmp_path.parents if "pytest-of" in str(f)]  # of pytest's own
    for folder in (tmp_path, *above):
        folder.chmod(0o555)
    try:
        output = run_python(code, tmp_path, os.getcwd()).stdout
    finally:
        for folder in (tmp_path, *above):
            folder.chmod(0o700)
    assert output.startswith("50 50 1 ")
    assert "no longer accepts rows" in output


# Several processes


def store_all(folder, start, stop, step):
    store = ArrayStore(folder)
    for i in range(start, stop, step):
        store.put(rows(i, i + step))


def test_four_processes_make_one_store_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=store_all, args=(str(tmp_path), 0, 400, 8))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    store = ArrayStore(str(tmp_path))
    assert n_right(store, 400) == len(store) == 400
    assert [path.name for path in tmp_path.glob("*.draft")] == []


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
from tests.test_store import ArrayStore, rows
store = ArrayStore(sys.argv[1])
i = 0
while True:
    store.put(rows(i, i + 10))
    i += 10
    print(i, flush=True)
"""


@pytest.mark.slow
def test_a_killed_process_loses_the_batch_in_flight_at_most(tmp_path):
    rng = np.random.default_rng(0)
    for turn in range(8):
        folder = tmp_path / str(turn)
        command = [sys.executable, "-c", KILLED, folder, os.getcwd()]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        told = process.stdout.read().split()
        process.wait()
        process.stdout.close()
        stored = int(told[-1]) if told else 10
        store = ArrayStore(str(folder))
        assert stored <= n_right(store, stored + 20) <= stored + 10
        store.put(rows(0, stored + 20))
        assert n_right(store, stored + 20) == stored + 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_opens_a_connection_of_its_own(tmp_path):
    code = """
import os, sys
sys.path.insert(0, sys.argv[2])
from tests.test_store import ArrayStore, n_right, rows
store = ArrayStore(sys.argv[1])
store.put(rows(0, 10))
child = os.fork()
if child == 0:
    store.put(rows(10, 20))
    sys.exit(0 if n_right(store, 20) == 20 else 1)
_, status = os.waitpid(child, 0)
store.put(rows(20, 30))
print(status, n_right(store, 30))
"""
    assert run_python(code, tmp_path, os.getcwd()).stdout.split() == ["0", "30"]


def test_threads_share_a_store(tmp_path):
    from joblib import Parallel, delayed

    store = ArrayStore(str(tmp_path))
    Parallel(4, backend="threading")(
        delayed(store.put)(rows(i, i + 5)) for i in range(0, 100, 5)
    )
    found = Parallel(4, backend="threading")(
        delayed(n_right)(store, 100) for _ in range(4)
    )
    assert found == [100] * 4


# Locked by another process


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.5)
    monkeypatch.setattr(pause, "_paused_until", {})


@pytest.mark.parametrize("blocks_readers", [False, True])
def test_a_locked_file_costs_its_patience_once_and_one_warning(
    tmp_path, impatient, blocks_readers
):
    filled(tmp_path, 3).close()
    holder = sqlite3.connect(the_file(tmp_path), isolation_level=None)
    if blocks_readers:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
    holder.execute("BEGIN EXCLUSIVE")
    holder.execute("INSERT INTO groups(name) VALUES ('held')")
    start = time.monotonic()
    with pytest.warns(UserWarning, match="locked by another process") as record:
        for i in range(5):
            store = ArrayStore(str(tmp_path))  # as each call of transform does
            assert n_right(store, 3) == (0 if blocks_readers else 3)
            store.put({key(10 + i): row(10 + i)})
    assert len(record) == 1
    assert time.monotonic() - start < 2
    holder.close()
    store = ArrayStore(str(tmp_path))
    store.put(rows(3, 5))  # at once
    assert n_right(store, 5) == 5
    assert not any(map(pause.is_paused, pause._paused_until))


DELETIONS = {
    "clear": joblib.Memory.clear,
    "reduce_size": lambda memory: memory.reduce_size(items_limit=1),
    "call": lambda memory: memory.store_backend.clear_item(["rows", "x"]),
    "function": lambda memory: memory.store_backend.clear_path(["rows"]),
}


@pytest.mark.parametrize("deletion", DELETIONS)
@pytest.mark.parametrize("blocks_readers", [False, True])
def test_what_cannot_be_deleted_is_an_error_also_during_a_pause(
    tmp_path, impatient, blocks_readers, deletion
):
    memory = joblib.Memory(tmp_path, backend="skvgg", verbose=0)
    backend, folder = memory.store_backend, Path(memory.store_backend.location)
    for name in "xyz":
        backend.dump_item(["rows", name], row(0))
    backend.store.close()
    holder = sqlite3.connect(the_file(folder), isolation_level=None)
    if blocks_readers:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
    holder.execute("BEGIN EXCLUSIVE")
    holder.execute("INSERT INTO groups(name) VALUES ('held')")
    with pytest.warns(UserWarning, match="locked by another process"):
        backend.store.put(rows(0, 2))
    with pytest.raises(OSError, match=r"locked.*Nothing was deleted"):
        DELETIONS[deletion](memory)
    holder.close()
    DELETIONS[deletion](memory)
    left = {"clear": 0, "reduce_size": 1, "call": 2, "function": 0}
    assert len(backend.store) == left[deletion]


def test_a_damaged_file_is_kept_until_the_store_is_cleared(tmp_path):
    filled(tmp_path, 50).close()
    content = the_file(tmp_path).read_bytes()
    os.truncate(the_file(tmp_path), len(content) // 2)
    damaged = the_file(tmp_path).read_bytes()
    store = ArrayStore(str(tmp_path))
    with pytest.warns(UserWarning, match=r"kept as '.*rows-0\.sqlite3\.damaged'"):
        n_right(store, 50)
    assert (tmp_path / "rows-0.sqlite3.damaged").read_bytes() == damaged
    assert the_file(tmp_path).name == "rows-1.sqlite3"
    store.clear()
    assert [path.name for path in tmp_path.glob("*.damaged*")] == []
