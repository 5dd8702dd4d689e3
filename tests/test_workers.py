"""``n_jobs``: images go to the workers of joblib's backend, and rows come home."""

import os
import pickle
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from joblib import parallel_config, register_parallel_backend
from joblib._parallel_backends import ThreadingBackend
from PIL import Image

from skvgg import VGG19Classifier, VGG19Features
from skvgg._definition.preprocessing import CAFFE
from skvgg._extraction import extraction, workers
from skvgg.exceptions import BadImageWarning
from skvgg.weights import Source, TunedWeights, as_source

from .conftest import run_python

SMALL = {"layer": "block1_pool", "pooling": "avg", "image_size": 32, "random_state": 0}


def small(weights=None, **parameters):
    return VGG19Features(weights, **(SMALL | parameters))


class CountedWeights(Source):
    """Random weights; a line in a file says which process has loaded them."""

    def __init__(self, log, deadly=False):
        self.log = os.fspath(log)
        self.deadly = deadly
        self._inner = as_source(None, seed=0)
        self.has_dense, self.fits_any_size = True, True

    def check(self):
        pass

    def identify(self):
        return ("counted", self.log)

    def fingerprint(self):
        return self._inner.fingerprint()

    def load(self, shapes, verbose=0):
        with open(self.log, "a") as file:
            file.write(f"{os.getpid()}\n")
        if self.deadly and len(Path(self.log).read_text().split()) == 1:
            os._exit(1)  # as one that was killed: the first of all
        return self._inner.load(shapes, verbose)

    @property
    def loads(self):
        log = Path(self.log)
        return log.read_text().split() if log.exists() else []


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    found = []
    for i in range(12):
        pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
        found.append(str(folder / f"{i}.png"))
        Image.fromarray(pixels).save(found[-1])
    return found


@pytest.fixture(scope="module")
def expected(paths):
    return small().transform(paths)


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-4)


@pytest.fixture
def in_threads():
    with parallel_config("threading", n_jobs=2):
        yield


@pytest.fixture
def sent(monkeypatch):
    """The tasks that are sent to workers."""
    tasks, results = [], workers._results

    def note(work, some, n_jobs):
        def noting():
            for task in some:
                tasks.append(task)
                yield task

        yield from results(work, noting(), n_jobs)

    monkeypatch.setattr(workers, "_results", note)
    return tasks


def test_processes_give_the_rows_of_one(paths, expected, tmp_path):
    """Paths, bytes, arrays and open images, each loaded where it is computed."""
    weights = CountedWeights(tmp_path / "log")
    features = small(weights, n_jobs=2, batch_size=2)
    assert_close(features.transform(paths), expected)
    files = [Path(path).read_bytes() for path in paths]
    assert_close(features.transform(files), expected)
    images = [Image.open(path) for path in paths]
    assert_close(features.transform(images), expected)
    assert_close(features.transform([np.asarray(i) for i in images]), expected)
    assert str(os.getpid()) not in weights.loads
    assert len(set(weights.loads)) == len(weights.loads) <= 2  # once a process


@pytest.mark.usefixtures("in_threads")
def test_none_means_the_context_s_number(paths, expected, sent):
    assert_close(small().transform(paths), expected)
    assert len(sent) == 2
    sent.clear()
    small(n_jobs=1).transform(paths)
    assert not sent


def test_without_a_context_none_means_no_workers(paths, sent):
    small().transform(paths)
    assert not sent


@pytest.mark.usefixtures("in_threads")
def test_all_workers_have_as_many_tasks_of_no_more_than_a_batch(paths, sent):
    for batch_size, sizes in ((32, [6, 6]), (4, [3] * 4), (1, [1] * 12)):
        small(batch_size=batch_size).transform(paths)
        assert [len(items) for items, _ in sent] == sizes
        sent.clear()


@pytest.mark.usefixtures("in_threads")
def test_what_the_memory_has_is_not_sent(paths, expected, sent, tmp_path):
    features = small(memory=tmp_path, batch_size=2)
    features.transform(paths[:7])
    assert sum(len(items) for items, _ in sent) == 7
    assert features.cache_info()[:3] == (0, 7, 7)
    sent.clear()
    assert_close(features.transform(paths), expected)
    assert sorted(i for items, _ in sent for i in items) == [*range(7, 12)]
    sent.clear()
    assert_close(features.transform(paths), expected)
    assert not sent


@pytest.mark.usefixtures("in_threads")
def test_rows_of_workers_are_those_that_a_process_finds(paths, tmp_path):
    """All of them: of several layers, and what is stored beside them."""
    parameters = {
        "layer": ("block1_pool", "block2_pool"),
        "pooling": ("avg", "max"),
        "memory": tmp_path,
        "memory_layers": "stages",
        "views": "flip",
    }
    first = small(**parameters).transform(paths)
    assert_close(small(**(parameters | {"memory": None})).transform(paths), first)
    again = small(**parameters, n_jobs=1)
    before = again.cache_info()
    np.testing.assert_array_equal(again.transform(paths), first)
    other = small(**(parameters | {"layer": "block4_pool", "n_jobs": 1}))
    other.transform(paths)
    assert again.cache_info().misses == before.misses


@pytest.mark.usefixtures("in_threads")
def test_a_duplicate_is_sent_once(paths, expected, sent):
    order = [0, 1, 0, 2, 2, 0]
    rows = small().transform([paths[i] for i in order])
    assert_close(rows, expected[order])
    assert sum(len(items) for items, _ in sent) == 3


def tasks_of(features, images):
    """Return the work and the tasks that a transformer would send to workers."""
    sent = []

    def lose(work, tasks, n_jobs):
        sent.extend((work, task) for task in tasks)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_results", lose)
        message = r"no result for .* first X\[0\]"
        with pytest.raises(RuntimeError, match=message):
            features.transform(images)
    return sent


def test_paths_travel_as_paths(paths, monkeypatch):
    hundred = [path for path in paths for _ in range(9)][:100]
    monkeypatch.setattr(  # all of them, as if no two were the same
        "skvgg._images.content.hashlib.sha256", lambda data: _Digest()
    )
    sent = tasks_of(small(n_jobs=2, batch_size=16), hundred)
    sizes = [len(pickle.dumps(task)) for task in sent]
    assert len(sizes) == 8
    assert sum(sizes) < 100_000


class _Digest:
    def digest(self):
        return os.urandom(32)


# What is wrong with images, workers and weights


@pytest.mark.usefixtures("in_threads")
def test_a_bad_image_is_named_and_the_others_stay(paths, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    some = [*paths[:9], bad, *paths[9:]]
    features = small(memory=tmp_path / "memory", batch_size=2)
    with pytest.raises(ValueError, match=r"X\[9\] \('.*bad.png'\): not an image"):
        features.transform(some)
    assert features.cache_info().entries >= 8
    features.set_params(on_error="nan")
    with pytest.warns(BadImageWarning, match=r"X\[9\] ") as caught:
        rows = features.transform(some)
    assert np.isnan(rows[9]).all()
    assert not np.isnan(np.delete(rows, 9, 0)).any()
    assert [*caught[0].message.bad_images] == [9]


@pytest.mark.usefixtures("in_threads")
def test_what_a_worker_finds_odd_is_said_once_by_the_user_s_name(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).random((40, 40)).astype("f"))
    image.save(tmp_path / "dim.tif")
    dim = np.random.default_rng(1).random((5, 40, 40, 3))
    X = [Image.open(tmp_path / "dim.tif"), *dim]
    with pytest.warns(UserWarning, match=r"X\[\d\].* values all lie in 0\.\.1") as told:
        small(batch_size=1).transform(X)
    assert len(told) == 1


def meanwhile(monkeypatch, change):
    """Do something after the process that asks has read, before workers do."""
    results = workers._results

    def later(*args):
        change()
        return results(*args)

    monkeypatch.setattr(workers, "_results", later)


@pytest.mark.usefixtures("in_threads")
@pytest.mark.parametrize("on_error", ["raise", "nan"])
def test_a_worker_that_cannot_see_a_file_says_so(
    paths, tmp_path, monkeypatch, on_error
):
    path = shutil.copy(paths[0], tmp_path / "gone.png")
    monkeypatch.chdir(tmp_path)
    meanwhile(monkeypatch, lambda: os.remove(path))
    message = r"X\[2\] \('gone.png'\): worker '.*' \(process \d+\) cannot read this"
    with pytest.raises(FileNotFoundError, match=message):
        small(on_error=on_error).transform([*paths[1:3], "gone.png"])


@pytest.mark.usefixtures("in_threads")
def test_a_worker_that_sees_another_file_gives_no_row(paths, tmp_path, monkeypatch):
    path = shutil.copy(paths[0], tmp_path / "new.png")
    meanwhile(monkeypatch, lambda: shutil.copy(paths[1], path))
    features = small(memory=tmp_path / "memory", on_error="nan")
    with pytest.raises(ValueError, match=r"X\[0\] \('.*new.png'\): another image"):
        features.transform([path])
    assert features.cache_info().entries == 0


@pytest.mark.usefixtures("in_threads")
def test_a_worker_of_another_version_is_refused(paths, monkeypatch):
    meanwhile(
        monkeypatch, lambda: monkeypatch.setattr(extraction, "FORWARD_VERSION", -1)
    )
    with pytest.raises(RuntimeError, match=r"Worker '.*' .* version -1; .*Install"):
        small().transform(paths)


@pytest.mark.usefixtures("in_threads")
def test_a_worker_with_other_weights_is_refused(paths, tmp_path, monkeypatch):
    weights = CountedWeights(tmp_path / "log")
    other = as_source(None, seed=1)
    meanwhile(monkeypatch, lambda: setattr(weights, "_inner", other))
    with pytest.raises(RuntimeError, match=r"Worker '.*' .* has other weights"):
        small(weights).transform(paths)


@pytest.mark.usefixtures("in_threads")
def test_a_worker_without_the_weights_says_so(paths, tmp_path, monkeypatch):
    from skvgg import weights

    shapes = {"block1_conv1": (3, 3, 3, 64), "block1_conv2": (3, 3, 64, 64)}
    path = tmp_path / "weights.npz"
    loaded = as_source(None, seed=0).load(shapes)
    weights.save(path, loaded.parameters)
    meanwhile(monkeypatch, path.unlink)
    with pytest.raises(
        FileNotFoundError, match=r"Worker '.*' .* cannot read the weights"
    ):
        small(path).transform(paths)


def test_processes_forked_after_tensorflow_ran_are_refused(paths):
    small().transform(paths[:1])
    with (
        parallel_config("multiprocessing", n_jobs=2),
        pytest.raises(RuntimeError, match="forked after TensorFlow had run"),
    ):
        small().transform(paths)


def test_a_backend_that_returns_lists_only_serves_as_well(paths, expected, sent):
    pools = []

    class Listing(ThreadingBackend):
        supports_return_generator = False

        def configure(self, *args, **kwargs):
            pools.append(self)
            return super().configure(*args, **kwargs)

    register_parallel_backend("listing", Listing)
    with parallel_config("listing", n_jobs=2):
        assert_close(small(batch_size=1).transform(paths), expected)
    assert len(sent) == 12  # in groups of eight
    assert len(pools) == 1  # whose workers load the weights once


def test_nothing_is_sent_after_an_error(paths, tmp_path, sent):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    with parallel_config("threading", n_jobs=2), pytest.raises(ValueError, match="bad"):
        small(batch_size=1).transform([bad, *paths * 9])
    assert len(sent) < 12


@pytest.mark.usefixtures("in_threads")
def test_fine_tuning_takes_workers_for_the_frozen_layers(paths, sent):
    y = np.arange(12) % 2
    settings = {"image_size": 32, "random_state": 0, "max_iter": 1}
    model = VGG19Classifier(None, trainable="block5", **settings).fit(paths, y)
    assert sum(len(items) for items, _ in sent) == 12
    with parallel_config(n_jobs=1):
        alone = VGG19Classifier(None, trainable="block5", **settings).fit(paths, y)
        expected = model.predict_proba(paths)
    # Not the predictions: Adam's first step has the sign of the smallest gradients.
    np.testing.assert_allclose(model.loss_curve_, alone.loss_curve_, rtol=1e-3)
    np.testing.assert_allclose(model.predict_proba(paths), expected, atol=1e-5)


def test_tuned_weights_are_large_so_that_dask_sends_them_once(paths):
    parameters = {"block5_conv1": (np.zeros((3, 3, 512, 512)), np.zeros(512))}
    source = as_source(None, seed=0)
    tuned = TunedWeights(source, source.fingerprint(), parameters, CAFFE)
    work, _ = tasks_of(small(tuned, n_jobs=2), paths)[0]
    assert sys.getsizeof(work) > 4 * 9 * 512 * 512


def test_n_jobs_makes_no_process_where_nothing_is_missing(tmp_path):
    """Nor is TensorFlow imported."""
    code = f"""
import sys
import numpy as np
from skvgg import VGG19Features
from joblib import parallel_config
X = np.zeros((4, 32, 32, 3), "uint8") + np.arange(4, dtype="uint8")[:, None, None, None]
features = VGG19Features(None, **{SMALL!r}, memory=sys.argv[1], n_jobs=2)
print(features.transform(X).sum())
print("tensorflow" in sys.modules)
from joblib.externals.loky import reusable_executor
print(reusable_executor._executor is not None)
"""
    X = np.zeros((4, 32, 32, 3), "uint8")
    X += np.arange(4, dtype="uint8")[:, None, None, None]
    rows = VGG19Features(None, **SMALL, memory=tmp_path).transform(X)
    total, *loaded = run_python(code, tmp_path).stdout.split()
    assert float(total) == rows.sum()
    assert loaded == ["False", "False"]


def test_the_work_of_a_worker_is_small(paths):
    work, _ = tasks_of(small(n_jobs=2), paths)[0]
    assert len(pickle.dumps(work)) < 2000


@pytest.mark.usefixtures("in_threads")
def test_what_is_sent_needs_no_hash(paths):
    """A dataclass has none unless it is frozen."""
    settings = {"image_size": 32, "random_state": 0, "max_iter": 1, "n_views": 2}
    model = VGG19Classifier(None, trainable="block5", augment=Dimmer(2), **settings)
    assert model.fit(paths, np.arange(12) % 2).n_iter_ == 1


@dataclass
class Dimmer:
    factor: int

    def __call__(self, pixels, rng):
        return pixels // self.factor


@pytest.mark.usefixtures("in_threads")
def test_a_path_behind_a_link_is_the_same_file(paths, expected, tmp_path):
    inner = tmp_path / "real" / "inner"
    inner.mkdir(parents=True)
    shutil.copy(paths[0], tmp_path / "real" / "photo.png")
    shutil.copy(paths[1], tmp_path / "photo.png")  # what the text of the path says
    (tmp_path / "link").symlink_to(inner)
    rows = small().transform([f"{tmp_path}/link/../photo.png"])
    assert_close(rows, expected[:1])
