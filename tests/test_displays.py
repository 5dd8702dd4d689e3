"""Displays of mistakes, neighbours, histories and embeddings."""

import sys
from collections import Counter

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from cleanlab.filter import find_label_issues
from PIL import Image, ImageOps
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skvgg import VGG19Classifier, VGG19Features
from skvgg.plotting import MistakesDisplay
from skvgg.plotting._label_errors import find_label_errors
from skvgg.plotting._thumbnails import make_thumbnails

mpl.use("Agg")
from matplotlib import pyplot as plt


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def small(**params):
    defaults = {"layer": "block2_pool", "pooling": "avg", "image_size": 32}
    return VGG19Features(None, random_state=0, **{**defaults, **params})


def linear(**params):
    return make_pipeline(small(**params), StandardScaler(), LogisticRegression(C=0.01))


@pytest.fixture
def some(tiles):
    """Forty images, two of which have the other's label."""
    X, y = tiles[0][:40], tiles[1][:40].copy()
    y[[4, 7]] = y[[7, 4]]
    return X, y


@pytest.fixture
def paths(some, tmp_path):
    paths = [str(tmp_path / f"{i:02}.png") for i in range(len(some[0]))]
    for path, pixels in zip(paths, some[0], strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def overlapping(artists):
    """Return pairs of artists whose boxes in the figure overlap."""
    figure = artists[0].figure
    figure.canvas.draw()
    boxes = [artist.get_window_extent() for artist in artists if artist.get_visible()]
    return [
        (i, j)
        for i, one in enumerate(boxes)
        for j, other in enumerate(boxes[:i])
        if one.width * other.width > 0
        and min(one.x1, other.x1) - max(one.x0, other.x0) > 0.5
        and min(one.y1, other.y1) - max(one.y0, other.y0) > 0.5
    ]


# Thumbnails


def test_thumbnails_are_turned_as_exif_says_and_keep_their_proportions(
    photos, tmp_path
):
    image = Image.fromarray(photos[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    (thumbnail,) = make_thumbnails([tmp_path / "turned.png"], [0], None, side=64)
    with Image.open(tmp_path / "turned.png") as saved:
        expected = ImageOps.pad(
            ImageOps.exif_transpose(saved), (64, 64), Image.Resampling.LANCZOS, "white"
        )
    np.testing.assert_array_equal(thumbnail, np.asarray(expected))


@pytest.mark.parametrize("kind", ["bytes", "pil", "gray", "float", "path"])
def test_thumbnails_are_of_every_kind_that_the_transformer_takes(
    photos, tmp_path, kind
):
    pixels = photos[0][:64, :64]
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    item = {
        "bytes": path.read_bytes(),
        "pil": Image.fromarray(pixels),
        "gray": pixels[..., 0],
        "float": pixels.astype(float),
        "path": path,
    }[kind]
    (thumbnail,) = make_thumbnails([item], [0], None, side=64)
    expected = np.repeat(pixels[..., :1], 3, axis=2) if kind == "gray" else pixels
    np.testing.assert_array_equal(thumbnail, expected)


# Label errors


def noisy(X, y, share, model=None, seed=0):
    """Return labels, some of them wrong, and out-of-fold probabilities."""
    rng = np.random.default_rng(seed)
    y = np.where(rng.random(len(y)) < share, rng.integers(0, y.max() + 1, len(y)), y)
    model = model or make_pipeline(StandardScaler(), LogisticRegression())
    return y, cross_val_predict(model, X, y, cv=3, method="predict_proba")


def rare_class():
    X, y = make_classification(
        300, 6, n_informative=4, n_classes=3, weights=[0.6, 0.38], random_state=0
    )
    return noisy(X, y, 0.05)


def ties():
    """Probabilities in steps of a quarter: many are equal, also to the means."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(4, [0.25] * 4, 400)
    return rng.integers(0, 4, 400), counts / 4


def absent_class():
    y, y_proba = noisy(*load_iris(return_X_y=True), 0.1)
    y_proba = np.insert(y_proba, 1, 0.2, axis=1) / 1.2
    return np.where(y > 0, y + 1, 0), y_proba


PROBABILITIES = {
    "iris": lambda: noisy(*load_iris(return_X_y=True), 0.2),
    "digits": lambda: noisy(*load_digits(return_X_y=True), 0.1, GaussianNB()),
    "binary": lambda: noisy(*make_classification(200, random_state=1), 0.15),
    "rare class": rare_class,
    "ties": ties,
    "absent class": absent_class,
    "one image of a class": lambda: (
        np.array([0, 0, 1, 0, 0, 1, 2]),
        np.random.default_rng(3).dirichlet(np.ones(3) / 3, 7),
    ),
    "certain": lambda: (np.array([0, 1, 1, 0]), np.eye(2)[[0, 1, 0, 0]]),
    "uniform": lambda: (np.array([0, 1, 2, 0]), np.full((4, 3), 1 / 3)),
    "never the label": lambda: (np.array([0, 0, 1, 1]), np.eye(2)[[1, 1, 0, 0]]),
}


@pytest.mark.parametrize("name", PROBABILITIES)
def test_suspected_labels_are_those_of_cleanlab(name):
    y, y_proba = PROBABILITIES[name]()
    found = find_label_errors(y, y_proba)
    expected = find_label_issues(
        y,
        y_proba,
        filter_by="confident_learning",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    assert set(found) == set(expected)
    assert len(found) == len(expected)
    own = y_proba[np.arange(len(y)), y]
    np.testing.assert_array_equal(own[found], own[expected])  # ties in any order
    if name in ("iris", "digits", "binary", "rare class", "ties"):
        assert len(found) > 3


# MistakesDisplay


def test_mistakes_are_by_the_loss_of_models_that_have_not_seen_the_image(some):
    X, y = some
    model = linear()
    display = MistakesDisplay.from_estimator(model, X, y, cv=4, n_images=7)
    expected = cross_val_predict(model, X, y, cv=4, method="predict_proba")
    np.testing.assert_allclose(display.y_proba, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(display.classes, ["china", "flower"])
    assert display.losses.mean() == pytest.approx(log_loss(y, expected), rel=1e-5)
    np.testing.assert_array_equal(display.indices_, np.argsort(-display.losses)[:7])
    assert len(display.ims_) == len(display.texts_) == 7
    for index, text in zip(display.indices_, display.texts_, strict=True):
        predicted = display.classes[expected[index].argmax()]
        lines = text.get_text().splitlines()
        assert lines[0].startswith(f"{y[index]} ")
        assert len(lines) == 1 + (predicted != y[index])
        if predicted != y[index]:
            assert lines[1] == f"→ {predicted} {expected[index].max():.2f}"


def test_labels_that_were_swapped_are_suspected_and_listed(some, paths):
    _, y = some
    display = MistakesDisplay.from_estimator(linear(), paths, y, cv=4)
    table = display.to_frame()
    assert {4, 7} <= set(table.index)
    assert list(table.index) == display.label_errors.tolist()
    assert table["self_confidence"].is_monotonic_increasing
    assert table.loc[4].to_dict() == {
        "given_label": "flower",
        "predicted_label": "china",
        "self_confidence": display.y_proba[4, 1],
        "predicted_probability": display.y_proba[4, 0],
        "path": paths[4],
    }
    pixels = MistakesDisplay.from_predictions(some[0], y, display.y_proba)
    pd.testing.assert_frame_equal(
        pixels.to_frame(), table.assign(path=[None] * len(table))
    )


@pytest.mark.parametrize("has_memory", [False, True])
def test_each_image_goes_through_the_network_once(some, passes, tmp_path, has_memory):
    X, y = some
    model = linear(memory=tmp_path if has_memory else None)
    MistakesDisplay.from_estimator(model, X, y)
    assert sum(passes) == len(X)
    assert not hasattr(model[0], "weights_fingerprint_")


def test_a_search_over_pipelines_sends_each_image_through_the_network_once(
    some, passes
):
    X, y = some
    search = GridSearchCV(linear(), {"logisticregression__C": [0.01, 0.1]}, cv=2)
    display = MistakesDisplay.from_estimator(search, X, y, cv=2)
    assert sum(passes) == len(X)
    assert search.estimator[0].memory is None
    remembered = cross_val_predict(search, X, y, cv=2, method="predict_proba")
    np.testing.assert_allclose(display.y_proba, remembered, rtol=1e-5, atol=1e-7)


def test_images_are_fine_tuned_on_in_each_fold(some, passes):
    X, y = some
    model = VGG19Classifier(
        None, layer="block2_pool", trainable=None, image_size=32, random_state=0
    )
    display = MistakesDisplay.from_estimator(model, X, y, cv=2)
    assert sum(passes) == len(X)
    expected = cross_val_predict(model, X, y, cv=2, method="predict_proba")
    np.testing.assert_allclose(display.y_proba, expected, rtol=1e-4, atol=1e-6)


def test_groups_and_parameters_of_fit_are_passed_on(some):
    X, y = some
    groups = np.arange(len(y)) // 4
    weight = np.where(y == "china", 5.0, 1.0)
    display = MistakesDisplay.from_estimator(
        linear(),
        X,
        y,
        groups=groups,
        cv=GroupKFold(3),
        params={"logisticregression__sample_weight": weight},
    )
    expected = cross_val_predict(
        linear()[1:],
        clone(linear()[0]).fit_transform(X),
        y,
        groups=groups,
        cv=GroupKFold(3),
        params={"logisticregression__sample_weight": weight},
        method="predict_proba",
    )
    np.testing.assert_array_equal(display.y_proba, expected)


def test_balanced_mistakes_come_in_turn_from_each_pair_of_classes(photos):
    X = photos[0][None, :16, :16].repeat(12, axis=0)
    y = np.array(["a"] * 9 + ["b", "c", "c"])
    y_proba = np.full((12, 3), 0.1)
    y_proba[:8, 1] = 0.8 - np.arange(8) / 100  # eight a taken for b
    y_proba[:8, 0] = 0.1 + np.arange(8) / 100
    y_proba[8:, 0] = 0.8  # a is right, b and c are taken for a
    y_proba[11] = [0.3, 0.3, 0.4]
    display = MistakesDisplay.from_predictions(X, y, y_proba, n_images=5, balanced=True)
    pairs = Counter(
        zip(y[display.indices_], display.y_pred[display.indices_], strict=True)
    )
    assert pairs == {("a", "b"): 3, ("b", "a"): 1, ("c", "a"): 1}
    assert np.all(np.diff(display.losses[display.indices_]) <= 0)
    with pytest.raises(ValueError, match="All images are predicted rightly"):
        MistakesDisplay.from_predictions(
            X[:2], ["a", "b"], [[0.9, 0.1], [0.2, 0.8]], balanced=True
        )


def test_text_below_thumbnails_does_not_overlap(some):
    X, y = some
    names = {"china": "a temple with a roof of tiles", "flower": "b $x$_y$"}
    y = np.array([names[label] for label in y])
    y_proba = np.random.default_rng(0).dirichlet([1, 1], len(y))
    display = MistakesDisplay.from_predictions(X, y, y_proba)
    assert overlapping([*display.texts_, display.ax_.title]) == []
    figure, axes = plt.subplots(1, 2, layout="constrained")
    display.plot(axes[1], n_columns=4)
    assert display.figure_ is figure
    assert display.ax_ is axes[1]
    assert overlapping([*display.texts_, display.ax_.title]) == []
    assert "…" in display.texts_[0].get_text()


def test_labels_say_what_columns_stand_for(some):
    X, y = some
    y_proba = np.random.default_rng(0).dirichlet([1, 1, 1], len(y))
    labels = ["flower", "tree", "china"]
    display = MistakesDisplay.from_predictions(X, y, y_proba, labels=labels)
    assert display.y_pred[0] == labels[y_proba[0].argmax()]
    with pytest.raises(ValueError, match=r"y_true\[0\] is 'china', which is none"):
        MistakesDisplay.from_predictions(X, y, np.full((40, 2), 0.5), labels=labels[:2])


def test_flattened_images_are_drawn_as_the_transformer_reads_them():
    X, y = load_digits(n_class=2, return_X_y=True)
    X, y = X[:30] * 15, y[:30]
    display = MistakesDisplay.from_estimator(linear(flattened_shape=(8, 8)), X, y, cv=2)
    index = display.indices_[0]
    (expected,) = make_thumbnails([X[index].reshape(8, 8)], [0], None)
    np.testing.assert_array_equal(display.ims_[0].get_array(), expected)


def test_mistakes_refuse_what_they_cannot_use(some, paths):
    X, y = some
    good = np.full((40, 2), 0.5)
    with pytest.raises(ValueError, match=r"LinearSVC.*no predict_proba.*Calibrated"):
        MistakesDisplay.from_estimator(make_pipeline(small(), LinearSVC()), X, y)
    with pytest.raises(ValueError, match="X has 40 images and y has 39 labels"):
        MistakesDisplay.from_estimator(linear(), X, y[:39])
    labels = y.astype(object)
    labels[2] = None
    with pytest.raises(ValueError, match=r"y_true\[2\] is None"):
        MistakesDisplay.from_predictions(X, labels, good)
    with pytest.raises(ValueError, match=r"shape \(40,\).*column_stack"):
        MistakesDisplay.from_predictions(X, y, good[:, 0])
    bad = good.copy()
    bad[5] = 0.9
    with pytest.raises(ValueError, match=r"y_proba\[5\] is .* add up to 1"):
        MistakesDisplay.from_predictions(X, y, bad)
    with pytest.raises(ValueError, match="n_columns=0"):
        MistakesDisplay.from_predictions(X, y, good, n_columns=0)
    with open(paths[0], "r+b") as file:
        file.truncate(100)
    with pytest.raises(ValueError, match=r"X\[0\] \('.*00\.png'\): not an image"):
        MistakesDisplay.from_predictions(paths, y, good)


def test_without_matplotlib_or_pandas_the_error_says_how_to_install_it(
    some, monkeypatch
):
    X, y = some
    display = MistakesDisplay.from_predictions(X, y, np.full((40, 2), 0.5))
    for module in ("pandas", "matplotlib"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"to_frame needs pandas: pip install pandas"):
        display.to_frame()
    for call in (
        lambda: display.plot(),
        lambda: MistakesDisplay.from_estimator(linear(), X, y),
        lambda: MistakesDisplay.from_predictions(X, y, display.y_proba),
    ):
        with pytest.raises(ImportError, match=r'pip install "skvgg\[plotting\]"'):
            call()
