"""Fits beside each other: joblib's backends, forks, many in one process."""

import multiprocessing
import os

import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config
from sklearn.model_selection import GridSearchCV

from skvgg import TFLearnMLPClassifier
from skvgg._runtime.threads import max_threads

from .conftest import run_python


def make_rows():
    rng = np.random.RandomState(0)
    X = rng.randn(120, 10).astype(np.float32)
    return X, (X[:, 0] > 0).astype(int)


def fit_one(seed):
    X, y = make_rows()
    return TFLearnMLPClassifier((8,), max_iter=3, random_state=seed).fit(X, y).coefs_


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_backends_give_the_bits_of_one_fit_after_the_other(backend):
    seeds = [0, 1, 0, 1]
    alone = [fit_one(seed) for seed in seeds]
    with parallel_config(backend=backend, n_jobs=2):
        together = Parallel()(delayed(fit_one)(seed) for seed in seeds)
    for first, second in zip(alone, together, strict=True):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)


def test_grid_search_in_threads():
    X, y = make_rows()
    grid = {"dropout": [0.0, 0.1, 0.2, 0.3]}
    head = TFLearnMLPClassifier((8,), max_iter=3, random_state=0)
    scores = {}
    for n_jobs in (1, 2):
        with parallel_config(backend="threading"):
            search = GridSearchCV(head, grid, cv=2, n_jobs=n_jobs).fit(X, y)
        scores[n_jobs] = search.cv_results_["mean_test_score"]
    np.testing.assert_array_equal(scores[1], scores[2])


FORK = """
import multiprocessing, sys
import numpy as np
from skvgg import TFLearnMLPClassifier, VGG19Features
X = np.random.RandomState(0).randn(40, 4).astype("float32")
y = np.arange(40) % 2
head = TFLearnMLPClassifier((4,), max_iter=1, random_state=0)
images = np.zeros((1, 32, 32, 3), "uint8")
features = VGG19Features(None, layer="block1_pool", image_size=32, random_state=0)

def work(what, queue):
    try:
        if what == "fit":
            head.fit(X, y)
        elif what == "transform":
            features.transform(images)
        else:
            head.predict(X)
        queue.put("works")
    except RuntimeError as error:
        queue.put(str(error))

head.fit(X, y)
features.transform(images)
context = multiprocessing.get_context("fork")
for what in ("fit", "transform", "predict"):
    queue = context.Queue()
    child = context.Process(target=work, args=(what, queue), daemon=True)
    child.start()
    print(what, ":", queue.get(timeout=30))
    child.join(timeout=30)
"""


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork here"
)
def test_a_fork_after_tensorflow_ran_fails_at_once_or_works():
    lines = run_python(FORK).stdout.splitlines()
    told = dict(line.split(" : ") for line in lines)
    assert "forked after TensorFlow had run" in told["fit"]
    assert "loky" in told["fit"]
    assert told["transform"] == told["fit"]
    assert told["predict"] == "works"  # needs no TensorFlow


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork here"
)
def test_a_fork_while_another_thread_starts_tensorflow_fails_at_once():
    code = """
import multiprocessing, threading
from skvgg._runtime import tensorflow

starting, forked = threading.Event(), threading.Event()

def start():
    starting.set()
    assert forked.wait(60)

def work(queue):
    try:
        tensorflow.import_tensorflow()
    except RuntimeError as error:
        queue.put(str(error))

tensorflow._start = start
thread = threading.Thread(target=tensorflow.import_tensorflow)
thread.start()
assert starting.wait(60)
context = multiprocessing.get_context("fork")
queue = context.Queue()
child = context.Process(target=work, args=(queue,), daemon=True)
child.start()
try:
    print(queue.get(timeout=20))
finally:
    forked.set()
"""
    assert "forked after TensorFlow had run" in run_python(code).stdout


def test_a_fork_before_tensorflow_ran_works():
    code = """
import multiprocessing
import numpy as np
from skvgg import TFLearnMLPClassifier

def work(queue):
    X = np.random.RandomState(0).randn(40, 4).astype("float32")
    head = TFLearnMLPClassifier((4,), max_iter=1, random_state=0)
    queue.put(head.fit(X, np.arange(40) % 2).n_iter_)

context = multiprocessing.get_context("fork")
queue = context.Queue()
child = context.Process(target=work, args=(queue,), daemon=True)
child.start()
print(queue.get(timeout=60))
child.join(timeout=30)
"""
    assert run_python(code).stdout.strip() == "1"


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc here")
@pytest.mark.parametrize("rates", [1, 20])
def test_many_fits_do_not_make_the_process_grow(rates):
    """Networks that are alike share a graph; 20 sorts are more than are kept."""
    code = """
import os
import numpy as np
from skvgg import TFLearnMLPClassifier

def count():
    pages = int(open("/proc/self/statm").read().split()[1])
    megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    threads = len(os.listdir("/proc/self/task"))
    return megabytes, threads, len(os.listdir("/proc/self/fd"))

X = np.random.RandomState(0).randn(100, 20).astype("float32")
y = np.arange(100) % 3
peak = 0
for i in range(1, 201):
    rate = 0.1 / (1 + i % RATES)
    TFLearnMLPClassifier((16,), max_iter=1, learning_rate_init=rate).fit(X, y)
    if i == 10:
        before = count()
    peak = max(peak, count()[0])
after = count()
print(peak - before[0], after[1] - before[1], after[2] - before[2])
"""
    output = run_python(code.replace("RATES", str(rates))).stdout
    megabytes, threads, files = map(float, output.split())
    assert megabytes < 20
    assert threads <= 0
    assert files <= 0


LIMIT = """
import os, sys
import numpy as np
from contextlib import suppress
from joblib import Parallel, delayed, parallel_config
from skvgg import TFLearnMLPClassifier, VGG19Features

def time_of_threads():
    times = {}
    for thread in os.listdir("/proc/self/task"):
        # A thread may end after it was listed.
        with (
            suppress(FileNotFoundError, ProcessLookupError),
            open(f"/proc/self/task/{thread}/schedstat") as file,
        ):
            times[thread] = int(file.read().split()[0])
    return times

def count_busy(work):
    "Return how many threads did a good part of the work."
    work()  # starts TensorFlow
    before = time_of_threads()
    work()
    spent = [t - before.get(i, 0) for i, t in time_of_threads().items()]
    return sum(t > max(spent) / 3 for t in spent)

def transform():
    features = VGG19Features(
        None, layer="block3_pool", pooling="avg", image_size=96, random_state=0
    )
    X = np.random.default_rng(0).integers(0, 256, (32, 96, 96, 3), np.uint8)
    features.transform(X)

def fit():
    X = np.random.RandomState(0).randn(128, 2000).astype("float32")
    # So many steps that all else, in Python's own thread, is little beside them.
    head = TFLearnMLPClassifier((2000,), max_iter=40, standardize=False)
    head.fit(X, np.arange(128) % 2)

def count_both():
    # Once of three: now and then the system puts something else in a thread.
    return [min_busy(transform), min_busy(fit)]

def min_busy(work):
    return next((n for _ in range(3) if (n := count_busy(work)) == 1), 2)
"""

needs_schedstat = pytest.mark.skipif(
    not os.path.exists("/proc/self/schedstat"), reason="no /proc/self/schedstat here"
)


def test_the_limit_is_that_of_omp_num_threads(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert max_threads() == 4
    for limit, expected in (("3", 3), ("8", 4), ("0", 4), ("2,1", 2), (" 1", 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
        assert max_threads() == expected


@needs_schedstat
@pytest.mark.parametrize(
    "variable",
    ["OMP_NUM_THREADS", pytest.param("LOKY_MAX_CPU_COUNT", marks=pytest.mark.slow)],
)
def test_one_thread_is_one_thread(monkeypatch, variable):
    """joblib counts its cores by the latter as it does by a container's quota."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv(variable, "1")
    assert run_python(LIMIT + "print(*count_both())").stdout.split() == ["1", "1"]


@pytest.mark.slow
@needs_schedstat
def test_workers_of_joblib_keep_to_their_share():
    code = """
with parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
    for counts in Parallel()(delayed(count_both)() for _ in range(2)):
        print(*counts)
"""
    assert run_python(LIMIT + code).stdout.split() == ["1", "1"] * 2


@needs_schedstat
@pytest.mark.parametrize("begun", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_limit_that_the_user_set_in_tensorflow_stays(monkeypatch, begun):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # A machine with much else to do may give one thread most of the time, once.
    code = """
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(2)
if sys.argv[1] == "True":
    tf.constant(1.0) + 1
busy = next((n for _ in range(20) if (n := count_busy(transform)) > 1), 1)
print(busy, tf.config.threading.get_intra_op_parallelism_threads())
"""
    busy, limit = run_python(LIMIT + code, begun).stdout.split()
    assert int(busy) > 1
    assert limit == "2"
