"""memory=: an image goes through the network once."""

import pickle
import shutil
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

import skvgg
from skvgg import TFLearnMLPClassifier, VGG19Features, weights
from skvgg._definition.architecture import parameter_shapes
from skvgg._store.cache import Cache

from .conftest import run_python


def small(memory, **params):
    defaults = {"layer": "block1_pool", "pooling": "avg", "image_size": 32}
    params = {"weights": None, "random_state": 0, **defaults, **params}
    return VGG19Features(memory=memory, **params)


@pytest.mark.parametrize(
    "as_memory",
    [
        str,
        lambda path: path,
        lambda path: joblib.Memory(path, verbose=0),
        lambda path: joblib.Memory(path, backend="skvgg", verbose=0),
    ],
)
def test_the_second_transform_computes_nothing(tiles, tmp_path, passes, as_memory):
    X = tiles[0][:6]
    rows = small(as_memory(tmp_path)).transform(X)
    assert sum(passes) == 6
    again = clone(small(as_memory(tmp_path))).transform(X)
    assert sum(passes) == 6
    np.testing.assert_array_equal(again, rows)
    np.testing.assert_allclose(rows, small(None).transform(X), rtol=1e-5)


def test_images_are_known_in_any_order_subset_and_form(tiles, tmp_path, passes):
    X = tiles[0][:6]
    rows = small(tmp_path).transform(X)
    np.testing.assert_array_equal(small(tmp_path).transform(X[[4, 1]]), rows[[4, 1]])
    np.testing.assert_array_equal(small(tmp_path).transform(list(X)), rows)
    assert sum(passes) == 6


def test_only_new_images_are_computed(tiles, tmp_path, passes):
    X = tiles[0]
    small(tmp_path).transform(X[:4])
    rows = small(tmp_path).transform(X[2:8])
    assert sum(passes) == 4 + 4
    np.testing.assert_allclose(
        rows, small(None).transform(X[2:8]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    "params",
    [
        {"layer": "block1_conv1"},
        {"pooling": "max"},
        {"image_size": 48},
        {"preprocessing": "torch"},
        {"resize": "crop"},
    ],
)
def test_other_settings_are_other_rows(photos, tmp_path, params):
    small(tmp_path).transform(photos)
    rows = small(tmp_path, **params).transform(photos)
    np.testing.assert_array_equal(rows, small(None, **params).transform(photos))


def test_other_weights_are_other_rows(tiles, tmp_path, passes):
    X = tiles[0][:2]
    small(tmp_path).transform(X)
    small(tmp_path).set_params(random_state=1).transform(X)
    assert sum(passes) == 4


def test_a_grid_search_computes_each_image_once(tiles, tmp_path, passes):
    X, y = tiles
    X, y = X[:30], y[:30]
    head = TFLearnMLPClassifier((8,), max_iter=1, random_state=0)
    model = Pipeline([("features", small(tmp_path)), ("head", head)])
    GridSearchCV(model, {"head__dropout": [0.0, 0.5]}, cv=3).fit(X, y)
    assert sum(passes) == 30


# What rows are known by


def test_files_are_known_by_their_bytes(tiles, tmp_path, passes):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, tile in zip(paths, tiles[0], strict=False):
        Image.fromarray(tile).save(path)
    cache = tmp_path / "cache"
    rows = small(cache).transform(paths)
    moved = tmp_path / "elsewhere.dat"
    paths[2].rename(moved)
    copy = tmp_path / "copy.png"
    copy.write_bytes(paths[0].read_bytes())
    again = small(cache).transform([moved, str(copy), paths[1]])
    np.testing.assert_array_equal(again, rows[[2, 0, 1]])
    assert sum(passes) == 4
    Image.fromarray(tiles[0][9]).save(paths[1])  # the same path, another image
    changed = small(cache).transform([paths[1]])
    np.testing.assert_array_equal(changed, small(None).transform([paths[1]]))


def test_a_weights_file_is_known_by_its_content(keras_notop, tiles, tmp_path, passes):
    X, cache = tiles[0][:3], tmp_path / "cache"
    path = tmp_path / "a.weights.h5"
    path.write_bytes(keras_notop[1].read_bytes())
    rows = small(cache, weights=path).transform(X)
    renamed = path.rename(tmp_path / "b.weights.h5")
    np.testing.assert_array_equal(small(cache, weights=renamed).transform(X), rows)
    assert sum(passes) == 3


@pytest.mark.parametrize(
    "weights", [pytest.param(None, marks=pytest.mark.slow), "file", "hed"]
)
def test_stored_rows_need_neither_tensorflow_nor_weights(
    keras_notop, tiles, tmp_path, weights
):
    weights = str(keras_notop[1]) if weights == "file" else weights
    params = {"layer": "block1_pool", "pooling": "avg", "image_size": 32}
    rows = VGG19Features(
        weights, memory=str(tmp_path), random_state=0, **params
    ).transform(tiles[0][:5])
    np.save(tmp_path / "X.npy", tiles[0][:5])
    code = """
import builtins, io, sys
import numpy as np
opened = []
def spy(event, args):
    if event == "open" and str(args[0]).endswith((".h5", ".index")):
        opened.append(args[0])
sys.addaudithook(spy)
from skvgg import VGG19Features
X = np.load(sys.argv[1] + "/X.npy")
weights = sys.argv[2] if sys.argv[2] != "None" else None
features = VGG19Features(weights, layer="block1_pool", pooling="avg", image_size=32,
                         memory=sys.argv[1], random_state=0)
np.save(sys.argv[1] + "/rows.npy", features.transform(X))
print(sorted({"tensorflow", "keras", "h5py", "tflearn"} & set(sys.modules)))
print(opened, *features.cache_info()[:2])
"""
    lines = run_python(code, tmp_path, weights).stdout.splitlines()
    assert lines == ["[]", "[] 5 0"]
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), rows)


# One pass for every stage


def test_a_search_over_stages_costs_one_pass_an_image(tiles, tmp_path, passes):
    X, y = tiles[0][:12], tiles[1][:12]
    features = small(tmp_path, layer="block3_pool", memory_layers="stages")
    model = Pipeline([("features", features), ("head", LogisticRegression())])
    grid = {
        "features__layer": ["block1_pool", ["block2_pool", "block4_pool"]],
        "features__pooling": ["avg", "max"],
    }
    search = GridSearchCV(model, grid, cv=3).fit(X, y)
    assert sum(passes) == 12
    fresh = small(None, **{k[10:]: v for k, v in search.best_params_.items()})
    np.testing.assert_allclose(
        search.best_estimator_["features"].transform(X), fresh.transform(X), rtol=1e-4
    )


def test_the_stages_take_12_kb_an_image(tiles, tmp_path):
    features = small(tmp_path, layer="block5_pool", memory_layers="stages")
    features.transform(tiles[0])
    size = features.cache_info().bytes / len(tiles[0])
    assert 4 * 2 * 1472 <= size <= 1.35 * 4 * 2 * 1472


@pytest.mark.parametrize("layers", ["block1_pool", ["block1_pool"]])
def test_one_more_layer_is_stored(tiles, tmp_path, layers):
    features = small(tmp_path, layer="block2_pool", memory_layers=layers)
    features.transform(tiles[0][:2])
    assert features.set_params(layer="block1_pool").transform(tiles[0][:2]).size
    assert features.cache_info().misses == 2


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (3, "'memory_layers' parameter"),
        ("block9_pool", r"memory_layers='block9_pool' is unknown"),
        (["block9_pool"], r"memory_layers=\['block9_pool'\] is unknown"),
        (["fc1"], r"work with memory_layers=.*'fc1'"),
    ],
)
def test_wrong_memory_layers_are_refused(tiles, keras_notop, tmp_path, layers, message):
    features = small(tmp_path, weights=keras_notop[1], memory_layers=layers)
    with pytest.raises(ValueError, match=message):
        features.transform(tiles[0][:1])


# joblib's own memory, numbers, and what can go wrong


def test_a_memory_of_the_users_is_used_as_it_is(tiles, tmp_path, passes):
    memory = joblib.Memory(tmp_path, verbose=0)
    features = small(memory, memory_layers=["block2_pool"])
    rows = features.transform(tiles[0][:3])
    assert len(memory.store_backend.get_items()) == 3 * 3
    assert not list(tmp_path.rglob("*.sqlite3"))
    np.testing.assert_array_equal(features.transform(tiles[0][:3]), rows)
    small(memory, layer="block2_pool").transform(tiles[0][:3])
    assert sum(passes) == 3
    assert features.cache_info()[:3] == (6, 3, 9)
    memory.clear(warn=False)
    features.transform(tiles[0][:3])
    assert sum(passes) == 6


@pytest.mark.parametrize("memory", [None, joblib.Memory(None)])
def test_without_a_memory_nothing_is_kept(tiles, memory, passes):
    features = small(memory)
    features.transform(tiles[0][:2])
    features.transform(tiles[0][:2])
    assert sum(passes) == 4
    assert features.cache_info()[2:] == (0, 0)


def test_cache_info_counts_images_of_all_clones(tiles, tmp_path):
    features = small(tmp_path)
    assert features.cache_info() == (0, 0, 0, 0)
    features.transform(tiles[0][:4])
    clone(features).transform(tiles[0][:6])
    info = features.cache_info()
    assert info[:3] == (4, 6, 6)
    assert info.bytes == sum(p.stat().st_size for p in tmp_path.rglob("rows-*"))
    joblib.Memory(str(tmp_path), backend="skvgg", verbose=0).clear(warn=False)
    assert features.cache_info().entries == 0


def test_verbose_shows_rate_hits_and_misses(tiles, tmp_path, capfd):
    small(tmp_path).transform(tiles[0][:4])
    small(tmp_path, verbose=1).transform(tiles[0][:6])
    shown = capfd.readouterr().err
    assert "6/6" in shown
    assert "image/s" in shown
    assert "hits=4, misses=2" in shown


def test_a_folder_that_cannot_be_made_costs_the_caching_only(tiles, tmp_path, passes):
    blocked = tmp_path / "file"
    blocked.write_text("")
    features = small(blocked / "cache", batch_size=2)
    with pytest.warns(UserWarning, match="no longer accepts rows") as record:
        rows = features.transform(tiles[0][:6])
    assert len(record) == 1
    np.testing.assert_allclose(rows, small(None).transform(tiles[0][:6]), rtol=1e-5)


def test_a_damaged_row_is_computed_again(tiles, tmp_path, passes):
    rows = small(tmp_path).transform(tiles[0][:6])
    (path,) = tmp_path.rglob("rows-0.sqlite3")
    content = bytearray(path.read_bytes())
    content[content.index(rows[3].tobytes()[20:60])] ^= 16
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged") as record:
        again = small(tmp_path).transform(tiles[0][:6])
    assert len(record) == 1
    np.testing.assert_allclose(again, rows, rtol=1e-5)
    assert sum(passes) == 7
    np.testing.assert_array_equal(small(tmp_path).transform(tiles[0][:6]), again)


@pytest.mark.slow
def test_four_processes_that_extract_the_same_agree(tiles, tmp_path):
    def extract():
        return small(tmp_path, batch_size=2).transform(tiles[0][:16])

    together = joblib.Parallel(4)(joblib.delayed(extract)() for _ in range(4))
    for rows in together:
        np.testing.assert_allclose(rows, together[0], rtol=1e-5)
    assert small(tmp_path).cache_info().entries == 16


USE_A_COPY = """
import sys
import joblib
import numpy as np
import skvgg
from skvgg import VGG19Features
assert skvgg.__file__.startswith(sys.argv[1])
features = VGG19Features(None, layer="block1_pool", pooling="avg", image_size=32,
                         random_state=0, memory=joblib.Memory(sys.argv[2], verbose=0))
features.transform(np.arange(3 * 32 * 32).reshape(3, 32, 32) % 251)
print(*features.cache_info()[:3])
"""


@pytest.mark.slow
def test_an_edit_of_our_source_leaves_joblibs_own_store_as_it_is(tmp_path, monkeypatch):
    package = tmp_path / "skvgg"
    shutil.copytree(Path(skvgg.__file__).parent, package)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def use():
        done = run_python(USE_A_COPY, tmp_path, tmp_path / "store", cwd=tmp_path)
        return done.stdout.split()

    assert use() == ["0", "3", "3"]
    source = package / "_store" / "cache.py"
    edited = source.read_text().replace('"""Return', '"""Edited: return')
    source.write_text(edited.replace("joblib keeps", "and joblib keeps"))
    assert use() == ["3", "0", "3"]
    source.write_text(source.read_text().replace("_VERSION = 1", "_VERSION = 2"))
    assert use() == ["0", "3", "3"]


# Where it is


MEMORIES = {
    "path": lambda: "cache",
    "joblib": lambda: joblib.Memory("cache", verbose=0),
    "joblib, Path": lambda: joblib.Memory(Path("cache"), verbose=0),
    "skvgg": lambda: joblib.Memory("cache", backend="skvgg", verbose=0),
}


@pytest.mark.parametrize("memory", MEMORIES)
def test_an_unpickled_transformer_finds_a_relative_memory_again(
    tiles, tmp_path, monkeypatch, passes, memory
):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    features = small(MEMORIES[memory]())
    rows = features.fit_transform(tiles[0][:3])
    params = repr(features.get_params())
    data = pickle.dumps(features)
    assert repr(features.get_params()) == params
    monkeypatch.chdir(elsewhere)
    loaded = pickle.loads(data)
    for some in (loaded, clone(loaded), pickle.loads(pickle.dumps(loaded))):
        np.testing.assert_array_equal(some.transform(tiles[0][:3]), rows)
    assert sum(passes) == 3
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    "memory", [None, "/nowhere/cache", Path("/nowhere/cache"), "~/cache"]
)
def test_a_memory_that_means_the_same_everywhere_is_pickled_as_it_is(memory):
    assert pickle.loads(pickle.dumps(small(memory))).memory == memory


def test_a_memory_of_joblib_in_the_home_folder_stays_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    memory = joblib.Memory("~/cache", verbose=0)
    loaded = pickle.loads(pickle.dumps(small(memory))).memory
    assert loaded.store_backend.location == str(tmp_path / "cache" / "joblib")


def test_a_tilde_is_the_home_folder(tiles, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    small("~/cache").transform(tiles[0][:1])
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize(
    "as_memory",
    [
        str,
        lambda path: joblib.Memory(path, verbose=0),
        lambda path: joblib.Memory(path, backend="skvgg", verbose=0),
    ],
)
@pytest.mark.parametrize(
    "junk",
    [
        np.zeros(63, np.float32),
        np.zeros((1, 64), np.float32),
        np.zeros(64),
        np.full(64, 255, np.uint8),
        np.array(["text"] * 64),
        np.float32(0),
    ],
)
def test_rows_of_a_wrong_form_are_computed_again_and_replaced(
    tiles, tmp_path, passes, monkeypatch, as_memory, junk
):
    X, memory, file = tiles[0][:3], tmp_path / "cache", tmp_path / "weights.npz"
    random = weights.as_source(None, 0)
    weights.save(
        file, random.load(parameter_shapes(["block1_pool"], (32, 32))).parameters
    )
    put, keys = Cache.put, []
    with monkeypatch.context() as patch:
        patch.setattr(
            Cache, "put", lambda self, some: keys.extend(some) or put(self, some)
        )
        rows = small(as_memory(memory), weights=file).transform(X)
    assert len(keys) == 4  # three rows and the fingerprint of the file
    Cache(as_memory(memory)).put(dict.fromkeys(keys, np.asarray(junk)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        again = small(as_memory(memory), weights=file).transform(X)
    np.testing.assert_allclose(again, rows, rtol=1e-5)
    assert sum(passes) == 6
    np.testing.assert_array_equal(
        small(as_memory(memory), weights=file).transform(X), again
    )
    assert sum(passes) == 6
