"""A fitted pipeline is small and predicts the same bits in another process."""

import pickle

import cloudpickle
import joblib
import numpy as np
import pytest
from PIL import Image
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvgg import TFLearnMLPClassifier, VGG19Features

from .conftest import run_python

PREDICT = """
import pickle, sys
import joblib
import numpy as np
folder = sys.argv[1]
models = {"joblib": joblib.load(f"{folder}/joblib")}
for name in ("pickle", "cloudpickle"):
    with open(f"{folder}/{name}", "rb") as file:
        models[name] = pickle.load(file)
assert "tensorflow" not in sys.modules  # loading is light
X = np.load(f"{folder}/X.npy")
proba = {name: model.predict_proba(X) for name, model in models.items()}
np.savez(f"{folder}/proba.npz", **proba)
"""

HEAD_ONLY = """
import pickle, sys
import numpy as np
with open(sys.argv[1], "rb") as file:
    head = pickle.load(file)
np.save(sys.argv[3], head.predict_proba(np.load(sys.argv[2])))
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"tensorflow", "tflearn", "keras"}, loaded
"""


@pytest.fixture(scope="module")
def fitted(tiles):
    X, y = tiles
    features = VGG19Features("hed", layer="block3_pool", pooling="avg", image_size=32)
    head = TFLearnMLPClassifier((64,), max_iter=3, random_state=0)
    return make_pipeline(features, StandardScaler(), head).fit(X, y)


@pytest.fixture(scope="module")
def probabilities_of_a_new_process(fitted, tiles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dumps")
    (folder / "pickle").write_bytes(pickle.dumps(fitted))
    (folder / "cloudpickle").write_bytes(cloudpickle.dumps(fitted))
    joblib.dump(fitted, folder / "joblib")
    np.save(folder / "X.npy", tiles[0])
    run_python(PREDICT, folder)
    return np.load(folder / "proba.npz")


@pytest.mark.parametrize("dump", ["pickle", "cloudpickle", "joblib"])
def test_a_new_process_predicts_the_same_bits(
    fitted, tiles, probabilities_of_a_new_process, dump
):
    expected = fitted.predict_proba(tiles[0])
    np.testing.assert_array_equal(probabilities_of_a_new_process[dump], expected)


def test_a_head_predicts_without_tensorflow(fitted, tiles, tmp_path):
    X, _ = tiles
    rows = fitted[:-1].transform(X)
    np.save(tmp_path / "rows.npy", rows)
    (tmp_path / "head").write_bytes(pickle.dumps(fitted[-1]))
    out = tmp_path / "proba.npy"
    run_python(HEAD_ONLY, tmp_path / "head", tmp_path / "rows.npy", out)
    np.testing.assert_array_equal(np.load(out), fitted[-1].predict_proba(rows))


def test_the_pickle_holds_the_head_and_no_network(fitted):
    head = fitted[-1]
    size = sum(a.nbytes for a in [*head.coefs_, *head.intercepts_])
    assert len(pickle.dumps(fitted)) < size + 100_000
    assert len(cloudpickle.dumps(fitted)) < size + 100_000


def test_paths_work_in_another_process_too(fitted, tiles, tmp_path):
    path = tmp_path / "tile.png"
    Image.fromarray(tiles[0][0]).save(path)
    (tmp_path / "model").write_bytes(pickle.dumps(fitted))
    code = (
        "import pickle, sys\n"
        "with open(sys.argv[1], 'rb') as file: model = pickle.load(file)\n"
        "print(model.predict([sys.argv[2]])[0])"
    )
    done = run_python(code, tmp_path / "model", path)
    assert done.stdout.strip() == fitted.predict(tiles[0][:1])[0]


def test_skops_loads_with_a_short_list_of_trusted_types(fitted, tiles, tmp_path):
    sio = pytest.importorskip("skops.io")
    sio.dump(fitted, tmp_path / "model.skops")
    trusted = sio.get_untrusted_types(file=tmp_path / "model.skops")
    assert sorted(trusted) == [
        "skvgg.features.VGG19Features",
        "skvgg.mlp.TFLearnMLPClassifier",
    ]
    model = sio.load(tmp_path / "model.skops", trusted=trusted)
    expected = fitted.predict_proba(tiles[0])
    np.testing.assert_array_equal(model.predict_proba(tiles[0]), expected)
