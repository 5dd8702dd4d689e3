"""Dask: collections in and out, and a cluster's workers."""

import os
import pickle
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skvgg.exceptions import BadImageWarning

from .conftest import run_python
from .test_workers import SMALL, CountedWeights, assert_close, small

da = pytest.importorskip("dask.array")
db = pytest.importorskip("dask.bag")
dd = pytest.importorskip("dask.dataframe")
distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (12, 40, 50, 3), np.uint8)


@pytest.fixture(scope="module")
def paths(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    found = [str(folder / f"{i}.png") for i in range(len(images))]
    for path, pixels in zip(found, images, strict=True):
        Image.fromarray(pixels).save(path)
    return found


@pytest.fixture(scope="module")
def expected(images):
    return small().transform(images)


@pytest.fixture(scope="module")
def environment():
    """Undo what Dask sets in this process, such as OPENBLAS_NUM_THREADS=1."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@contextmanager
def client_of(n_workers):
    """Yield a client of processes with one thread each."""
    with (
        distributed.LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            dashboard_address=":0",
            host="127.0.0.1",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def cluster(environment):
    """A client of two processes of one thread."""
    with client_of(2) as client:
        yield client


# Collections


def test_an_array_of_images_becomes_an_array_of_rows(images, expected):
    X = da.from_array(images, chunks=(5, 20, 50, 1))
    rows = small().transform(X)
    assert isinstance(rows, da.Array)
    assert rows.shape == (12, 64)
    assert rows.chunks == ((5, 5, 2), (64,))
    assert rows.dtype == np.float32
    assert_close(rows.compute(), expected)
    gray = da.from_array(images[..., 0], chunks=5)
    assert_close(small().transform(gray).compute(), small().transform(images[..., 0]))


@pytest.mark.parametrize("dtype", [str, object])
def test_an_array_of_paths_becomes_an_array_of_rows(paths, expected, dtype):
    X = da.from_array(np.array(paths, dtype), chunks=5)
    rows = small().fit_transform(X)
    assert rows.chunks == ((5, 5, 2), (64,))
    assert_close(rows.compute(), expected)


def test_a_bag_becomes_an_array_of_unknown_length(paths, expected):
    files = db.from_sequence(paths, npartitions=3).map(lambda p: Path(p).read_bytes())
    for bag in (db.from_sequence(paths, npartitions=3), files):
        rows = small().transform(bag)
        assert np.isnan(rows.shape[0])
        assert rows.shape[1] == 64
        assert_close(rows.compute(scheduler="threads"), expected)


@pytest.mark.parametrize("of", ["frame", "series"])
def test_a_column_becomes_a_table_with_the_names_of_the_features(paths, expected, of):
    table = pd.DataFrame({"path": paths}, index=np.arange(12) * 2)
    X = dd.from_pandas(table, npartitions=3)
    rows = small().transform(X if of == "frame" else X["path"])
    assert [*rows.columns] == [*small().get_feature_names_out()]
    assert set(rows.dtypes) == {np.dtype(np.float32)}
    found = rows.compute(scheduler="threads")
    assert [*found.index] == [*table.index]
    assert_close(found.to_numpy(), expected)


def test_flattened_images(images):
    tables = images[..., 0].reshape(12, -1)
    features = small(flattened_shape=(40, 50))
    rows = features.transform(da.from_array(tables, chunks=(5, 500)))
    assert_close(rows.compute(), features.transform(tables))


def test_blocks_may_be_empty(images, expected):
    X = da.concatenate([da.from_array(images[:5]), da.from_array(images[5:])])
    some = X[da.from_array(np.arange(12) < 3, chunks=5)]
    assert_close(small().transform(some).compute(), expected[:3])


def test_nothing_is_computed_and_tensorflow_is_not_imported(tmp_path):
    code = f"""
import sys
import dask.array as da
import numpy as np
from skvgg import VGG19Features

def never(block):
    raise AssertionError

X = da.zeros((100, 40, 40, 3), chunks=10).map_blocks(never, dtype="uint8")
rows = VGG19Features(None, **{SMALL!r}).fit_transform(X)
print(rows.shape, rows.chunks[0][:2], "tensorflow" in sys.modules)
"""
    assert run_python(code).stdout.strip() == "(100, 64) (10, 10) False"


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # Dask's use of pandas
def test_rows_go_to_zarr_and_parquet(images, paths, expected, tmp_path):
    zarr = pytest.importorskip("zarr")
    X = da.from_array(images, chunks=(5, 40, 50, 3))
    small().transform(X).to_zarr(str(tmp_path / "rows.zarr"))
    assert_close(zarr.open(str(tmp_path / "rows.zarr"))[:], expected)
    table = dd.from_pandas(pd.DataFrame({"path": paths}), npartitions=2)
    with dask_config(scheduler="threads"):
        small().transform(table).to_parquet(tmp_path / "rows")
    assert_close(pd.read_parquet(tmp_path / "rows").to_numpy(), expected)


def dask_config(**settings):
    import dask

    return dask.config.set(**settings)


def test_in_a_pipeline_before_estimators_of_scikit_learn(images, tmp_path):
    y = np.arange(12) % 2
    model = make_pipeline(small(memory=tmp_path), LogisticRegression(C=0.01))
    X = da.from_array(images, chunks=(5, 40, 50, 3))
    found = model.fit(X, y).predict_proba(X)
    np.testing.assert_allclose(found, model.fit(images, y).predict_proba(images), 1e-3)


def test_errors_name_the_block(images, paths, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    X = da.from_array(np.array([*paths[:7], str(bad)]), chunks=5)
    with pytest.raises(ValueError, match=r"X\[2\] \('.*bad.png'\)") as caught:
        small().transform(X).compute()
    assert "which starts at X[5]" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: da.zeros((4, 5)), r"Dask array of shape \(4, 5\)"),
        (lambda: da.zeros((4, 5, 6, 3, 1)), "expected images of shape"),
        (lambda: da.zeros(4), "paths or bytes of shape"),
        (
            lambda: dd.from_pandas(pd.DataFrame({"a": ["x"], "b": ["y"]})),
            r"2 columns; expected one column .* X\[\['path'\]\]",
        ),
        (
            lambda: sys.modules["dask"].delayed(1),
            r"Delayed\w*; expected a Dask array",
        ),
    ],
)
def test_other_collections_are_refused_before_anything_is_computed(make, message):
    X = make()
    for method in ("fit", "transform"):
        with pytest.raises(ValueError, match=message):
            getattr(small(), method)(X)


def test_set_output_would_compute_everything(images):
    features = small().set_output(transform="pandas")
    X = da.from_array(images)
    with pytest.raises(ValueError, match=r"set_output.*'pandas'.* would compute"):
        features.transform(X)


# A cluster


def test_a_lazy_graph_loads_weights_once_a_worker(cluster, images, expected, tmp_path):
    weights = CountedWeights(tmp_path / "log")
    X = da.from_array(images, chunks=(1, 40, 50, 3))
    rows = small(weights).transform(X).compute()
    assert_close(rows, expected)
    assert str(os.getpid()) not in weights.loads
    assert len(set(weights.loads)) == len(weights.loads) <= 2


def test_n_jobs_sends_to_the_cluster(cluster, paths, expected, tmp_path):
    weights = CountedWeights(tmp_path / "log")
    features = small(weights, memory=tmp_path / "memory", batch_size=2)
    with parallel_config("dask"):
        rows = features.transform(paths)
    assert_close(rows, expected)
    assert str(os.getpid()) not in weights.loads
    assert len(set(weights.loads)) == len(weights.loads) == 2
    assert features.cache_info()[:3] == (0, 12, 12)  # written by this process


def test_little_travels_for_many_paths(cluster, paths, tmp_path):
    hundred = da.from_array(np.array(paths * 9)[:100], chunks=10)
    rows = small().transform(hundred)
    assert len(pickle.dumps(dict(rows.__dask_graph__()))) < 100_000


@pytest.mark.parametrize("way", ["lazy", "n_jobs"])
def test_rows_are_right_when_a_worker_dies(cluster, paths, expected, tmp_path, way):
    weights = CountedWeights(tmp_path / "log", deadly=True)
    if way == "lazy":
        X = da.from_array(np.array(paths), chunks=2)
        rows = small(weights).transform(X).compute()
    else:
        with parallel_config("dask"):
            rows = small(weights, batch_size=2).transform(paths)
    assert_close(rows, expected)
    assert len(weights.loads) >= 2  # the first of them died


def test_a_grid_search_on_the_cluster_with_a_filled_store(cluster, images, tmp_path):
    weights = CountedWeights(tmp_path / "log")
    features = small(weights, memory=tmp_path / "memory")
    features.transform(images)
    loads = len(weights.loads)
    y = np.arange(12) % 2
    model = make_pipeline(features, LogisticRegression())
    grid = {"logisticregression__C": [0.01, 1.0]}
    alone = GridSearchCV(model, grid, cv=2).fit(images, y)
    with parallel_config("dask"):
        search = GridSearchCV(model, grid, cv=2).fit(images, y)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )
    assert len(weights.loads) == loads


def test_a_grid_search_whose_workers_send_images_on(cluster, images):
    model = make_pipeline(small(), LogisticRegression())
    grid = {"logisticregression__C": [0.01, 1.0]}
    y = np.arange(12) % 2
    with parallel_config("dask"):
        search = GridSearchCV(model, grid, cv=2, refit=False).fit(images, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_warnings_of_a_worker_come_home(cluster, paths, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    some = [*paths[:3], str(bad)]
    with parallel_config("dask"), pytest.warns(BadImageWarning, match=r"X\[3\]"):
        rows = small(on_error="nan").transform(some)
    assert np.isnan(rows).any(axis=1).tolist() == [False, False, False, True]


def hide_skvgg():
    """Make a process behave as one where skvgg is not installed."""

    class Hidden:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "skvgg":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in [name for name in sys.modules if name.partition(".")[0] == "skvgg"]:
        del sys.modules[name]
    sys.meta_path.insert(0, Hidden())


def test_a_cluster_without_skvgg_is_refused(environment, paths):
    with client_of(1) as client:
        client.run(hide_skvgg)
        with (
            parallel_config("dask"),
            pytest.raises(
                RuntimeError, match=r"worker tcp.* cannot import skvgg .*Install"
            ),
        ):
            small().transform(paths)
