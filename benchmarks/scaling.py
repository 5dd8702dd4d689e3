"""Measure the overhead and speed of workers and Dask, in one run.

    pip install -e ".[bench]"
    python benchmarks/scaling.py                # all parts, about 10 minutes
    python benchmarks/scaling.py travel

Parts: ``workers`` (images per second of one process with all threads, and of the same
number of workers with one thread each, with loky and with a Dask cluster on this
machine), ``plumbing`` (microseconds per image of everything except the network, for
increasing numbers of images, in this process and with workers), ``travel`` (bytes sent
to workers, and bytes and seconds of a lazy Dask graph).
"""

import argparse
import contextlib
import os
import pickle
import tempfile
import time
from collections import Counter
from pathlib import Path

import joblib
import numpy as np
from extract import describe_processor, n_cores, write_photos
from joblib import parallel_config

from skvgg import VGG19Features
from skvgg._definition.architecture import Output
from skvgg._extraction import workers as extraction_workers
from skvgg._extraction.local import LocalPasses
from skvgg._extraction.recipe import Recipe
from skvgg._extraction.results import Results, Rows
from skvgg._extraction.run import run
from skvgg._extraction.workers import Done, WorkerPasses
from skvgg._images import Framing, load
from skvgg._store.cache import Cache

SIDE, N_FEATURES = 8, 64


# Workers


def workers(arguments):
    import distributed

    n = n_cores()
    environment = dict(os.environ)
    with (
        tempfile.TemporaryDirectory() as folder,
        distributed.LocalCluster(
            n, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster),
    ):
        # Dask's nanny has set OMP_NUM_THREADS=1 here, too.
        os.environ.clear()
        os.environ.update(environment)
        paths = write_photos(folder, arguments.photos, (500, 375))
        features = VGG19Features(None, random_state=0)

        def one_process():
            return features.set_params(n_jobs=1).transform(paths)

        def by_loky():
            with parallel_config("loky", n_jobs=n, inner_max_num_threads=1):
                return features.set_params(n_jobs=None).transform(paths)

        def by_dask():
            with parallel_config("dask"):
                return features.set_params(n_jobs=None).transform(paths)

        ways = {
            f"one process, {n} threads": one_process,
            f"loky, {n} workers of one": by_loky,
            f"Dask, {n} workers of one": by_dask,
        }
        seconds = {name: [] for name in ways}
        expected = one_process()
        for way in ways.values():  # loads the weights
            np.testing.assert_allclose(way(), expected, rtol=1e-3, atol=1e-3)
        for _ in range(arguments.rounds):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - start)
    print(f"\n{len(paths)} JPEG files of 500x375, {arguments.rounds} rounds")
    print(f"{'':28} {'ratio':>6} {'images/s':>9}")
    base = np.median(next(iter(seconds.values())))
    for name, rounds in seconds.items():
        median = np.median(rounds)
        print(f"{name:28} {base / median:6.2f} {len(paths) / median:9.2f}")


# Everything except the network


OUTPUT = Output("nothing", None)
RECIPE = Recipe((OUTPUT,), (), Framing((SIDE, SIDE), "stretch"), "benchmark")


def compute(pixels):
    return [np.zeros((len(pixels), N_FEATURES), np.float32)]


def work(items, units):
    """Return rows like a worker, without a network."""
    digests = {index: load(item, index).digest for index, item in items.items()}
    keys = {unit: RECIPE.keys(digests[unit[0]], unit[1]) for unit in units}
    arrays = {row[0]: np.zeros(N_FEATURES, np.float32) for row in keys.values()}
    return Done("", keys, arrays, {}, {}, [])


def plumbing(arguments):
    cache = Cache(None)
    ways = {
        "here": lambda r: LocalPasses(RECIPE, cache, r, compute, 32),
        "to loky": lambda r: WorkerPasses(work, r, n_cores(), 256),
    }
    print(f"\n{'images':>9} " + " ".join(f"{name + ', us':>12}" for name in ways))
    for n in arguments.numbers:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (n, SIDE, SIDE, 3), np.uint8)
        found = []
        for make_passes in ways.values():
            results = Results(
                RECIPE,
                cache,
                Rows(n, N_FEATURES),
                skips_bad=False,
                report=lambda n, counts: None,
                warn=print,
            )
            start = time.perf_counter()
            run(images, RECIPE, cache, results, make_passes(results))
            found.append((time.perf_counter() - start) / n * 1e6)
        print(f"{n:9} " + " ".join(f"{us:12.0f}" for us in found), flush=True)


# Data sent to workers


def travel(arguments):
    import dask.array as da

    sent = Counter()

    def weigh(a_work, tasks, n_jobs):
        for task in tasks:
            sent["tasks"] += 1
            sent["bytes"] += len(pickle.dumps((a_work, task)))
        return []

    results, extraction_workers._results = extraction_workers._results, weigh
    features = VGG19Features(None, random_state=0, n_jobs=n_cores())
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photos(folder, 100, (500, 375))
        files = [Path(path).read_bytes() for path in paths]
        for name, X in (("paths", paths), ("bytes", files)):
            sent.clear()
            with contextlib.suppress(RuntimeError):  # as nothing comes home
                features.transform(X)
            print(f"100 {name}: {sent['tasks']} tasks, {sent['bytes']} bytes")
    extraction_workers._results = results
    print(f"{'paths':>9} {'blocks':>7} {'seconds':>8} {'bytes':>10} {'a block':>8}")
    for n in arguments.numbers:
        X = da.from_array(np.array([f"photos/{i:07}.jpg" for i in range(n)]), 1000)
        start = time.perf_counter()
        rows = features.transform(X)
        seconds = time.perf_counter() - start
        graph = {k: v for k, v in rows.__dask_graph__().items() if "array" not in k[0]}
        size, blocks = len(pickle.dumps(graph)), rows.npartitions
        print(f"{n:9} {blocks:7} {seconds:8.3f} {size:10} {size / blocks:8.0f}")


def main():
    parts = {"workers": workers, "plumbing": plumbing, "travel": travel}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *parts])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument(
        "--numbers", type=int, nargs="+", default=[10**3, 10**4, 10**5, 10**6]
    )
    arguments = parser.parse_args()
    print(describe_processor(), "joblib", joblib.__version__, "load", os.getloadavg())
    for name in arguments.parts or parts:
        parts[name](arguments)


if __name__ == "__main__":
    main()
