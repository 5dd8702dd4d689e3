"""Compare the speed and size of the feature store with alternatives, in one run.

    pip install -e ".[bench]"
    python benchmarks/cache.py                      # all parts, about 10 minutes
    python benchmarks/cache.py rows search          # some parts
    python benchmarks/cache.py search --image-size 224

Parts: ``rows`` (store and hit, microseconds per row, and bytes on disk), ``shared``
(the same for a Redis server on this machine, which must be installed), ``warm``
(transforms with all rows in the store), ``search`` (a grid search with and without
memory), ``million`` (hits in a growing store), ``kills`` and ``flips`` (rows lost after
a process is killed, or a bit is flipped).
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from hashlib import sha256
from pathlib import Path
from unittest import mock

import joblib
import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skvgg import VGG19Features
from skvgg._network import vgg19
from skvgg._store import ArrayStore
from skvgg._store.cache import Cache

N_ROWS, N_FEATURES, TOGETHER = 2000, 4096, 32


def make_key(i):
    return sha256(str(i).encode()).digest()[:20]


def make_row(i, n):
    return np.random.default_rng(i).standard_normal(n, np.float32)


def in_parts(n):
    return (range(start, min(start + TOGETHER, n)) for start in range(0, n, TOGETHER))


def disk(folder):
    return sum(path.stat().st_size for path in Path(folder).rglob("*"))


# rows


class Matrix:
    """The whole matrix in one file, as written without a library."""

    def __init__(self, folder):
        self.path = folder / "rows.npy"

    def store(self, keys, rows):
        np.save(self.path, rows)

    def hit(self, keys, out):
        out[:] = np.load(self.path)


class PlainSQLite:
    """A table of keys and bytes."""

    def __init__(self, folder):
        self.path = folder / "rows.sqlite3"

    def _connect(self):
        connection = sqlite3.connect(self.path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def store(self, keys, rows):
        connection = self._connect()
        columns = "key BLOB PRIMARY KEY, data BLOB"
        connection.execute(f"CREATE TABLE IF NOT EXISTS t({columns})")
        for part in in_parts(len(keys)):
            connection.execute("BEGIN IMMEDIATE")
            for i in part:
                values = (keys[i], rows[i].tobytes())
                connection.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", values)
            connection.execute("COMMIT")
        connection.close()

    def hit(self, keys, out):
        connection = self._connect()
        for part in in_parts(len(keys)):
            for i in part:
                query = "SELECT data FROM t WHERE key = ?"
                (data,) = connection.execute(query, (keys[i],)).fetchone()
                out[i] = np.frombuffer(data, np.float32)
        connection.close()


class Joblib:
    """joblib.Memory with its own store: a folder and two files per row."""

    def __init__(self, folder):
        self.cache = Cache(joblib.Memory(folder, verbose=0))

    def store(self, keys, rows):
        for part in in_parts(len(keys)):
            self.cache.put({keys[i]: rows[i] for i in part})

    def hit(self, keys, out):
        for part in in_parts(len(keys)):
            found = self.cache.get([keys[i] for i in part])
            for i in part:
                out[i] = found[keys[i]]


class Skvgg(Joblib):
    """skvgg's store, including checksums."""

    def __init__(self, folder):
        self.cache = Cache(str(folder))

    def store(self, keys, rows):
        super().store(keys, rows)
        self.cache.close()

    def hit(self, keys, out):
        super().hit(keys, out)
        self.cache.close()


class SkvggRedis(Skvgg):
    """skvgg's store on a Redis server."""

    def __init__(self, folder):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port)]
        command += ["--dir", str(folder), "--save", ""]
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.cache = Cache(f"redis://127.0.0.1:{port}/0")
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break

    def nbytes(self):
        return self.cache.info().bytes

    def stop(self):
        self.server.kill()
        self.server.wait()


PEERS = {"plain SQLite": PlainSQLite, "skvgg": Skvgg, "joblib": Joblib, "npy": Matrix}


@contextlib.contextmanager
def opened(peer_class):
    """Yield a peer with an empty store, and a function that returns its size."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        peer = peer_class(Path(folder))
        stack.callback(getattr(peer, "stop", lambda: None))
        yield peer, getattr(peer, "nbytes", lambda: disk(folder))


def run_shared(args):
    if shutil.which("redis-server") is None:
        print("redis-server is not installed")
        return
    run_rows(args, {"skvgg, SQLite": Skvgg, "skvgg, Redis": SkvggRedis})


def run_rows(args, peers=PEERS):
    keys = [make_key(i) for i in range(N_ROWS)]
    rows = np.random.default_rng(0).standard_normal((N_ROWS, N_FEATURES), np.float32)
    order = np.random.default_rng(1).permutation(N_ROWS)
    costs = {name: ([], [], []) for name in peers}
    for _ in range(args.repeats):
        for name, peer_class in peers.items():
            with opened(peer_class) as (peer, size):
                out = np.empty_like(rows)
                os.sync()
                start = time.perf_counter()
                peer.store(keys, rows)
                middle = time.perf_counter()
                if name == "npy":
                    peer.hit(keys, out)
                else:  # in another order than they were stored
                    shuffled = np.empty_like(rows)
                    peer.hit([keys[i] for i in order], shuffled)
                end = time.perf_counter()
                if name != "npy":
                    out[order] = shuffled
                np.testing.assert_array_equal(out, rows)
                seconds_and_ratio = (middle - start, end - middle, size() / rows.nbytes)
                for kept, figure in zip(costs[name], seconds_and_ratio, strict=True):
                    kept.append(figure)
    first = next(iter(peers))
    base = [statistics.median(kept) for kept in costs[first]]
    print(
        f"{N_ROWS} rows of {N_FEATURES} float32, microseconds a row, medians of "
        f"{args.repeats}; ratios to {first}"
    )
    print(f"{'':14} {'store':>8} {'ratio':>6} {'hit':>8} {'ratio':>6} {'size/raw':>10}")
    for name, kept in costs.items():
        store, hit, size = map(statistics.median, kept)
        print(
            f"{name:14} {store / N_ROWS * 1e6:8.1f} {store / base[0]:6.2f} "
            f"{hit / N_ROWS * 1e6:8.1f} {hit / base[1]:6.2f} {size:10.3f}"
        )


# warm


def make_photos(folder, n):
    """Save n different JPEG photos of 500 x 375 pixels with camera noise."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 10, 3), np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), float)
        noisy = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255)
        paths.append(folder / f"{i}.jpg")
        Image.fromarray(noisy.astype(np.uint8)).save(paths[-1], quality=85)
    return paths


class Made:
    """Replaces the network while a store is filled, and returns prepared rows."""

    def __init__(self, rows):
        self.rows, self.done = rows, 0

    preprocessing = None

    def features(self, pixels, *rest):
        start, self.done = self.done, self.done + len(pixels)
        return [self.rows[start : self.done]]


def run_warm(args):
    n = 2000
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        paths = make_photos(folder, n)
        arrays = np.random.default_rng(0).integers(0, 256, (n, 224, 224, 3), np.uint8)
        features = VGG19Features(
            None, memory=str(folder / "cache"), random_state=0, batch_size=64
        )
        rows = np.random.default_rng(0).standard_normal((n, N_FEATURES), np.float32)
        first = {}
        for name, X in (("arrays", arrays), ("paths", paths)):
            made = Made(rows)
            with mock.patch("skvgg.features.get_network", return_value=made):
                first[name] = features.transform(X)
            np.testing.assert_array_equal(first[name], rows)
        size = sum(path.stat().st_size for path in paths) / n / 1e3
        print(f"A transform whose {n} rows are all stored, medians of {args.repeats}")
        for name, X in (("arrays", arrays), ("paths", paths)):
            seconds = []
            for _ in range(args.repeats):
                start = time.perf_counter()
                again = features.transform(X)
                seconds.append(time.perf_counter() - start)
            np.testing.assert_array_equal(again, first[name])
            what = "224x224x3 uint8" if name == "arrays" else f"JPEG of {size:.0f} kB"
            rate = n / statistics.median(seconds)
            print(f"{name:8} ({what}) {rate:8.0f} images/s")


# search


def run_search(args):
    rng = np.random.default_rng(0)
    n, side = 300, args.image_size
    X = rng.integers(0, 256, (n, side, side, 3), np.uint8)
    y = rng.permutation(n) % 3
    passes = []
    real = vgg19.VGG19.features

    def count(self, pixels, *rest):
        passes.append(len(pixels))
        return real(self, pixels, *rest)

    vgg19.VGG19.features = count
    full = side == 224
    layer = {"layer": "fc1"} if full else {"layer": "block5_pool", "pooling": "avg"}
    with tempfile.TemporaryDirectory() as folder:
        ours = str(Path(folder) / "skvgg")
        cases = {
            "(a) no cache": (None, None),
            "(b) Pipeline(memory=)": (None, str(Path(folder) / "pipeline")),
            "(c) skvgg, cold": (ours, None),
            "(d) skvgg, warm": (ours, None),
        }
        base = VGG19Features(None, image_size=side, random_state=0, **layer)
        base.transform(X[:64])  # so that building the network counts for none
        print(f"GridSearchCV, 5 folds, 6 heads, {n} images of {side} x {side} pixels")
        first = None
        for name, (memory, pipeline_memory) in cases.items():
            passes.clear()
            features = VGG19Features(
                None, image_size=side, random_state=0, memory=memory, **layer
            )
            steps = [("features", features), ("head", LogisticRegression(max_iter=50))]
            model = Pipeline(steps, memory=pipeline_memory)
            grid = {"head__C": np.logspace(-4, 1, 6)}
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that a head has not converged
                GridSearchCV(model, grid, cv=5).fit(X, y)
            seconds = time.perf_counter() - start
            first = first or seconds
            print(
                f"{name:22} {sum(passes) / n:6.2f} passes per image {seconds:8.1f} s "
                f"{seconds / first:6.3f}"
            )
    vgg19.VGG19.features = real


# million


def run_million(args):
    n_features, n_lookups = args.row, 2000
    print(
        f"Hits in a small and a large store of rows of {n_features} float32, looked up "
        "in turns, microseconds a row"
    )
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((1000, n_features), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        seconds = {}
        for name, peer_class in (("plain SQLite", PlainSQLite), ("skvgg", Skvgg)):
            for n in (1_000, 1_000_000):
                place = Path(folder, f"{name} {n}")
                place.mkdir()
                peer = peer_class(place)
                for start in range(0, n, 1000):
                    peer.store([make_key(i) for i in range(start, start + 1000)], rows)
                seconds[name, n, peer] = []
        for _ in range(3 * args.repeats):
            for (_, n, peer), kept in seconds.items():
                keys = [make_key(i) for i in rng.integers(0, n, n_lookups)]
                out = np.empty((n_lookups, n_features), np.float32)
                start = time.perf_counter()
                peer.hit(keys, out)
                kept.append((time.perf_counter() - start) / n_lookups * 1e6)
    first = {}
    for (name, n, _), kept in seconds.items():
        hit = statistics.median(kept)
        first.setdefault(name, hit)
        print(f"{name:14} {n:10} rows {hit:6.1f} {hit / first[name]:6.2f}")


# kills and flips

WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from cache import ArrayStore, make_key, make_row
store, i = ArrayStore(sys.argv[1]), 0
while True:
    store.put({make_key(j): make_row(j, 1000) for j in range(i, i + 10)})
    i += 10
    print(i, flush=True)
"""


def count_rows(store, n, n_features):
    """Return how many of n rows are stored, and how many of those are wrong."""
    found = store.get([make_key(i) for i in range(n)])
    wrong = sum(
        not np.array_equal(found[make_key(i)], make_row(i, n_features))
        for i in range(n)
        if make_key(i) in found
    )
    return len(found), wrong


def run_kills(args):
    rng = np.random.default_rng(0)
    wrong = lost = total = 0
    for _ in range(50):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", WRITER, folder, str(Path(__file__).parent)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.3))
            os.kill(process.pid, signal.SIGKILL)
            output = process.communicate()[0].split()
            n = int(output[-1]) if output else 10
            store = ArrayStore(folder)
            there, wrong_here = count_rows(store, n, 1000)
            store.close()
            wrong, lost, total = wrong + wrong_here, lost + n - there, total + n
    print(f"50 kills: {wrong} wrong rows, {lost} of {total} stored rows lost")


def run_flips(args):
    n, n_features = 40, 500
    rng = np.random.default_rng(0)
    wrong = lost = 0
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        store = ArrayStore(folder)
        store.put({make_key(i): make_row(i, n_features) for i in range(n)})
        store.close()
        sound = (Path(folder) / "rows-0.sqlite3").read_bytes()
    for _ in range(1000):
        with tempfile.TemporaryDirectory() as folder:
            damaged = bytearray(sound)
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
            (Path(folder) / "rows-0.sqlite3").write_bytes(damaged)
            store = ArrayStore(folder)
            there, wrong_here = count_rows(store, n, n_features)
            store.close()
            wrong, lost = wrong + wrong_here, lost + n - there
    print(
        f"1000 bit flips: {wrong} wrong rows, {lost / 1000:.2f} of {n} rows lost a flip"
    )


PARTS = {
    "rows": run_rows,
    "shared": run_shared,
    "warm": run_warm,
    "search": run_search,
    "million": run_million,
    "kills": run_kills,
    "flips": run_flips,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", help=f"of {', '.join(PARTS)} (default: all)"
    )
    parser.add_argument("--repeats", type=int, default=5)
    # The default is the shortest row of VGG19.
    parser.add_argument("--row", type=int, default=64, help="values per row, million")
    parser.add_argument("--image-size", type=int, default=64, help="pixels, in search")
    args = parser.parse_args()
    for name in args.parts or PARTS:
        PARTS[name](args)
        print(flush=True)


if __name__ == "__main__":
    main()
