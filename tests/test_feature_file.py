"""transform_to_file: all rows, the same as transform's, whatever happens meanwhile."""

import functools
import itertools
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import h5py
import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest
import zarr
from joblib import parallel_config
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, Normalizer

from skvgg import (
    BadImageWarning,
    VGG19Features,
    check_feature_file,
    transform_to_file,
)
from skvgg._feature_file.identity import describe_transformer
from skvgg.exceptions import ImageError, ImageNotFoundError

from .conftest import features, run_python

SUFFIXES = (".npy", ".parquet", ".zarr")


class Counting(TransformerMixin, BaseEstimator):
    """Rows out of numbers; counts those it has computed, and may fail at one."""

    seen = ()

    def __init__(self, factor=2.0, fails_at=None):
        self.factor = factor
        self.fails_at = fails_at

    def transform(self, X):
        Counting.seen += tuple(X[:, 0].tolist())
        if self.fails_at in X:
            raise RuntimeError("the power has gone")
        return X * self.factor


@pytest.fixture(autouse=True)
def _count_anew():
    Counting.seen = ()


@pytest.fixture
def X():
    return np.arange(60, dtype="f4").reshape(20, 3)


@pytest.fixture
def files(tiles, tmp_path):
    """Twelve image files."""
    paths = [tmp_path / f"{i:02}.png" for i in range(12)]
    for path, image in zip(paths, tiles[0], strict=False):
        Image.fromarray(image).save(path)
    return paths


def load(path):
    """Return the rows of a file by the reader of somebody else."""
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_numpy()
    return zarr.open_array(str(path), mode="r")[:]


def break_off(X, path, at=30.0, chunk_size=4):
    """Leave a file behind that is not complete."""
    with pytest.raises(RuntimeError, match="the power has gone"):
        transform_to_file(Counting(fails_at=at), X, path, chunk_size=chunk_size)
    Counting.seen = ()
    return Counting()


@pytest.fixture
def the_same_work(monkeypatch):
    """Let a transformer that fails be the same work as one that does not."""
    monkeypatch.setattr(
        Counting,
        "__skvgg_rows_depend_on__",
        lambda self: {"factor": self.factor},
        raising=False,
    )


# What is in the file


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_holds_the_rows_of_transform(files, tmp_path, suffix):
    path = transform_to_file(
        features(), files, tmp_path / f"rows{suffix}", chunk_size=5
    )
    rows = load(path)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, features().transform(files), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pipeline_keeps_its_dtype(X, tmp_path, suffix):
    model = make_pipeline(MinMaxScaler(), PCA(2)).fit(X.astype(float))
    path = transform_to_file(model, X.astype(float), tmp_path / f"rows{suffix}")
    rows = load(path)
    assert rows.dtype == np.float64
    np.testing.assert_allclose(rows, model.transform(X.astype(float)), atol=1e-12)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["f2", "f8", "u1", "i2", "u4", "i8", "?"])
def test_any_type_of_numbers_comes_back(X, tmp_path, suffix, dtype):
    numbers = X.astype(dtype)
    path = tmp_path / f"rows{suffix}"
    transform_to_file(FunctionTransformer(), numbers, path, chunk_size=7)
    rows = load(path)
    assert rows.dtype == dtype
    np.testing.assert_array_equal(rows, numbers)
    assert check_feature_file(path).dtype == dtype


def test_parquet_is_one_table_for_all_readers(X, tmp_path):
    scaler = MinMaxScaler().fit(X)
    path = transform_to_file(scaler, X, tmp_path / "rows.parquet", chunk_size=3)
    names = list(scaler.get_feature_names_out())
    tables = [
        pd.read_parquet(path),
        pl.read_parquet(path).to_pandas(),
        pa.dataset.dataset(path).to_table().to_pandas(),
    ]
    for table in tables:
        assert list(table.columns) == names
        np.testing.assert_array_equal(table.to_numpy(), scaler.transform(X))


def test_zarr_knows_the_names_of_features(X, tmp_path):
    scaler = MinMaxScaler().fit(X)
    path = transform_to_file(scaler, X, tmp_path / "rows.zarr", chunk_size=3)
    array = zarr.open_array(str(path), mode="r")
    assert array.attrs["feature_names"] == list(scaler.get_feature_names_out())
    assert array.chunks == (3, 3)


def test_features_without_names_are_numbered(X, tmp_path):
    path = transform_to_file(Counting(), X, tmp_path / "rows.parquet")
    assert list(pd.read_parquet(path).columns) == ["x0", "x1", "x2"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_of_zeros_are_there_like_others(tmp_path, suffix):
    X = np.zeros((5, 2))
    path = transform_to_file(Counting(), X, tmp_path / f"rows{suffix}", chunk_size=2)
    np.testing.assert_array_equal(load(path), X)
    assert check_feature_file(path).n_rows == 5


def test_images_come_in_any_container(files, tiles, tmp_path):
    names = [str(path) for path in files]
    with h5py.File(tmp_path / "images.h5", "w") as stored:
        stored["images"] = tiles[0][:12]
        containers = [
            files,
            tuple(names),
            np.array(names),
            pd.Series(names, index=range(5, 17)),
            pd.DataFrame({"path": names}),
            pl.Series(names),
            pa.chunked_array([names]),
            [path.read_bytes() for path in files],
            [Image.open(path) for path in files],
            list(tiles[0][:12]),
            tiles[0][:12],
            stored["images"],
        ]
        expected = features().transform(files)
        for number, images in enumerate(containers):
            path = tmp_path / f"{number}.npy"
            for _ in range(2):  # the second time they are recognized
                transform_to_file(features(), images, path, chunk_size=5)
            np.testing.assert_allclose(np.load(path), expected, rtol=1e-4, atol=1e-3)


# Going on


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.usefixtures("the_same_work")
def test_what_is_there_is_not_computed_again(X, tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    whole = break_off(X, path)
    assert not path.exists()
    transform_to_file(whole, X, path, chunk_size=7)  # the file keeps its own
    assert Counting.seen == tuple(X[8:, 0])
    np.testing.assert_array_equal(load(path), X * 2)


@pytest.mark.usefixtures("the_same_work")
def test_an_error_says_what_is_kept(X, tmp_path):
    path = tmp_path / "rows.npy"
    with pytest.raises(RuntimeError) as caught:
        transform_to_file(Counting(fails_at=30), X, path, chunk_size=4)
    (note,) = caught.value.__notes__
    assert note.startswith("8 of 20 rows are saved in ")
    assert "rows.npy.part" in note


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_complete_file_is_not_computed_again(X, tmp_path, suffix, capsys):
    path = transform_to_file(Counting(), X, tmp_path / f"rows{suffix}")
    Counting.seen = ()
    assert transform_to_file(Counting(), X, path, verbose=1) == path
    assert Counting.seen == ()
    assert f"rows{suffix} is already complete: 100%" in capsys.readouterr().err


def test_only_the_file_and_its_journal_are_left(X, tmp_path):
    transform_to_file(Counting(), X, tmp_path / "rows.npy")
    assert sorted(os.listdir(tmp_path)) == ["rows.npy", "rows.npy.journal"]


@pytest.mark.parametrize("n_lost", [1, 5, 200])
@pytest.mark.usefixtures("the_same_work")
def test_a_torn_tail_of_the_journal_is_noticed(X, tmp_path, n_lost):
    whole = break_off(X, tmp_path / "rows.npy", at=45.0)
    journal = tmp_path / "rows.npy.journal"
    lines = journal.read_bytes()
    journal.write_bytes(lines[:-n_lost])
    transform_to_file(whole, X, tmp_path / "rows.npy")
    assert Counting.seen[-8:] == tuple(X[12:, 0])
    assert len(Counting.seen) > 8
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), X * 2)
    check_feature_file(tmp_path / "rows.npy")


@pytest.mark.parametrize("tail", [b"\0" * 100, b"0123456789abcdef {}\n", b"\xff"])
@pytest.mark.usefixtures("the_same_work")
def test_a_damaged_line_of_the_journal_is_not_believed(X, tmp_path, tail):
    whole = break_off(X, tmp_path / "rows.npy")
    with (tmp_path / "rows.npy.journal").open("ab") as journal:
        journal.write(tail)
    transform_to_file(whole, X, tmp_path / "rows.npy")
    assert Counting.seen == tuple(X[8:, 0])
    check_feature_file(tmp_path / "rows.npy")


@pytest.mark.usefixtures("the_same_work")
def test_a_torn_last_chunk_is_computed_again(X, tmp_path):
    whole = break_off(X, tmp_path / "rows.npy")
    part = tmp_path / "rows.npy.part"
    torn = bytearray(part.read_bytes())
    torn[128 + 7 * 12 :] = bytes(len(torn) - 128 - 7 * 12)  # from row 7 on
    part.write_bytes(torn)
    transform_to_file(whole, X, tmp_path / "rows.npy")
    assert Counting.seen == tuple(X[4:, 0])
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), X * 2)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.usefixtures("the_same_work")
def test_what_has_been_lost_is_computed_again(X, tmp_path, suffix):
    whole = break_off(X, tmp_path / f"rows{suffix}")
    part = tmp_path / f"rows{suffix}.part"
    if part.is_dir():
        lost = part / ("part-00000000.parquet" if suffix == ".parquet" else "c/0/0")
        lost.unlink()
        expected = (*X[:4, 0], *X[8:, 0])
    else:
        part.unlink()
        expected = tuple(X[:, 0])
    transform_to_file(whole, X, tmp_path / f"rows{suffix}")
    assert Counting.seen == expected
    np.testing.assert_array_equal(load(tmp_path / f"rows{suffix}"), X * 2)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("is_complete", [True, False])
def test_what_looks_wrong_for_a_moment_is_not_deleted(
    X, tmp_path, the_same_work, suffix, is_complete
):
    path = tmp_path / f"rows{suffix}"
    if is_complete:
        transform_to_file(Counting(), X, path, chunk_size=4)
        there = path
    else:
        break_off(X, path)
        there = tmp_path / f"rows{suffix}.part"
    hidden = there / "zarr.json" if suffix == ".zarr" else there
    hidden.rename(tmp_path / "hidden")
    if suffix == ".npy":
        hidden.write_bytes((tmp_path / "hidden").read_bytes() + b"1")
    elif suffix == ".zarr":
        hidden.write_bytes(b"{")
    else:
        hidden.write_bytes(b"no folder")
    Counting.seen = ()
    for verify in (False, True):
        with pytest.raises(ValueError, match=r"is damaged: .* Nothing was changed"):
            transform_to_file(Counting(), X, path, chunk_size=4, verify=verify)
    with pytest.raises(ValueError, match="damaged" if is_complete else "incomplete"):
        check_feature_file(path)
    assert Counting.seen == ()
    hidden.unlink()
    (tmp_path / "hidden").rename(hidden)
    transform_to_file(Counting(), X, path, chunk_size=4)
    assert len(Counting.seen) == (0 if is_complete else 12)
    np.testing.assert_array_equal(load(path), X * 2)
    check_feature_file(path)


@pytest.mark.parametrize("name", ["rows.npy", "rows.npy.part", "rows.npy.journal"])
def test_a_file_that_cannot_be_identified_is_not_deleted(X, tmp_path, name):
    (tmp_path / name).write_bytes(b"somebody's")
    with pytest.raises(FileExistsError, match=f"delete '{name}'"):
        transform_to_file(Counting(), X, tmp_path / "rows.npy")
    assert (tmp_path / name).read_bytes() == b"somebody's"


def test_a_file_under_the_other_name_is_not_overwritten(X, tmp_path):
    path = transform_to_file(Counting(), X, tmp_path / "rows.npy", chunk_size=4)
    part = tmp_path / "rows.npy.part"
    part.write_bytes(b"somebody's")
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"1")
    with pytest.raises(FileExistsError, match=r"rows\.npy\.part' exists and would be"):
        transform_to_file(Counting(), X, path, verify=True)
    assert part.read_bytes() == b"somebody's"


def test_a_journal_of_a_newer_version_is_left_alone(X, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("skvgg._feature_file.journal.VERSION", 1000)
        path = transform_to_file(Counting(), X, tmp_path / "rows.npy")
    for call in (lambda: transform_to_file(Counting(), X, path), path):
        with pytest.raises(ValueError, match="newer version of skvgg"):
            call() if callable(call) else check_feature_file(call)


def test_a_journal_of_an_older_version_is_left_alone(X, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("skvgg._feature_file.journal.VERSION", 1)
        path = transform_to_file(Counting(), X, tmp_path / "rows.npy")
    with pytest.raises(ValueError, match="an older version of skvgg"):
        transform_to_file(Counting(), X, path)


def test_a_file_whose_result_was_deleted_is_made_anew(X, tmp_path):
    path = transform_to_file(Counting(), X, tmp_path / "rows.npy")
    path.unlink()
    transform_to_file(Counting(3.0), X[:5], path)
    np.testing.assert_array_equal(np.load(path), X[:5] * 3)


CHILD = """
import os, sys, time
import numpy as np
from skvgg import transform_to_file

def memory(name):
    for line in open("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1])

class Stub:
    def transform(self, X):
        with open(f"{sys.argv[1]}.log", "a") as log:
            log.write(f"{len(X)}\\n")
        numbers = np.array([int(path[7:-4]) for path in X], dtype="f4")
        return numbers[:, None] + np.arange(64, dtype="f4")

X = [f"photos/{i}.jpg" for i in range(int(sys.argv[2]))]
before = memory("VmRSS")
transform_to_file(Stub(), X, sys.argv[1], chunk_size=int(sys.argv[3]))
print(memory("VmHWM") - before)
"""


def run_with_kills(path, n, chunk_size, n_kills, seed=0):
    """Make a file of rows by processes that are killed; return how many rows twice."""
    arguments = [sys.executable, "-c", CHILD, str(path), str(n), str(chunk_size)]
    journal = Path(f"{path}.journal")
    rng = np.random.default_rng(seed)
    n_chunks = n // chunk_size
    for kill in range(1, n_kills + 1):
        line = kill * n_chunks // (n_kills + 1)
        with subprocess.Popen(arguments) as child:
            deadline = time.monotonic() + 60
            while not journal.exists() or journal.read_bytes().count(b"\n") <= line:
                assert child.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.01))  # within a chunk, somewhere
            child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
        assert not path.exists()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    computed = sum(map(int, Path(f"{path}.log").read_text().split()))
    return computed - n


def check_numbers(rows, n):
    for start in range(0, n, 10_000):
        expected = np.arange(start, min(start + 10_000, n), dtype="f4")
        block = rows[start : start + 10_000]
        np.testing.assert_array_equal(block, expected[:, None] + np.arange(64))


def test_nothing_is_lost_by_kills(tmp_path):
    path = tmp_path / "rows.npy"
    n_twice = run_with_kills(path, 4000, 100, 2)
    assert n_twice <= 2 * 100
    check_numbers(load(path), 4000)
    assert check_feature_file(path).n_rows == 4000


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_200_000_rows_survive_20_kills_in_flat_memory(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    n_twice = run_with_kills(path, 200_000, 500, 20)
    assert n_twice <= 20 * 500
    check_numbers(load(path), 200_000)
    assert check_feature_file(path).n_rows == 200_000
    grown = {}
    for n in (20_000, 200_000):
        out = tmp_path / f"{n}{suffix}"
        grown[n] = int(run_python(CHILD, out, n, 500).stdout)
    print(f"{suffix}: {n_twice} rows twice, memory grown by {grown} kB")
    assert grown[200_000] < grown[20_000] + 8_000  # kB; the rows have 51,200


# Other work


@pytest.mark.parametrize("complete", [True, False])
def test_other_work_is_refused_with_what_differs(X, tmp_path, complete):
    path = tmp_path / "rows.npy"
    if complete:
        transform_to_file(Counting(), X, path)
    else:
        with pytest.raises(RuntimeError):
            transform_to_file(Counting(fails_at=30), X, path, chunk_size=4)
    others = [
        (Counting(3.0), X, r"factor of the transformer was 2\.0 and is now 3\.0"),
        (Counting(), X[:7], "the file has 20 images, and X has 7"),
        (Counting(), X[::-1], "the images differ, or are in another order"),
        (
            Normalizer(),
            X,
            r"class of the transformer was .*Counting and is now .*Norm",
        ),
    ]
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    for transformer, images, message in others:
        with pytest.raises(ValueError, match=message):
            transform_to_file(transformer, images, path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_what_fit_has_learned_is_part_of_the_work(X, tmp_path):
    path = tmp_path / "rows.npy"
    transform_to_file(make_pipeline(MinMaxScaler()).fit(X), X, path)
    transform_to_file(make_pipeline(MinMaxScaler()).fit(X.copy()), X, path)
    with pytest.raises(ValueError, match="minmaxscaler__data_max_ of the transformer"):
        transform_to_file(make_pipeline(MinMaxScaler()).fit(X + 1), X, path)


@pytest.mark.parametrize("combine", [Pipeline, FeatureUnion])
def test_the_order_of_steps_is_part_of_the_work(X, tmp_path, combine):
    steps = [("scale", MinMaxScaler()), ("norm", Normalizer())]
    path = tmp_path / "rows.npy"
    transform_to_file(make_pipeline(combine(steps)).fit(X), X, path)
    other = make_pipeline(combine(steps[::-1])).fit(X)
    message = f"order of {combine.__name__.lower()} of the .* was scale, norm and is"
    with pytest.raises(ValueError, match=message):
        transform_to_file(other, X, path)
    with pytest.raises(ValueError, match=r"another transformer: .*order of steps of"):
        transform_to_file(combine(steps[::-1]).fit(X), X, path)


def test_a_pickle_is_the_same_work(X, tmp_path):
    # The components of this solver are no contiguous array; pickles make them one.
    pca = PCA(2, svd_solver="randomized", random_state=0).fit(X)
    path = transform_to_file(pca, X, tmp_path / "rows.npy")
    joblib.dump(pca, tmp_path / "pca.joblib")
    transform_to_file(pickle.loads(pickle.dumps(pca)), X, path)
    transform_to_file(joblib.load(tmp_path / "pca.joblib", mmap_mode="r"), X, path)
    pca.components_ = pca.components_[::-1]
    with pytest.raises(ValueError, match="components_ of the transformer was"):
        transform_to_file(pca, X, path)


def test_sets_are_the_same_work_in_every_process(monkeypatch):
    code = """if True:
        from sklearn.preprocessing import FunctionTransformer
        from skvgg._feature_file.identity import describe_transformer
        words = "red", "green", "blue", "gray"
        held = {"a": set(words), "b": frozenset(words), "c": {frozenset(words)}}
        print(describe_transformer(FunctionTransformer(kw_args=held))["kw_args"])
        """
    known = set()
    for seed in ("1", "2", "3"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        known.add(run_python(code).stdout)
    assert len(known) == 1


def test_what_does_not_change_rows_is_not_part_of_the_work(files, tmp_path):
    path = transform_to_file(features(), files, tmp_path / "rows.npy")
    memory = str(tmp_path / "cache")
    others = features(
        memory=memory, batch_size=3, engine="direct", on_error="nan", verbose=1
    )
    transform_to_file(others.fit(files), [str(file) for file in files], path)
    assert others.cache_info().misses == 0


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"random_state": 1}, "weights"),
        ({"layer": "block1_conv1"}, "layer"),
        ({"image_size": 40}, "image_size"),
        ({"views": "flip"}, "views"),
        ({"resize": "crop"}, "resize"),
    ],
)
def test_what_changes_rows_is_part_of_the_work(files, tmp_path, parameters, name):
    path = transform_to_file(features(), files[:2], tmp_path / "rows.npy")
    other = features().set_params(**parameters)
    with pytest.raises(ValueError, match=f"{name} of the transformer was"):
        transform_to_file(other, files[:2], path)


def test_what_cannot_be_recognized_is_refused(X, tmp_path):
    counting = Counting(factor=itertools.count().__next__)
    counting.factor = (i for i in range(3))
    with pytest.raises(ValueError, match=r"factor of the transformer .*pickled"):
        transform_to_file(counting, X, tmp_path / "rows.npy")


def test_a_file_of_somebody_elses_is_left_alone(X, tmp_path):
    np.save(tmp_path / "rows.npy", X)
    with pytest.raises(FileExistsError, match=r"rows\.npy.*journal"):
        transform_to_file(Counting(), X, tmp_path / "rows.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), X)


class Meanwhile(TransformerMixin, BaseEstimator):
    def __init__(self, path):
        self.path = path

    def transform(self, X):
        with pytest.raises(RuntimeError, match="written by another process"):
            transform_to_file(Normalizer(), X, self.path)
        return Normalizer().transform(X)


def test_two_at_a_time_are_refused(X, tmp_path):
    path = tmp_path / "rows.npy"
    transform_to_file(Meanwhile(path), X, path)
    np.testing.assert_allclose(np.load(path), Normalizer().transform(X))


# Images that change, and bad ones


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_image_that_has_changed_is_computed_again(files, tiles, tmp_path, suffix):
    counted = features(memory=str(tmp_path / "cache"))
    path = tmp_path / f"rows{suffix}"
    transform_to_file(counted, files, path, chunk_size=5)
    Image.fromarray(tiles[0][50]).save(files[7])
    transform_to_file(counted, files, path, chunk_size=5)
    assert counted.cache_info().misses == 13
    assert counted.cache_info().hits == 4  # the others of its chunk
    np.testing.assert_allclose(
        load(path), features().transform(files), rtol=1e-5, atol=1e-4
    )
    assert check_feature_file(path).bad_images == {}


def test_a_bad_image_is_named_mended_and_gone_on_from(files, tiles, tmp_path):
    files[7].write_bytes(b"no image")
    path = tmp_path / "rows.npy"
    with pytest.raises(ValueError, match=r"^X\[7\] \('.*07\.png'\): not an") as caught:
        transform_to_file(features(), files, path, chunk_size=5)
    assert "5 of 12 rows are saved" in caught.value.__notes__[0]
    Image.fromarray(tiles[0][7]).save(files[7])
    transform_to_file(features(), files, path)
    np.testing.assert_allclose(
        np.load(path), features().transform(files), rtol=1e-5, atol=1e-4
    )


def test_a_missing_image_is_named_by_its_index_in_x(files, tmp_path):
    files[11].unlink()
    with pytest.raises(FileNotFoundError, match=r"^X\[11\] \('.*11\.png'\)"):
        transform_to_file(features(), files, tmp_path / "rows.npy", chunk_size=5)


def test_bad_images_are_told_of_once_by_their_index_in_x(files, tmp_path):
    for index in (1, 7, 11):
        files[index].write_bytes(b"no image")
    path = tmp_path / "rows.npy"
    with pytest.warns(BadImageWarning) as caught:
        transform_to_file(features(on_error="nan"), files, path, chunk_size=5)
    (warning,) = caught
    assert warning.filename == __file__
    bad = warning.message.bad_images
    assert list(bad) == [1, 7, 11]
    for index, error in bad.items():
        assert (error.index, error.path) == (index, str(files[index]))
        assert str(error).startswith(f"X[{index}] ('{files[index]}'): not an image")
    is_nan = np.isnan(np.load(path))
    assert is_nan.all(axis=1).nonzero()[0].tolist() == [1, 7, 11]
    assert is_nan.sum() == 3 * 64
    assert [*map(str, check_feature_file(path).bad_images.values())] == [
        *map(str, bad.values())
    ]


@pytest.mark.parametrize(
    ("backend", "of"),
    [
        pytest.param("loky", list, marks=pytest.mark.slow),
        ("threading", pd.Series),
        ("threading", pa.array),
    ],
)
def test_bad_images_that_other_processes_and_threads_find_are_named(
    files, tmp_path, backend, of
):
    for index in (1, 7, 8, 11):
        files[index].write_bytes(b"no image")
    union = make_union(
        features(on_error="nan"),
        features(on_error="nan").set_params(layer="block2_pool"),
        n_jobs=2,
    )
    path = tmp_path / "rows.npy"
    with parallel_config(backend), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        transform_to_file(union, of([*map(str, files)]), path, chunk_size=5)
    bad = caught[-1].message.bad_images
    assert list(bad) == [1, 7, 8, 11]
    for index, error in bad.items():
        assert (error.index, error.path) == (index, str(files[index]))
        assert str(error).startswith(f"X[{index}] ('{files[index]}'): not an image")
    assert np.isnan(np.load(path)).all(axis=1).nonzero()[0].tolist() == [*bad]
    assert [*map(str, check_feature_file(path).bad_images.values())] == [
        *map(str, bad.values())
    ]


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_nan_that_is_no_bad_image_is_none(files, tmp_path, n_jobs):
    X = pd.DataFrame({"path": [*map(str, files)], "age": np.arange(12.0)})
    X.loc[[2, 7], "age"] = np.nan
    columns = make_column_transformer(
        (features(on_error="nan"), ["path"]), ("passthrough", ["age"]), n_jobs=n_jobs
    ).fit(X)
    files[3].write_bytes(b"no image")
    with pytest.warns(BadImageWarning, match=r"1 of \d+ images") as caught:
        path = transform_to_file(columns, X, tmp_path / "rows.npy", chunk_size=5)
    assert list(caught[-1].message.bad_images) == [3]
    assert np.isnan(np.load(path)).any(axis=1).nonzero()[0].tolist() == [2, 3, 7]


def test_bad_images_of_an_earlier_run_are_told_of_too(files, tiles, tmp_path):
    for index in (1, 7):
        files[index].write_bytes(b"no image")
    path = tmp_path / "rows.npy"
    with pytest.raises(ValueError, match=r"X\[7\]"):
        # No bad image is met before the first chunk with features of on_error="nan".
        run_until(files, path, stop=7)
    with pytest.warns(BadImageWarning) as caught:
        transform_to_file(features(on_error="nan"), files, path)
    assert list(caught[0].message.bad_images) == [1, 7]
    with pytest.warns(BadImageWarning, match=r"2 of \d+ images"):
        transform_to_file(features(on_error="nan"), files, path)


def test_errors_of_an_earlier_run_are_of_the_same_class_and_path(files, tmp_path):
    class BytesPath:
        def __fspath__(self):
            return os.fsencode(tmp_path / "nowhere.png")

    images = [files[0], tmp_path / "missing.png", b"no image", BytesPath()]
    path, caught = tmp_path / "rows.npy", []
    for _ in range(2):
        with pytest.warns(BadImageWarning) as warned:
            transform_to_file(features(on_error="nan"), images, path)
        caught.append(warned[0].message.bad_images)
    caught.append(check_feature_file(path).bad_images)
    for bad in caught:
        assert [type(error) for error in bad.values()] == [
            ImageNotFoundError,
            ImageError,
            ImageNotFoundError,
        ]
        assert bad[3].path == os.fsencode(tmp_path / "nowhere.png")
        assert list(map(str, bad.values())) == list(map(str, caught[0].values()))


def run_until(files, path, stop):
    transform = VGG19Features.transform

    def stopping(self, X):
        if files[stop] in X:
            raise ImageError(list(X).index(files[stop]), None, "stops here")
        return transform(self, X)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VGG19Features, "transform", stopping)
        transform_to_file(features(on_error="nan"), files, path, chunk_size=5)


def test_rows_of_nan_do_not_pass_where_errors_are_wanted(files, tmp_path):
    files[7].write_bytes(b"no image")
    path = tmp_path / "rows.npy"
    with pytest.warns(BadImageWarning):
        transform_to_file(features(on_error="nan"), files, path, chunk_size=5)
    with pytest.raises(ValueError, match=r"^X\[7\]"):
        transform_to_file(features(on_error="raise"), files, path)
    assert path.exists()


def test_other_warnings_come_once_with_the_index_in_x(tmp_path):
    images = [np.full((32, 32), 200.0)] * 5 + [np.linspace(0, 1, 1024).reshape(32, 32)]
    images = [image + i * (i < 5) for i, image in enumerate(images)]
    images += [image * 0.99 for image in images[5:] * 4]
    with pytest.warns(UserWarning, match=r"^X\[5\]: a float image") as caught:
        transform_to_file(features(), images, tmp_path / "rows.npy", chunk_size=3)
    assert len(caught) == 1


# Checks


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_is_checked_and_damage_is_found_and_mended(X, tmp_path, suffix):
    path = transform_to_file(Counting(), X, tmp_path / f"rows{suffix}", chunk_size=4)
    checked = check_feature_file(path)
    assert (checked.n_rows, checked.n_features, checked.dtype) == (20, 3, X.dtype)
    damaged = {
        ".npy": path,
        ".parquet": path / "part-00000002.parquet",
        ".zarr": path / "c" / "2" / "0",
    }[suffix]
    data = bytearray(damaged.read_bytes())
    place = 128 + 9 * 12 + 5 if suffix == ".npy" else len(data) // 3
    data[place : place + 20] = bytes(byte ^ 1 for byte in data[place : place + 20])
    damaged.write_bytes(data)
    with pytest.raises(ValueError, match=r"checksum of rows 8 to 11 .*verify=True"):
        check_feature_file(path)
    Counting.seen = ()
    transform_to_file(Counting(), X, path, verify=True)
    assert Counting.seen == tuple(X[8:12, 0])
    np.testing.assert_array_equal(load(path), X * 2)
    check_feature_file(path)


@pytest.mark.usefixtures("the_same_work")
def test_an_incomplete_file_does_not_pass(X, tmp_path):
    break_off(X, tmp_path / "rows.npy")
    with pytest.raises(ValueError, match="incomplete: it has 8 of 20 rows"):
        check_feature_file(tmp_path / "rows.npy")


def test_a_file_without_its_journal_does_not_pass(X, tmp_path):
    path = transform_to_file(Counting(), X, tmp_path / "rows.npy")
    journal = tmp_path / "rows.npy.journal"
    journal.write_bytes(b"no journal")
    with pytest.raises(ValueError, match=r"journal .rows\.npy\.journal. is damaged"):
        check_feature_file(path)
    journal.unlink()
    with pytest.raises(ValueError, match=r"journal .rows\.npy\.journal. is missing"):
        check_feature_file(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"rows\.npy"):
        check_feature_file(path)


# What goes wrong


@pytest.fixture
def forbidden():
    """A folder that may not be written to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    user = os.geteuid()
    if user == 0:  # whom no folder is forbidden
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    folder.rmdir()


def test_a_folder_without_permission_is_an_error_before_the_first_row(X, forbidden):
    with pytest.raises(PermissionError, match=f"permission to write to .*{forbidden}"):
        transform_to_file(Counting(), X, forbidden / "rows.npy")
    assert Counting.seen == ()


def test_a_folder_that_is_missing_is_an_error_before_the_first_row(X, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        transform_to_file(Counting(), X, tmp_path / "nowhere" / "rows.npy")
    assert Counting.seen == ()


def test_other_suffixes_are_refused(X, tmp_path):
    for name in ("rows.csv", "rows"):
        with pytest.raises(ValueError, match=r"expected one of \.npy, \.parquet, \.z"):
            transform_to_file(Counting(), X, tmp_path / name)


@pytest.mark.parametrize(
    ("name", "extra"), [("pyarrow.parquet", "parquet"), ("zarr",) * 2]
)
def test_a_missing_package_is_named(X, tmp_path, monkeypatch, name, extra):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"pip install 'skvgg\[{extra}\]'"):
        transform_to_file(Counting(), X, tmp_path / f"rows.{extra}")
    transform_to_file(Counting(), X, tmp_path / "rows.npy")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("a.jpg", r"Pass a list: \[X\]"),
        ([], "X holds no rows"),
        (iter("ab"), r"Pass list\(X\)"),
    ],
)
def test_what_is_no_x_is_refused(images, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        transform_to_file(Counting(), images, tmp_path / "rows.npy")


def only_one_row(X):
    return X[:1]


def one_dimension(X):
    return X[:, 0]


def as_text(X):
    return X.astype(str)


def one_or_two_features(X):
    return X[:, : 1 + int(X[0, 0] > 0)]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (only_one_row, "for 4 rows of X"),
        (one_dimension, "expected one row of numbers"),
        (as_text, "expected one row of numbers"),
        (one_or_two_features, "2 features .* earlier rows have 1"),
    ],
)
def test_what_is_no_row_is_refused(X, tmp_path, function, message):
    with pytest.raises(ValueError, match=message):
        transform_to_file(
            FunctionTransformer(function), X, tmp_path / "rows.npy", chunk_size=4
        )


SMALL_FILES = """
import resource, sys
import numpy as np
from sklearn.preprocessing import Normalizer
from skvgg import transform_to_file
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
X = np.ones((10_000, 4))
try:
    transform_to_file(Normalizer(), X, sys.argv[1])
except OSError as error:
    print(error)
"""


def test_npy_reserves_its_room_at_the_beginning(tmp_path):
    said = run_python(SMALL_FILES, tmp_path / "rows.npy").stdout
    assert "rows.npy': the disk is full: it needs 320,000 bytes, and" in said
    assert os.listdir(tmp_path) == []


class Huge(Counting):
    def get_feature_names_out(self):
        return range(2**20)


def test_room_that_cannot_be_had_is_an_error_before_the_first_row(files, tmp_path):
    X = Lengthy(np.broadcast_to(np.float32(1), (2**23, 1)))
    with pytest.raises(OSError, match=r"full: it needs 35,184,"):
        transform_to_file(Huge(), X, tmp_path / "rows.npy")
    assert Counting.seen == ()


class Lengthy:
    """As long as an array, of which nothing is looked at."""

    def __init__(self, array):
        self.array = array

    def __len__(self):
        return len(self.array)

    def __getitem__(self, some):
        return [b""] if some.start == 0 else []


FULL = """
import os, sys
import numpy as np
from sklearn.preprocessing import Normalizer
from skvgg import check_feature_file, transform_to_file
os.chdir(sys.argv[1])
X = np.random.default_rng(0).normal(size=(40_000, 4))
open("ballast", "wb").write(bytes(3_000_000))
seen = []
class Counting(Normalizer):
    def transform(self, X):
        seen.append(len(X))
        return super().transform(X)
path = "rows" + sys.argv[2]
try:
    transform_to_file(Counting(), X, path, chunk_size=1000)
except OSError as error:
    print(error, *getattr(error, "__notes__", ()))
assert not os.path.exists(path)
n_before = len(seen)
os.unlink("ballast")
transform_to_file(Counting(), X, path, chunk_size=1000)
check_feature_file(path)
if path.endswith("npy"):
    assert (np.load(path) == Normalizer().transform(X)).all()
print(n_before, len(seen) - n_before)
"""


def has_mounts():
    done = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not has_mounts(),
    reason="may not mount a small disk",
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_computed_stays_when_a_disk_fills(tmp_path, suffix):
    script = f'mount -t tmpfs -o size=4m tmpfs {tmp_path} && exec "$@"'
    command = ["sh", "-c", script, "sh", sys.executable, "-c", FULL, tmp_path, suffix]
    done = subprocess.run(
        ["unshare", "-m", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said, counts = done.stdout.splitlines()
    n_before, n_after = map(int, counts.split())
    assert f"rows{suffix}': the disk is full" in said
    if suffix == ".npy":
        assert "needs 1,280,000 bytes" in said
        assert (n_before, n_after) == (1, 40)
    else:
        assert f"{1000 * (n_before - 1)} of 40000 rows are saved" in said
        assert n_before + n_after == 41
        assert n_before > 10


def test_a_bar_shows_the_time_left_from_where_the_run_goes_on(
    X, tmp_path, capsys, the_same_work
):
    whole = break_off(X, tmp_path / "rows.npy")
    transform_to_file(whole, X, tmp_path / "rows.npy", verbose=1)
    shown = capsys.readouterr().err
    assert "rows.npy:  40%" in shown
    assert "8/20 [00:00<" in shown
    assert "20/20" in shown


def test_the_bar_moves_within_a_chunk(files, tmp_path, monkeypatch):
    moves = []
    from skvgg._runtime import progress

    update = progress.Share.update
    monkeypatch.setattr(
        progress.Share, "update", lambda self, n: moves.append(n) or update(self, n)
    )
    loud = features(batch_size=2, verbose=1)
    transform_to_file(loud, files, tmp_path / "rows.npy")
    assert len([n for n in moves if n]) == 6
    assert sum(moves) == 12


def times(k):
    def multiply(a):
        return a * k

    return multiply


@pytest.mark.parametrize("function", [lambda a: a * 2, times(2)])
def test_a_function_without_a_stable_name_is_refused(X, tmp_path, function):
    for held in (function, functools.partial(function)):
        with pytest.raises(ValueError, match=r"func of the .*Define functions and"):
            transform_to_file(FunctionTransformer(held), X, tmp_path / "rows.npy")
    assert [*tmp_path.glob("*.npy*")] == []


def power(a, exponent):
    return a**exponent


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (np.sin, np.cos),
        (functools.partial(power, exponent=2), functools.partial(power, exponent=3)),
    ],
)
def test_functions_are_known_by_name_and_arguments(X, tmp_path, before, after):
    path = transform_to_file(FunctionTransformer(before), X, tmp_path / "rows.npy")
    transform_to_file(FunctionTransformer(before), X, path)
    with pytest.raises(ValueError, match="another transformer: func"):
        transform_to_file(FunctionTransformer(after), X, path)


class Scaler:
    def __init__(self, k, lock=None):
        self.k, self.lock = k, lock

    def scale(self, a):
        return a * self.k


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Scaler(2).scale, Scaler(3).scale),
        (functools.partial(Scaler(2).scale), functools.partial(Scaler(3).scale)),
        ({"f": [Scaler(2).scale]}, {"f": [Scaler(3).scale]}),
        (np.random.default_rng(2).random, np.random.default_rng(3).random),
    ],
)
def test_a_method_is_known_by_its_object(before, after):
    known = [
        describe_transformer(FunctionTransformer(function))["func"]
        for function in (before, before, after)
    ]
    assert known[0] == known[1] != known[2]


def test_another_bound_method_does_not_go_on_in_the_same_file(X, tmp_path):
    path = transform_to_file(
        FunctionTransformer(Scaler(2).scale), X, tmp_path / "r.npy"
    )
    transform_to_file(FunctionTransformer(Scaler(2).scale), X, path)
    with pytest.raises(ValueError, match="another transformer: func"):
        transform_to_file(FunctionTransformer(Scaler(3).scale), X, path)
    np.testing.assert_array_equal(np.load(path), X * 2)


def test_a_method_of_an_object_that_cannot_be_pickled_is_refused(X, tmp_path):
    method = Scaler(2, threading.Lock()).scale
    with pytest.raises(ValueError, match=r"func of the transformer .*pickled.*lock"):
        transform_to_file(FunctionTransformer(method), X, tmp_path / "rows.npy")
    assert [*tmp_path.glob("*.npy")] == []


def of_local_class(k):
    class Local(TransformerMixin, BaseEstimator):
        def transform(self, a):
            return a * k

    return Local()


def test_classes_that_no_other_call_can_find_are_refused(X, tmp_path):
    for transformer in (
        of_local_class(2),
        make_pipeline(of_local_class(2)),
        FunctionTransformer(of_local_class(2).transform),
    ):
        with pytest.raises(ValueError, match="could not recognize it"):
            transform_to_file(transformer, X, tmp_path / "rows.npy")
    assert [*tmp_path.glob("*.npy")] == []


@pytest.mark.parametrize("is_complete", [False, True])
def test_the_files_to_delete_are_those_that_exist(X, tmp_path, is_complete):
    path = transform_to_file(Counting(), X, tmp_path / "rows.npy")
    if not is_complete:
        path.rename(tmp_path / "rows.npy.part")
    with pytest.raises(ValueError, match="another transformer") as caught:
        transform_to_file(Counting(3.0), X, path)
    there = {file.name for file in tmp_path.iterdir() if file.suffix != ".lock"}
    _, advice = str(caught.value).split(" or delete ")
    assert set(re.findall("'(.+?)'", advice)) == there
    for name in there:
        (tmp_path / name).unlink()
    transform_to_file(Counting(3.0), X, path)


def mean_and_number(table):
    rows = [(np.asarray(Image.open(path)).mean(), x) for path, x in table.to_numpy()]
    return np.array(rows)


def test_a_changed_image_in_a_wider_table_is_computed_again(tiles, tmp_path):
    def save(pixels):
        Image.fromarray(pixels).save(tmp_path / "a.png")
        return pixels.mean()

    table = pd.DataFrame({"path": [str(tmp_path / "a.png")], "x": [1.0]})
    means = []
    for pixels in tiles[0][[0, 1]]:
        mean = save(pixels)
        path = transform_to_file(
            FunctionTransformer(mean_and_number), table, tmp_path / "rows.npy"
        )
        means.append(np.load(path)[0, 0] / mean)
    np.testing.assert_allclose(means, 1)
    renamed = table.rename(columns={"x": "y"})
    with pytest.raises(ValueError, match="for other images"):
        transform_to_file(
            FunctionTransformer(mean_and_number), renamed, tmp_path / "rows.npy"
        )


def test_a_folder_of_the_user_s_is_not_overwritten(X, tmp_path):
    precious = tmp_path / "rows.npy.part" / "precious"
    precious.mkdir(parents=True)
    with pytest.raises(FileExistsError, match=r"delete 'rows\.npy\.part'"):
        transform_to_file(Normalizer(), X, tmp_path / "rows.npy")
    assert precious.exists()


def test_rows_of_the_other_byte_order(tmp_path):
    X = np.arange(8.0).reshape(4, 2).astype(">f4")
    for suffix in (".npy", ".parquet", ".zarr"):
        path = transform_to_file(FunctionTransformer(), X, tmp_path / f"rows{suffix}")
        assert check_feature_file(path).n_rows == 4


def test_a_file_that_was_deleted_is_no_incomplete_one(X, tmp_path):
    path = transform_to_file(Normalizer(), X, tmp_path / "rows.npy")
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no such file"):
        check_feature_file(path)
