"""Fine-tuned estimators: pickles, transformers, checks, errors and warnings."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError, SkipTestWarning
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvgg import (
    VGG19Classifier,
    VGG19Features,
    VGG19Regressor,
    weights,
)
from tests.conftest import run_python

from .finetuning import LAYERS, assert_same, small

# What was learned is usable


def test_fits_are_identical_to_the_last_bit(cuts):
    params = {"augment": "crop", "dropout": 0.2, "batch_size": 8}
    assert_same(small(**params).fit(*cuts), small(**params).fit(*cuts))


LOAD = """
import pickle, sys
import numpy as np
model, X = pickle.load(open(sys.argv[1], "rb"))
np.save(sys.argv[2], model.predict_proba(X))
"""


def test_a_pickle_predicts_the_same_in_a_new_process(cuts, tuned, tmp_path):
    X, clf = cuts[0], tuned
    path, out = tmp_path / "model.pkl", tmp_path / "proba.npy"
    path.write_bytes(pickle.dumps((clf, X)))
    assert len(pickle.dumps(clf)) < 2e6
    run_python(LOAD, path, out, cwd=tmp_path)
    np.testing.assert_array_equal(np.load(out), clf.predict_proba(X))


@pytest.mark.parametrize("trainable", [None, "block2"])
def test_a_relative_path_of_weights_is_that_of_the_fit(
    cuts, tmp_path, monkeypatch, trainable
):
    X, y = cuts
    weights.save(tmp_path / "w.npz", weights.as_source(None, 1))
    monkeypatch.chdir(tmp_path)
    clf = small(weights="w.npz", trainable=trainable).fit(X, y)
    before = clf.predict_proba(X)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for model in (clf, pickle.loads(pickle.dumps(clf)), copy.deepcopy(clf)):
        np.testing.assert_array_equal(model.predict_proba(X), before)


def test_other_weights_below_are_refused(cuts, tmp_path):
    X, y = cuts
    path = tmp_path / "w.npz"
    all_layers = weights.as_source(None, 1)
    weights.save(path, all_layers)
    clf = small(weights=path).fit(X, y)
    clf = pickle.loads(pickle.dumps(clf))
    clf.predict(X)
    weights.save(path, weights.as_source(None, 2))
    with pytest.raises(ValueError, match="have changed since training"):
        pickle.loads(pickle.dumps(clf)).predict(X)


def test_features_have_the_tuned_layers_and_can_be_saved(cuts, tmp_path):
    X, y = cuts
    clf = small(weights="hed").fit(X, y)
    features = clf.to_features("block2_pool", pooling="max")
    rows = features.transform(X)
    assert rows.shape == (len(X), 128)
    before = VGG19Features("hed", layer="block2_pool", pooling="max", image_size=32)
    assert not np.allclose(rows, before.transform(X))
    weights.save(tmp_path / "tuned.npz", clf.features_.weights)
    again = clone(features).set_params(weights=tmp_path / "tuned.npz")
    np.testing.assert_array_equal(again.transform(X), rows)
    np.testing.assert_array_equal(clone(features).transform(X), rows)


def test_fully_connected_layers_that_were_trained_are_saved(tmp_path):
    shapes = {"fc1": (512, 4096), "fc2": (4096, 4096)}
    below = weights.as_source(None, 0)
    loaded = below.load(shapes)
    for names in (["fc1"], ["fc1", "fc2"]):
        layers = {name: loaded.parameters[name] for name in names}
        tuned = weights.TunedWeights(
            below, below.fingerprint(), layers, loaded.preprocessing
        )
        weights.save(tmp_path / "tuned.npz", tuned)
        again = weights.load(tmp_path / "tuned.npz", {n: shapes[n] for n in names})
        for name in names:
            for a, b in zip(again.parameters[name], layers[name], strict=True):
                np.testing.assert_array_equal(a, b)


def test_tuned_weights_refuse_layers_that_vgg19_does_not_have():
    below = weights.as_source(None, 0)
    kernel, bias = np.zeros((3, 3, 512, 512)), np.zeros(512)
    for name in ("block5_conv5", "block5_pool"):
        with pytest.raises(ValueError, match=rf"{name}' is unknown.*block5_conv4, fc1"):
            weights.TunedWeights(below, "", {name: (kernel, bias)}, None)


def test_tuned_weights_know_the_preprocessing_that_they_were_trained_with(
    cuts, tmp_path
):
    X, y = cuts
    clf = small(weights="hed", preprocessing="torch", warm_start=True, max_iter=1)
    for _ in range(2):  # the second fit is over tuned weights
        clf.fit(X, y)
        rows = clf.to_features().transform(X)
        weights.save(tmp_path / "tuned.npz", clf.features_.weights)
        for some in (clf.features_.weights, tmp_path / "tuned.npz"):
            params = {"layer": LAYERS, "pooling": "avg", "image_size": 32}
            again = VGG19Features(some, **params).transform(X)
            np.testing.assert_allclose(again, rows, rtol=1e-4, atol=1e-4)


def test_memory_tells_tuned_weights_apart(cuts, tmp_path):
    X, y = cuts
    first = small(memory=tmp_path).fit(X, y)
    second = small(memory=tmp_path, max_iter=3).fit(X, y)
    expected = [copy.deepcopy(m).predict_proba(X) for m in (first, second)]
    for model, proba in zip((first, second), expected, strict=True):
        np.testing.assert_array_equal(model.predict_proba(X), proba)
    assert not np.array_equal(*expected)


def test_a_grid_search_over_trainable(cuts, tmp_path):
    X, y = cuts
    grid = {"trainable": [None, "block2_conv2", "block2"]}
    search = GridSearchCV(small(memory=tmp_path, max_iter=1), grid, cv=2).fit(X, y)
    assert search.best_score_ > 0.8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# Manners


with warnings.catch_warnings():
    # It says that it skips most for such input.
    warnings.simplefilter("ignore", SkipTestWarning)
    checks = parametrize_with_checks([small(), small(VGG19Regressor)])


@checks
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_parameters_stay_and_unfitted_models_say_so(cuts):
    X, y = cuts
    clf = small()
    before = clf.get_params()
    with pytest.raises(NotFittedError):
        clf.predict(X)
    assert clf.fit(X, y) is clf
    assert clf.get_params() == before
    assert clone(clf).get_params() == before
    assert list(clf.classes_) == ["china", "flower"]


def test_a_fit_that_fails_leaves_the_last_one_as_it_was(cuts, tuned):
    X, y = cuts
    clf = copy.deepcopy(tuned)
    before = clf.predict_proba(X)
    clf.set_params(learning_rate_init=1e30)
    with pytest.raises(ValueError, match="diverged"):
        clf.fit(X, y)
    np.testing.assert_array_equal(clf.predict_proba(X), before)


SILENT = """
import sys
import numpy as np
from skvgg import VGG19Classifier
X = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
y = [0, 1] * 4
params = dict(layer="block1_pool", trainable="block1", image_size=32, max_iter=2)
VGG19Classifier(None, **params, random_state=0, verbose=int(sys.argv[1])).fit(X, y)
"""


@pytest.mark.slow
def test_a_fit_says_nothing_or_shows_one_bar():
    done = run_python("import warnings; warnings.simplefilter('ignore')" + SILENT, 0)
    assert (done.stdout, done.stderr) == ("", "")
    done = run_python("import warnings; warnings.simplefilter('ignore')" + SILENT, 1)
    assert done.stdout == ""
    # Newlines are what carriage returns are read as.
    lines = done.stderr.strip().splitlines()
    assert all("/24 [" in line for line in lines)
    assert "24/24" in lines[-1]


# Bad input


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"trainable": "six"}, "trainable='six' is unknown. Expected None or one of"),
        ({"trainable": "block2_pool"}, r"is unknown\. Did you mean 'block2'\? Expect"),
        ({"trainable": "block3"}, "is above the input layers of the head"),
        ({"weights": "hed", "layer": "fc1"}, "no fully connected layers"),
        (
            {"weights": "hed", "trainable": "fc1"},
            "weights='hed', or .* have no .*trainable='fc1'",
        ),
        ({"layer": "block4"}, r"layer='block4' is unkn.* Did you mean 'block4_pool'"),
        ({"layer": "stage"}, r"Did you mean 'stages'\? Expected 'stages', or one or"),
        ({"layer": 4}, "'layer' parameter of VGG19Classifier must be"),
        ({"image_size": 16}, "at least 32"),
        ({"precision": "float16"}, "'precision' parameter of VGG19Classifier must"),
        ({"head": (0,)}, "sequence of positive integers"),
        ({"class_weight": {"china": -1}}, r"class_weight\['china'\] is -1"),
        ({"early_stopping": True, "validation_fraction": 0.01}, "leaves none"),
    ],
)
def test_wrong_parameters_are_named(cuts, params, message):
    with pytest.raises(ValueError, match=message):
        small(**params).fit(*cuts)


def test_bad_images_and_targets_are_named(cuts, tmp_path):
    X, y = cuts
    paths = [str(tmp_path / f"{i}.png") for i in range(4)]
    with pytest.raises(FileNotFoundError, match=r"X\[0\]"):
        small().fit(paths, [0, 1, 0, 1])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        small().fit(X, y[:-1])
    with pytest.raises(ValueError, match="contains NaN"):
        small(VGG19Regressor).fit(X, np.full(len(X), np.nan))
    with pytest.raises(ValueError, match=r"sample_weight\[1\] is -1"):
        small().fit(X, y, sample_weight=[1, -1] * 20)
    with pytest.raises(ValueError, match="at least one non-zero"):
        small().fit(X, y, sample_weight=np.zeros(len(X)))


def test_a_class_with_one_image_is_named(cuts):
    X, y = cuts
    y = np.where(np.arange(len(y)) == 0, "lonely", y)
    with pytest.warns(UserWarning, match="The class 'lonely' has one image"):
        small().fit(X, y)


@pytest.mark.parametrize("make", [VGG19Classifier, VGG19Regressor])
def test_a_head_alone_that_learned_nothing_says_so(make):
    X = np.zeros((20, 32, 32, 3), np.uint8)
    with pytest.warns(ConvergenceWarning, match="learned nothing, .* Try other layers"):
        small(make, trainable=None).fit(X, [0, 1] * 10)


def test_nothing_learned_is_said():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)[[0] * 20]
    with pytest.warns(ConvergenceWarning, match="learned nothing, or hardly anything"):
        small().fit(X, [0, 1] * 10)
