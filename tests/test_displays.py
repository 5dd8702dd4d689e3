"""Displays of mistakes, neighbors, histories and embeddings."""

import itertools
import pickle
import sys
from collections import Counter
from hashlib import sha256

import dask.array
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from cleanlab.datalab.internal.issue_manager.duplicate import NearDuplicateIssueManager
from cleanlab.filter import find_label_issues
from PIL import Image, ImageOps
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, load_iris, make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.manifold import TSNE
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from skvgg import (
    BadImageWarning,
    TFLearnMLPClassifier,
    TFLearnMLPRegressor,
    VGG19Classifier,
    VGG19Features,
    VGG19Regressor,
)
from skvgg.plotting import (
    EmbeddingDisplay,
    HistoryDisplay,
    LayerScoreDisplay,
    MistakesDisplay,
    NeighborsDisplay,
    SaliencyDisplay,
    _duplicates,
)
from skvgg.plotting._duplicates import (
    find_copies,
    find_near_duplicates,
    find_neighbors,
)
from skvgg.plotting._label_errors import find_label_errors
from skvgg.plotting._pipeline import without_samplers
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
        assert len(lines) == 2
        if predicted != y[index]:
            assert lines[1] == f"→ {predicted} {expected[index].max():.2f}"


def test_correct_predictions_among_the_largest_losses_say_so(some):
    X, y_proba = some[0][:3], [[0.6, 0.4], [0.3, 0.7], [0.9, 0.1]]
    y, labels = ["a", "a", "a"], ["a", "b"]
    display = MistakesDisplay.from_predictions(X, y, y_proba, labels=labels)
    assert [text.get_text() for text in display.texts_] == [
        "a 0.30\n→ b 0.70",
        "a 0.60\ncorrect",
        "a 0.90\ncorrect",
    ]


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


def test_candidates_of_a_search_send_each_image_through_the_network_once(some, passes):
    X, y = some
    grid = {
        "vgg19features": [small(), small()],
        "logisticregression__C": [0.01, 0.1],
    }
    MistakesDisplay.from_estimator(GridSearchCV(linear(), grid, cv=2), X, y, cv=2)
    assert sum(passes) == len(X)
    assert grid["vgg19features"][0].memory is None


def test_labels_reach_the_estimator_as_they_are(some):
    X, y = some
    model = linear().set_params(logisticregression__class_weight={"china": 1000})
    display = MistakesDisplay.from_estimator(model, X, y, cv=StratifiedKFold(2))
    rows = small().fit_transform(X)
    for train, test in StratifiedKFold(2).split(X, y):
        fitted = clone(model[1:]).fit(rows[train], y[train])
        expected = fitted.predict_proba(rows[test])
        np.testing.assert_allclose(display.y_proba[test], expected, atol=1e-6)


def test_a_class_that_a_fold_does_not_train_on_is_reported(some):
    X, y = some[0][:9], ["a"] * 4 + ["b"] * 4 + ["c"]
    with pytest.warns(RuntimeWarning, match=r"Fold 2 has no training images .* 'c'"):
        display = MistakesDisplay.from_estimator(linear(), X, y, cv=KFold(3))
    np.testing.assert_array_equal(display.y_proba[6:, 2], 0)


@pytest.mark.parametrize("shape", ["column", "frame"])
def test_labels_may_be_a_column(some, shape):
    X, y = some
    column = y[:, None] if shape == "column" else pd.DataFrame({"label": y})
    display = MistakesDisplay.from_estimator(linear(), X, column, cv=2)
    np.testing.assert_array_equal(display.y_true, y)


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


def routed_weights(**requests):
    head = LogisticRegression(C=0.01).set_fit_request(**requests)
    return make_pipeline(small(), StandardScaler().set_fit_request(**requests), head)


@pytest.mark.parametrize(
    "case",
    ["groups", "params", "params and weights", "unset", "unknown", "no group splitter"],
)
def test_metadata_is_routed_as_by_cross_val_predict(some, passes, case):
    X, y = some
    groups = np.arange(len(y)) // 4
    weights = {"sample_weight": np.linspace(0.1, 2, len(y))}
    in_params = {"params": {"groups": groups}}
    with config_context(enable_metadata_routing=True):
        model, passed, cv = {
            "groups": lambda: (linear(), {"groups": groups}, GroupKFold(3)),
            "params": lambda: (linear(), in_params, GroupKFold(3)),
            "params and weights": lambda: (
                routed_weights(sample_weight=True),
                {"params": {"groups": groups, **weights}},
                GroupKFold(3),
            ),
            "unset": lambda: (linear(), {"params": weights}, KFold(3)),
            "unknown": lambda: (linear(), {"params": {"x": 1}}, KFold(3)),
            "no group splitter": lambda: (linear(), in_params, 3),
        }[case]()
        rows = small().fit_transform(X)
        passes.clear()
        options = {"cv": cv, **passed}
        if case in ("params", "params and weights"):
            display = MistakesDisplay.from_estimator(model, X, y, **options)
            expected = cross_val_predict(
                model[1:], rows, y, method="predict_proba", **options
            )
            np.testing.assert_allclose(display.y_proba, expected, atol=1e-6)
            return
        with pytest.raises((ValueError, TypeError)) as expected:
            cross_val_predict(model, X, y, method="predict_proba", **options)
        with pytest.raises(expected.type) as raised:
            MistakesDisplay.from_estimator(model, X, y, **options)
    if case == "groups":
        assert sum(passes) == 0
        assert "params={'groups': groups}" in str(raised.value)
        return
    ours = str(raised.value).replace(".from_estimator.fit", ".from_estimator")
    theirs = str(expected.value)
    for name in ("cross_val_predict.fit", "cross_val_predict"):
        theirs = theirs.replace(name, "MistakesDisplay.from_estimator")
    assert ours.startswith(theirs.removesuffix("."))
    if case != "unset":  # the pipeline's fit finds it
        assert sum(passes) == 0


def test_groups_of_layer_scores_are_refused_before_images_pass(some, passes):
    X, y = some
    options = {"groups": np.arange(len(y)) // 4, "cv": GroupKFold(3)}
    with (
        config_context(enable_metadata_routing=True),
        pytest.raises(ValueError, match="groups are one of the params"),
    ):
        LayerScoreDisplay.from_estimator(linear(), X, y, **options)
    assert sum(passes) == 0


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
    with pytest.raises(ValueError, match="All images are predicted correctly"):
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


@pytest.mark.parametrize("layout", ["constrained", None])
def test_titles_stay_above_their_axes(some, layout):
    X, y = some
    y_proba = np.random.default_rng(0).dirichlet([1, 1], len(y))
    figure, axes = plt.subplots(1, 3, figsize=(9, 4), layout=layout)
    for ax in axes[::2]:
        ax.set_title("As wide as the axes are")
    display = MistakesDisplay.from_predictions(X, y, y_proba, n_columns=3, ax=axes[1])
    assert overlapping([ax.title for ax in axes]) == []
    assert overlapping([*display.texts_, display.ax_.title]) == []
    figure.canvas.draw()
    title = display.ax_.title.get_window_extent()
    space = figure.bbox.width * display.ax_.get_position(original=True).width
    assert title.width <= space + 1
    assert "\n" in display.ax_.get_title()
    assert display.ax_.get_title().replace("\n", " ").endswith("with probabilities")
    assert "\n" not in display.plot().ax_.get_title()


def test_labels_say_what_columns_stand_for(some):
    X, y = some
    y_proba = np.random.default_rng(0).dirichlet([1, 1, 1], len(y))
    labels = ["flower", "tree", "china"]
    display = MistakesDisplay.from_predictions(X, y, y_proba, labels=labels)
    assert display.y_pred[0] == labels[y_proba[0].argmax()]
    with pytest.raises(ValueError, match=r"y_true\[0\] is 'china', which is not one"):
        MistakesDisplay.from_predictions(X, y, np.full((40, 2), 0.5), labels=labels[:2])


def test_columns_that_are_named_after_classes_are_those_of_the_classes(some):
    X, y = some
    make = MistakesDisplay.from_predictions
    y_proba = np.random.default_rng(0).dirichlet([1, 1], len(y))
    expected = make(X, y, y_proba)
    columns = {"flower": y_proba[:, 1], "china": y_proba[:, 0]}
    display = make(X, y, pd.DataFrame(columns))
    np.testing.assert_array_equal(display.losses, expected.losses)
    np.testing.assert_array_equal(display.y_pred, expected.y_pred)
    numbers = (y == "flower").astype(int)
    for names in ([1, 0], ["1", "0"]):
        frame = pd.DataFrame(y_proba[:, ::-1], columns=names)
        display = make(X, numbers, frame)
        np.testing.assert_array_equal(display.losses, expected.losses)
        np.testing.assert_array_equal(display.y_pred == 1, expected.y_pred == "flower")
    with pytest.raises(ValueError, match=r"labels has another order.*Leave labels out"):
        make(X, y, pd.DataFrame(columns), labels=["china", "flower"])
    make(X, y, pd.DataFrame(columns), labels=["flower", "china"])


@pytest.mark.parametrize("prefix", ["probability_", "p 1", ""])
@pytest.mark.parametrize("classes", [["0", "10"], [0, 1], ["car", "scar"]])
def test_names_of_classes_rule_after_a_prefix_too(some, classes, prefix):
    X, y = some
    make = MistakesDisplay.from_predictions
    sure = np.where(y == "flower", 0.9, 0.1)
    y = np.where(y == "flower", classes[1], classes[0])
    names = [f"{prefix}{label}" for label in classes]
    frame = pd.DataFrame({names[0]: 1 - sure, names[1]: sure})
    for some_order in (frame, frame.iloc[:, ::-1]):
        np.testing.assert_array_equal(make(X, y, some_order).y_pred, y)
    with pytest.raises(ValueError, match="labels has another order"):
        make(X, y, frame, labels=classes[::-1])


@pytest.mark.parametrize(
    ("classes", "columns"),
    [([0, 1], [0, 1]), ([1.0, 0.0], [0, 1]), ([True, False], [False, True])],
)
def test_names_that_are_numbers_rule_like_others(some, classes, columns):
    """Names in another order than labels are an error, never another picture."""
    X, y = some
    make = MistakesDisplay.from_predictions
    sure = np.where(y == "flower", 0.9, 0.1)
    labels = sorted(classes)
    y = np.where(y == "flower", labels[1], labels[0])
    frame = pd.DataFrame({columns[0]: 1 - sure, columns[1]: sure})
    if classes == labels:
        assert not make(X, y, frame, labels=classes).label_errors.size
        classes = classes[::-1]
    with pytest.raises(ValueError, match="labels has another order"):
        make(X, y, frame, labels=classes)
    for some_order in (frame, frame.iloc[:, ::-1]):
        assert (make(X, y, some_order).self_confidence > 0.8).all()


def test_columns_with_other_names_are_in_the_order_of_the_classes(some):
    X, y = some
    make = MistakesDisplay.from_predictions
    y_proba = np.random.default_rng(0).dirichlet([1, 1], len(y))
    expected = make(X, y, y_proba)
    for names in (["proba_1", "proba_2"], [0, 1]):
        display = make(X, y, pd.DataFrame(y_proba, columns=names))
        np.testing.assert_array_equal(display.losses, expected.losses)
    display = make(X, (y == "flower") + 1, pd.DataFrame(y_proba))  # classes 1 and 2
    np.testing.assert_array_equal(display.losses, expected.losses)
    for names in (["china", "flowers"], ["china", "china"]):
        with pytest.raises(ValueError, match=f"columns 'china', '{names[1]}', but"):
            make(X, y, pd.DataFrame(y_proba, columns=names))


def test_flattened_images_are_drawn_as_the_transformer_reads_them():
    X, y = load_digits(n_class=2, return_X_y=True)
    X, y = X[:30] * 15, y[:30]
    display = MistakesDisplay.from_estimator(linear(flattened_shape=(8, 8)), X, y, cv=2)
    index = display.indices_[0]
    (expected,) = make_thumbnails([X[index].reshape(8, 8)], [0], None)
    np.testing.assert_array_equal(display.ims_[0].get_array(), expected)


def test_folds_that_overlap_or_miss_images_are_refused(some):
    with pytest.raises(ValueError, match=r"X\[\d+\] into \d test folds; expected each"):
        MistakesDisplay.from_estimator(linear(), *some, cv=ShuffleSplit(3))


def test_missing_labels_of_pandas_are_named(some):
    y = pd.Series(some[1], dtype="string")
    y[3] = pd.NA
    with pytest.raises(ValueError, match=r"y\[3\] is <NA>; expected a label"):
        MistakesDisplay.from_estimator(linear(), some[0], y)


def test_an_unreadable_image_is_named_before_the_folds(paths):
    bad = [*paths[:9], b"no image", *paths[9:]]
    model = make_pipeline(small(on_error="nan"), HistGradientBoostingClassifier())
    with (
        pytest.warns(BadImageWarning),
        pytest.raises(ValueError, match=r"X\[9\] has features that are NaN"),
    ):
        MistakesDisplay.from_estimator(model, bad, [0, 1] * 20 + [0])


def test_labels_and_targets_that_are_none_are_named(some, passes):
    X, _ = some
    with pytest.raises(ValueError, match=r"^y is None; pass the labels of X, one"):
        MistakesDisplay.from_estimator(linear(), X, None)
    with pytest.raises(ValueError, match=r"^y_true is None; pass the labels of X"):
        MistakesDisplay.from_predictions(X, None, np.full((40, 2), 0.5))
    grid = GridSearchCV(LogisticRegression(), {"C": [1]})
    for head in (LogisticRegression(), Ridge(), grid):
        name = type(head).__name__
        with pytest.raises(ValueError, match=f"^y is None, but {name} learns from tar"):
            LayerScoreDisplay.from_estimator(make_pipeline(small(), head), X)
    assert not passes
    clusters = make_pipeline(small(), KMeans(2, random_state=0))
    display = LayerScoreDisplay.from_estimator(
        clusters, X, layers=["block1_pool"], poolings="avg", cv=2
    )
    assert np.isfinite(display.scores).all()


def test_mistakes_refuse_what_they_cannot_use(some, paths):
    X, y = some
    good = np.full((40, 2), 0.5)
    with pytest.raises(ValueError, match=r"LinearSVC.*no predict_proba.*Calibrated"):
        MistakesDisplay.from_estimator(make_pipeline(small(), LinearSVC()), X, y)
    with pytest.raises(ValueError, match="X has 40 images and y has 39 labels"):
        MistakesDisplay.from_estimator(linear(), X, y[:39])
    with pytest.raises(ValueError, match=r"Dask collection \(Array\).*X\.compute\(\)"):
        MistakesDisplay.from_predictions(dask.array.from_array(X), y, good)
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
    with pytest.raises(ValueError, match="has 'b' more than once"):
        MistakesDisplay.from_predictions(X, y, good, labels=["b", "b"])
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
        lambda: NeighborsDisplay.from_estimator(small(), X),
        lambda: NeighborsDisplay.from_features(X, np.eye(40)),
        lambda: HistoryDisplay.from_estimator(TFLearnMLPClassifier()),
        lambda: HistoryDisplay({"head": {"loss": [1]}}).plot(),
        lambda: EmbeddingDisplay.from_estimator(small(), X),
    ):
        with pytest.raises(ImportError, match=r'pip install "skvgg\[plotting\]"'):
            call()


# Near duplicates


class NoDatalab:
    """What cleanlab's search asks of a Datalab, which needs Hugging Face's datasets."""

    def get_info(self, name):
        return {}


def with_copies(rows, copies, noise=0.0):
    """Return rows, the last of which are, all but, copies of the first."""
    rng = np.random.default_rng(0)
    copied = rows[copies] + noise * rng.normal(size=rows[copies].shape)
    return np.vstack([rows, copied])


DIGITS = load_digits().data[:300]
ROWS = {
    "digits": DIGITS,
    "exact copies": with_copies(DIGITS, [0, 3, 3, 5]),
    "near copies": with_copies(DIGITS, [1, 2, 2, 7, 250], noise=0.05),
    "few": DIGITS[:12],
    "random": np.random.default_rng(1).normal(size=(200, 30)),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("threshold", [0.13, 0.6])
def test_near_duplicates_are_those_of_cleanlab(name, threshold):
    rows = ROWS[name]
    manager = NearDuplicateIssueManager(
        NoDatalab(), metric="cosine", threshold=threshold
    )
    manager.find_issues(features=rows)
    pairs, pair_distances = find_near_duplicates(
        rows, threshold, "cosine", find_copies(rows)
    )
    expected = {
        (min(i, j), max(i, j))
        for i, others in enumerate(manager.near_duplicate_sets)
        for j in others
    }
    assert set(map(tuple, pairs.tolist())) == expected
    assert len(pairs) == len(expected)
    assert np.all(np.diff(pair_distances) >= 0)
    is_near = np.isin(np.arange(len(rows)), pairs)
    flagged = manager.issues["is_near_duplicate_issue"]
    np.testing.assert_array_equal(is_near, flagged)
    if "copies" in name:
        assert len(pairs) >= 4


# NeighborsDisplay


@pytest.fixture
def parts(tiles):
    """Two parts; X_test[2] is a copy of X[5], and X[9] all but one of X[8]."""
    X, X_test = tiles[0][:24].copy(), tiles[0][24:34].copy()
    X_test[2] = X[5]
    X[9] = X[8]
    X[9, 0, 0] ^= 1
    return X, X_test


def test_neighbors_are_those_of_scikit_learn(parts):
    X, X_test = parts
    display = NeighborsDisplay.from_estimator(small(), X, X_test, n_neighbors=4)
    rows = small().transform(np.concatenate(parts)).astype(np.float64)
    search = NearestNeighbors(n_neighbors=4, metric="cosine").fit(rows)
    distances, neighbors = search.kneighbors()
    np.testing.assert_allclose(display.distances, distances, atol=1e-6)
    nearest = distances[:, 0] > 1e-5  # what is exact is in any order
    np.testing.assert_array_equal(display.neighbors[nearest, 0], neighbors[nearest, 0])


@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
@pytest.mark.parametrize("metric", ["euclidean", "l2", "minkowski", "cosine"])
def test_copies_of_all_images_are_found(metric, scale):
    rows = scale * np.random.default_rng(0).random((40, 512))
    rows = np.concatenate([rows, rows])
    pairs, _ = find_near_duplicates(rows, 0.13, metric, find_copies(rows))
    np.testing.assert_array_equal(
        np.unique(pairs, axis=0), [[i, i + 40] for i in range(40)]
    )


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("noise", [1e-2, 1e-7, 0.0])
def test_leaks_are_found_however_many_pictures_have_copies(metric, share, noise):
    """Compared with the groups that the copies were made in."""
    rng = np.random.default_rng(0)
    originals = rng.random((30, 256))
    groups = [[i] for i in range(30)]
    rows = [*originals]
    for i in range(int(30 * share)):
        for _ in range(1 + i % 4):
            groups[i].append(len(rows))
            rows.append(originals[i] * (1 + noise * rng.standard_normal(256)))
    rows = np.array(rows)
    expected = {pair for group in groups for pair in itertools.combinations(group, 2)}
    pairs, _ = find_near_duplicates(rows, 0.13, metric, find_copies(rows))
    assert set(map(tuple, pairs.tolist())) == expected


def own_metric(one, other):
    return 1.0 + np.abs(one - other).sum()


@pytest.mark.parametrize(
    "metric",
    ["cosine", "euclidean", "sqeuclidean", "manhattan", "correlation", own_metric],
)
@pytest.mark.parametrize("value", [0.0, 1e3])
def test_copies_are_near_duplicates_with_every_metric(metric, value):
    """The correlation and the angle of constant rows are not defined."""
    rows = 1e3 * np.random.default_rng(0).random((30, 16))
    rows[[4, 9, 21]] = value
    rows[9] = -rows[9] if value == 0 else rows[9]
    rows[17] = rows[2]
    expected = {(4, 9), (4, 21), (9, 21), (2, 17)}
    distances, neighbors = find_neighbors(rows, 2, metric, find_copies(rows))
    for row, others in ((4, {9, 21}), (9, {4, 21}), (21, {4, 9})):
        assert set(neighbors[row].tolist()) == others
        assert distances[row].tolist() == [0, 0]
    assert (neighbors[2, 0], neighbors[17, 0]) == (17, 2)
    for threshold in (0.0, 0.05):
        pairs, pair_distances = find_near_duplicates(
            rows, threshold, metric, find_copies(rows)
        )
        assert set(map(tuple, pairs.tolist())) == expected
        assert len(pairs) == 4
        assert not pair_distances.any()


def test_each_row_is_hashed_once(parts, monkeypatch):
    hashed = []
    monkeypatch.setattr(
        _duplicates, "sha256", lambda row: hashed.append(row) or sha256(row)
    )
    display = NeighborsDisplay.from_estimator(small(), *parts)
    assert [5, 26] in display.pairs.tolist()
    assert len(hashed) == len(parts[0]) + len(parts[1])


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "manhattan"])
@pytest.mark.parametrize("scale", [1e-9, 1.0])
def test_features_far_from_zero_are_no_copies(metric, scale):
    some = np.random.default_rng(0).normal(1, 1, (14, 64))
    rows = scale * (np.concatenate([some, some]) + 1e6)
    pairs, _ = find_near_duplicates(rows, 0.13, metric, find_copies(rows))
    np.testing.assert_array_equal(pairs, [(i, i + 14) for i in range(14)])


def test_copies_beyond_the_number_of_neighbors_are_cut_off():
    rows = np.random.default_rng(0).random((8, 4))
    rows[:4] = 0
    distances, neighbors = find_neighbors(rows, 2, "cosine", find_copies(rows))
    for row in range(4):
        assert set(neighbors[row].tolist()) < set(range(4)) - {row}
    distances, neighbors = find_neighbors(rows, 20, "cosine", find_copies(rows))
    assert neighbors.shape == (8, 7)
    for row in range(8):
        assert sorted([row, *neighbors[row]]) == list(range(8))
    np.testing.assert_array_equal(distances[:4, :3], 0)
    np.testing.assert_allclose(distances[:4, 3:], 1)


def test_duplicates_across_the_parts_come_first(parts, tmp_path):
    X, X_test = parts
    test_paths = [tmp_path / f"{i}.png" for i in range(len(X_test))]
    for path, pixels in zip(test_paths, X_test, strict=True):
        Image.fromarray(pixels).save(path)
    y, y_test = ["a"] * len(X), ["b"] * len(X_test)
    display = NeighborsDisplay.from_estimator(
        small(), X, test_paths, y=y, y_test=y_test
    )
    table = display.to_frame()
    assert table.loc[0].to_dict() == {
        "part": "X",
        "index": 5,
        "other_part": "X_test",
        "other_index": 2,
        "distance": pytest.approx(0, abs=1e-9),
        "is_across": True,
        "label": "a",
        "path": None,
        "other_label": "b",
        "other_path": str(test_paths[2]),
    }
    near = table[["part", "index", "other_part", "other_index"]].to_numpy().tolist()
    assert ["X", 8, "X", 9] in near
    assert table["is_across"].is_monotonic_decreasing
    assert display.indices_[0] == len(X) + 2
    texts = [text.get_text() for text in display.texts_[:2]]
    assert texts == ["X_test[2]\nb", f"X[5]: {display.distances[26, 0]:.2g}\na"]
    assert overlapping([*display.texts_, display.ax_.title]) == []
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend[0] == "image"
    assert "near duplicate, other part" in legend


@pytest.mark.parametrize("kind", ["transformer", "pipeline", "search", "tuned"])
def test_features_of_every_model_are_computed_once(parts, tiles, passes, kind):
    X, X_test = parts
    y = tiles[1][: len(X)]
    model = {
        "transformer": small(),
        "pipeline": make_pipeline(small(), LogisticRegression()),
        "search": GridSearchCV(linear(), {"logisticregression__C": [0.1]}, cv=2),
        "tuned": VGG19Classifier(
            None, layer="block2_pool", trainable=None, image_size=32, random_state=0
        ),
    }[kind]
    if kind in ("search", "tuned"):
        model.fit(X, y)
    passes.clear()
    display = NeighborsDisplay.from_estimator(model, X, X_test)
    assert sum(passes) == len(X) + len(X_test)
    rows, test_rows = small().transform(X), small().transform(X_test)
    if kind == "search":
        scaler = model.best_estimator_[1]
        rows, test_rows = scaler.transform(rows), scaler.transform(test_rows)
    expected = NeighborsDisplay.from_features(X, rows, X_test, test_rows)
    np.testing.assert_allclose(display.distances, expected.distances, atol=1e-6)


def test_a_transformer_that_is_not_fitted_is_fitted_on_a_copy(some):
    X, _ = some
    model = linear()
    display = NeighborsDisplay.from_estimator(model, X)
    assert not hasattr(model[1], "mean_")
    rows = StandardScaler().fit_transform(small().transform(X))
    expected = NeighborsDisplay.from_features(X, rows)
    np.testing.assert_allclose(display.distances, expected.distances, atol=1e-6)


def test_tables_of_nothing_have_their_columns(photos):
    X = np.stack([photos[0][:32, :32], photos[1][:32, :32], photos[0][200:232, :32]])
    display = NeighborsDisplay.from_features(X, np.eye(3), y=[0, 1, 2])
    table = display.to_frame()
    assert len(table) == len(display.pairs) == 0
    assert {"part", "index", "distance", "is_across", "label", "path"} <= set(table)
    assert len(display.indices_) == 3
    display = MistakesDisplay.from_predictions(X, [0, 1, 1], np.eye(2)[[0, 1, 1]])
    assert display.to_frame().shape == (0, 5)
    assert display.ax_.get_legend() is None


def test_the_neighbors_of_a_chosen_image_are_drawn(parts):
    X, X_test = parts
    display = NeighborsDisplay.from_estimator(small(), X, X_test, indices=[26])
    _, ax = plt.subplots()
    display.plot(ax, indices=3)
    assert display.indices_.tolist() == [3]
    assert display.ax_ is ax
    assert [text.get_text().split(":")[0] for text in display.texts_] == [
        f"X[{i}]" if i < 24 else f"X_test[{i - 24}]" for i in [3, *display.neighbors[3]]
    ]
    expected = make_thumbnails(X, [3], None)[0]
    np.testing.assert_array_equal(display.ims_[0].get_array(), expected)


def test_neighbors_refuse_what_they_cannot_use(parts, tmp_path):
    X, X_test = parts
    make = NeighborsDisplay.from_estimator
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"X_test\[1\] \('.*bad\.png'\): not an image"):
        make(small(), X, [X_test[0], bad])
    with pytest.raises(FileNotFoundError, match=r"X_test\[0\] .*no such file"):
        make(small(), X, [tmp_path / "none.png"])
    with pytest.raises(ValueError, match="only one image"):
        make(small(), X[:1])
    with pytest.raises(ValueError, match=r"indices=\[40\]: 40 is invalid; .* 0 to 23"):
        make(small(), X, indices=[40])
    with pytest.raises(ValueError, match="threshold=-1"):
        make(small(), X, threshold=-1)
    with pytest.raises(ValueError, match="y and y_test"):
        make(small(), X, X_test, y=np.zeros(24))
    with pytest.raises(ValueError, match="X_test has 10 images and y_test has 3"):
        make(small(), X, X_test, y=np.zeros(24), y_test=np.zeros(3))
    with pytest.raises(ValueError, match=r"a transformer of images.*got LinearSVC"):
        make(LinearSVC(), X)
    with pytest.raises(ValueError, match="24 images and there are 3 rows"):
        NeighborsDisplay.from_features(X, np.eye(3))
    rows = np.eye(24)
    rows[4, 2] = np.nan
    with pytest.raises(ValueError, match=r"X\[4\] has features that are NaN"):
        NeighborsDisplay.from_features(X, rows)
    with pytest.raises(ValueError, match="features_test has 3 columns; expected 24"):
        NeighborsDisplay.from_features(X, np.eye(24), X_test, np.ones((10, 3)))


def test_no_images_of_the_second_part_are_named(parts):
    with pytest.raises(ValueError, match=r"(?s)X has no images.*X is X_test here"):
        NeighborsDisplay.from_estimator(small(), parts[0], [])
    with pytest.raises(ValueError, match=": X has no images"):
        NeighborsDisplay.from_estimator(small(), [], parts[1])


@pytest.mark.parametrize("display", [NeighborsDisplay, EmbeddingDisplay])
def test_a_search_without_a_best_estimator_says_why(some, display):
    X, y = some
    grid = {"logisticregression__C": [1.0]}
    search = GridSearchCV(linear(), grid, cv=2, refit=False)
    transformers = make_pipeline(small(), StandardScaler())
    for unfitted in (search, GridSearchCV(transformers, {}, cv=2)):
        with pytest.raises(NotFittedError, match="This GridSearchCV is not fitted"):
            display.from_estimator(unfitted, X)
    with pytest.raises(NotFittedError, match="This VGG19Classifier instance is not"):
        display.from_estimator(tuned(), X)
    with pytest.raises(ValueError, match="it was fitted with refit=False"):
        display.from_estimator(search.fit(X, y), X)


def test_labels_of_neighbors_may_be_a_column(parts):
    X, X_test = parts
    display = NeighborsDisplay.from_features(
        X,
        np.eye(24),
        X_test,
        np.eye(24)[:10],
        y=pd.DataFrame({"label": ["light"] * 24}),
        y_test=np.array([["dark"]] * 10),
    )
    assert display.labels == ["light"] * 24 + ["dark"] * 10


def test_tables_of_several_columns_say_what_can_be_done(some, paths):
    y = some[1]
    X = pd.DataFrame({"path": paths, "size": np.arange(len(y)) * 1.0})
    model = make_pipeline(
        ColumnTransformer(
            [("images", small(), ["path"]), ("size", "passthrough", [1])]
        ),
        GaussianNB(),
    ).fit(X, y)
    names = {
        "model": model,
        "X": X,
        "y": y,
        "PCA": PCA,
        "cross_val_predict": cross_val_predict,
    }
    for display in (MistakesDisplay, NeighborsDisplay, EmbeddingDisplay):
        names[display.__name__] = display
        for estimator in (model, GridSearchCV(model, {}, cv=2).fit(X, y)):
            with pytest.raises(ValueError, match="DataFrame of 2 columns") as raised:
                display.from_estimator(estimator, X, y=y)
            advice = str(raised.value).split("is that column: ")[1]
            advice = advice.removesuffix(", for a fitted pipeline.").removesuffix(".")
            assert isinstance(eval(advice, names), display)
    with pytest.raises(ValueError, match=r"Select it: X\[\['path'\]\]"):
        EmbeddingDisplay.from_estimator(small(), X)


# HistoryDisplay


def tuned(make=VGG19Classifier, **params):
    defaults = {"layer": "block2_pool", "trainable": "block2", "image_size": 32}
    return make(None, max_iter=3, random_state=0, **{**defaults, **params})


@pytest.mark.parametrize("wrap", ["head", "pipeline", "search"])
def test_the_history_of_a_dense_head_is_drawn(wrap):
    X, y = load_iris(return_X_y=True)
    head = TFLearnMLPClassifier(
        (8,), max_iter=6, early_stopping=True, n_iter_no_change=9, random_state=0
    )
    model = {
        "head": head,
        "pipeline": make_pipeline(StandardScaler(), head),
        "search": GridSearchCV(
            make_pipeline(StandardScaler(), head),
            {"tflearnmlpclassifier__dropout": [0.0]},
            cv=2,
        ),
    }[wrap].fit(X, y)
    display = HistoryDisplay.from_estimator(model)
    fitted = {
        "head": lambda: model,
        "pipeline": lambda: model[-1],
        "search": lambda: model.best_estimator_[-1],
    }[wrap]()
    assert set(display.lines_) == {"loss", "val_loss", "accuracy", "val_accuracy"}
    for name, (line,) in display.lines_.items():
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 7))
        np.testing.assert_array_equal(line.get_ydata(), fitted.history_[name])
    assert display.best_score == fitted.best_validation_score_
    scores = fitted.history_["val_accuracy"]
    assert display.best_epoch == scores.index(max(scores)) + 1
    ((x,), (score,)) = display.best_line_.get_data()
    assert (x, score) == (display.best_epoch, max(scores))
    assert display.lines_["loss"][0].axes is display.ax_
    assert display.lines_["accuracy"][0].axes is display.score_ax_
    assert f"epoch {display.best_epoch}, " in display.ax_.get_title()


def test_nothing_is_best_where_nothing_was_held_out():
    X, y = load_iris(return_X_y=True)
    head = TFLearnMLPRegressor((4,), max_iter=8, random_state=0).fit(X, y)
    display = HistoryDisplay.from_estimator(head)
    assert display.score_name == "r2"
    assert display.best_epoch is display.best_score is display.best_line_ is None
    assert set(display.lines_) == {"loss", "r2"}


def test_head_and_layers_are_stages(tiles):
    X, y = tiles[0][:30], tiles[1][:30]
    model = tuned(head=(4,), early_stopping=True, validation_fraction=0.3).fit(X, y)
    display = HistoryDisplay.from_estimator(model)
    assert list(display.histories) == ["head", "block2"]
    n_head = len(model.head_.history_["loss"])
    head, layers = display.lines_["loss"]
    np.testing.assert_array_equal(head.get_ydata(), model.head_.history_["loss"])
    np.testing.assert_array_equal(layers.get_ydata(), model.history_["loss"])
    n_layers = len(model.history_["loss"])
    np.testing.assert_array_equal(
        layers.get_xdata(), n_head + np.arange(1, n_layers + 1)
    )
    assert display.best_score == model.best_validation_score_
    names = [text.get_text().strip() for text in display.ax_.texts]
    assert names == ["← head", "block2 →"]
    assert overlapping([*display.ax_.texts, display.ax_.title]) == []


def test_a_linear_head_has_no_epochs(tiles):
    X, y = tiles[0][:20], tiles[1][:20]
    numbers = X.mean((1, 2, 3))
    display = HistoryDisplay.from_estimator(tuned(VGG19Regressor).fit(X, numbers))
    assert list(display.histories) == ["block2"]
    assert len(display.ax_.texts) == 0
    with pytest.raises(ValueError, match="no epochs: with trainable=None"):
        HistoryDisplay.from_estimator(tuned(trainable=None).fit(X, y))


def test_weights_from_before_the_first_epoch_are_epoch_zero():
    history = {"loss": [1, 2], "accuracy": [0.5, 0.4], "val_accuracy": [0.6, 0.5]}
    display = HistoryDisplay({"block5": history}, best_validation_score=0.7).plot()
    assert (display.best_epoch, display.best_score) == (0, 0.7)
    np.testing.assert_array_equal(display.best_line_.get_data(), [[0], [0.7]])
    assert HistoryDisplay({"block5": history}).best_epoch == 1


def test_the_best_epoch_is_the_one_that_was_kept_where_scores_are_equal(tiles):
    """The head alone is as good as any epoch, so that its layers are kept."""
    X, y = tiles[0][:30], tiles[1][:30]
    options = {"validation_fraction": 0.3, "learning_rate_init": 1e-9}
    model = tuned(early_stopping=True, **options).fit(X, y)
    assert set(model.history_["val_accuracy"]) == {model.best_validation_score_}
    assert model.best_epoch_ == 0
    display = HistoryDisplay.from_estimator(model)
    assert (display.best_epoch, display.best_score) == (0, model.best_validation_score_)
    assert display.best_line_.get_xdata() == [0]
    model = pickle.loads(pickle.dumps(model))
    assert HistoryDisplay.from_estimator(model).best_epoch == 0
    assert not hasattr(model.set_params(early_stopping=False).fit(X, y), "best_epoch_")


@pytest.mark.parametrize("make", [TFLearnMLPClassifier, TFLearnMLPRegressor])
def test_the_best_epoch_is_of_the_last_fit(make):
    """The first fit reaches the score of the second one, too."""
    X, y = load_iris(return_X_y=True)
    y = (y == 0).astype(int) if make is TFLearnMLPClassifier else X[:, 0]
    head = make((8,), max_iter=3, early_stopping=True, warm_start=True, random_state=0)
    kept = [head.fit(X, y).best_validation_score_]
    assert head.history_[f"val_{_score(head)}"][head.best_epoch_ - 1] == kept[0]
    kept.append(head.fit(X, y).best_validation_score_)
    scores = head.history_[f"val_{_score(head)}"]
    assert len(scores) == 6
    expected = 3 + scores[3:].index(max(scores[3:])) + 1
    display = HistoryDisplay.from_estimator(head)
    assert head.best_epoch_ == display.best_epoch == expected
    assert display.best_score == kept[1]
    if make is TFLearnMLPClassifier:
        assert kept[1] in scores[:3]
    head.partial_fit(X, y)
    assert not hasattr(head, "best_epoch_")
    assert HistoryDisplay.from_estimator(head).best_score == max(scores)


def _score(head):
    return "accuracy" if isinstance(head, TFLearnMLPClassifier) else "r2"


def test_heads_from_before_the_epoch_was_kept_are_drawn():
    X, y = load_iris(return_X_y=True)
    head = TFLearnMLPClassifier((4,), max_iter=4, early_stopping=True, random_state=0)
    del head.fit(X, y).best_epoch_
    scores = head.history_["val_accuracy"]
    expected = scores.index(max(scores)) + 1
    assert HistoryDisplay.from_estimator(head).best_epoch == expected


def test_what_was_not_measured_in_some_epochs_is_a_gap():
    X, y = load_iris(return_X_y=True)
    head = TFLearnMLPClassifier((4,), max_iter=2, warm_start=True, random_state=0)
    head.fit(X, y)
    head.set_params(validation_fraction=0.2).fit(X, y)
    display = HistoryDisplay.from_estimator(head)
    (line,) = display.lines_["val_accuracy"]
    assert np.isnan(line.get_ydata()).tolist() == [True, True, False, False]
    assert display.best_epoch in (3, 4)


def test_histories_refuse_what_has_none():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(NotFittedError):
        HistoryDisplay.from_estimator(TFLearnMLPClassifier())
    with pytest.raises(ValueError, match="GaussianNB has no history_"):
        HistoryDisplay.from_estimator(GaussianNB().fit(X, y))
    for histories in ({}, {"loss": [1.0, 0.5]}, {"head": {"accuracy": [1]}}, [[1]]):
        with pytest.raises(
            ValueError, match=r"histories=.*\{\"head\": head.history_\}"
        ):
            HistoryDisplay(histories)
    for epoch in (-1, 3, 1.5):
        with pytest.raises(ValueError, match=f"best_epoch={epoch}; .* 1 to 2, or 0"):
            HistoryDisplay({"head": {"loss": [1, 2]}}, best_epoch=epoch)


# EmbeddingDisplay


def test_the_map_is_that_of_scikit_learn(some, passes):
    X, y = some
    display = EmbeddingDisplay.from_estimator(small(), X, y)
    assert sum(passes) == len(X)
    rows = small().transform(X)
    expected = PCA(2, random_state=0).fit_transform(rows.astype(np.float64))
    np.testing.assert_allclose(display.embedding, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(display.points_.get_offsets(), display.embedding)
    assert display.ax_.get_xlabel() == "PCA 1"


def test_the_map_is_made_by_another_method_which_stays_as_it_was(some):
    X, y = some
    flat = FunctionTransformer(lambda images: images.reshape(len(images), -1))
    method = TSNE(perplexity=5, random_state=0)
    display = EmbeddingDisplay.from_estimator(flat, X, y, method=method)
    assert not hasattr(method, "embedding_")
    expected = clone(method).fit_transform(X.reshape(40, -1).astype(np.float64))
    np.testing.assert_array_equal(display.embedding, expected)
    assert display.ax_.get_ylabel() == "TSNE 2"


def test_frames_points_and_legend_have_the_colour_of_the_class(some):
    X, y = some
    display = EmbeddingDisplay.from_estimator(small(), X, y)
    legend = display.ax_.get_legend()
    colors = {
        text.get_text(): mpl.colors.to_rgba(handle.get_color())
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    }
    assert set(colors) == {"china", "flower"}
    assert colors["china"] != colors["flower"]
    for index, box in zip(display.indices_, display.boxes_, strict=True):
        assert box.patch.get_edgecolor() == colors[y[index]]
        assert box.xyann == pytest.approx(display.embedding[index])
    for label, color in zip(y, display.points_.get_facecolors(), strict=True):
        assert tuple(color) == colors[label]
    without = EmbeddingDisplay.from_estimator(small(), X)
    assert without.ax_.get_legend() is None


def test_thumbnails_do_not_cover_each_other_and_leave_no_room(some):
    X, y = some
    display = EmbeddingDisplay.from_estimator(small(), X, y, thumbnail_size=40)
    assert 3 < len(display.boxes_) < len(X)
    assert overlapping(display.boxes_) == []
    places = display.ax_.transData.transform(display.embedding)
    drawn = places[display.indices_]
    nearest = np.abs(places[:, None] - drawn[None]).max(axis=2).min(axis=1)
    assert nearest.max() < 47 * display.figure_.dpi / 72
    index = display.indices_[1]
    (expected,) = make_thumbnails(X, [index], None, side=80)
    image = display.boxes_[1].offsetbox.get_data()
    np.testing.assert_array_equal(image, expected)
    _, ax = plt.subplots()
    assert len(display.plot(ax, max_images=2).boxes_) == 2
    assert display.ax_ is ax


def test_many_classes_and_odd_names_are_drawn(some):
    X, _ = some
    names = np.array([f"_${i}_x$" + "y" * (20 + i) for i in range(13)])
    display = EmbeddingDisplay.from_estimator(small(), X, names[np.arange(40) % 13])
    display.figure_.canvas.draw()
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert len(texts) == 13
    assert max(map(len, texts)) == 30
    colors = {tuple(color) for color in display.points_.get_facecolors()}
    assert len(colors) == 13
    display.plot(cmap="viridis")
    colors = {tuple(color) for color in display.points_.get_facecolors()}
    assert len(colors) == 13


def test_a_map_that_cannot_be_drawn_leaves_no_figure(some):
    display = EmbeddingDisplay.from_estimator(small(), *some)
    plt.close("all")
    with pytest.raises(ValueError, match="nope"):
        display.plot(cmap="nope")
    broken = EmbeddingDisplay(embedding=[[0, 0], [1, 1]], images=[b"no", b"image"])
    with pytest.raises(ValueError, match=r"X\[0\]"):
        broken.plot()
    with pytest.raises(ValueError, match="thumbnail_size='x'; expected a positive"):
        display.plot(thumbnail_size="x")
    assert plt.get_fignums() == []


BAD_PARAMETERS = [
    (MistakesDisplay, {"n_images": 0}, "n_images=0"),
    (MistakesDisplay, {"n_columns": 1.5}, "n_columns=1.5"),
    (NeighborsDisplay, {"n_images": 0}, "n_images=0"),
    (NeighborsDisplay, {"n_neighbors": 0}, "n_neighbors=0"),
    (NeighborsDisplay, {"threshold": -1}, "threshold=-1"),
    (NeighborsDisplay, {"metric": "nonsense"}, "'metric' parameter .*'nonsense'"),
    (NeighborsDisplay, {"metric": "precomputed"}, "expected a metric of features"),
    (NeighborsDisplay, {"indices": [40]}, "40 is invalid"),
    (EmbeddingDisplay, {"max_images": 0}, "max_images=0"),
    (EmbeddingDisplay, {"thumbnail_size": -1}, "thumbnail_size=-1"),
    (EmbeddingDisplay, {"thumbnail_size": np.inf}, "thumbnail_size=inf"),
    (EmbeddingDisplay, {"cmap": "nope"}, "nope"),
    (EmbeddingDisplay, {"method": StandardScaler}, "method|clone"),
    (EmbeddingDisplay, {"method": LogisticRegression()}, "has no fit_transform"),
    (LayerScoreDisplay, {"scoring": "nonsense"}, "nonsense"),
    (LayerScoreDisplay, {"layers": ["nope"]}, "unknown: 'nope'"),
    (SaliencyDisplay, {"cmap": "nope"}, "nope"),
    (SaliencyDisplay, {"alpha": 2}, r"alpha=2; expected a number in 0\.\.1"),
    *(
        (
            display,
            {"ax": np.array([1, 2])},
            r"ax is an array of shape \(2,\).*flat\[0\]",
        )
        for display in (
            MistakesDisplay,
            NeighborsDisplay,
            EmbeddingDisplay,
            LayerScoreDisplay,
            SaliencyDisplay,
        )
    ),
]


@pytest.mark.parametrize(("display", "options", "message"), BAD_PARAMETERS, ids=str)
def test_parameters_are_checked_before_images_pass_the_network(
    some, passes, display, options, message
):
    X, y = some
    model = linear()
    args = {NeighborsDisplay: (X,), SaliencyDisplay: (X[0],)}.get(display, (X, y))
    if display is SaliencyDisplay:
        model.fit(X, y)
        options = {"layer": "block2_pool", **options}
    passes.clear()
    with pytest.raises((ValueError, TypeError), match=message):
        display.from_estimator(model, *args, **options)
    assert sum(passes) == 0
    assert plt.get_fignums() == []


def test_the_axes_are_checked_by_each_plot():
    display = HistoryDisplay({"head": {"loss": [2, 1]}})
    with pytest.raises(
        ValueError, match=r"HistoryDisplay\.plot: ax is a str; expected"
    ):
        display.plot("left")
    _, axes = plt.subplots(1, 2)
    with pytest.raises(ValueError, match=r"HistoryDisplay\.plot: ax is an array of"):
        display.plot(axes)
    assert display.plot(axes.flat[0]).ax_ is axes[0]


def test_maps_refuse_what_they_cannot_use(some, paths):
    X, y = some
    make = EmbeddingDisplay.from_estimator
    with pytest.raises(ValueError, match=r"PCA.* shape \(40, 3\).*n_components=2"):
        make(small(), X, y, method=PCA(3))
    with pytest.raises(ValueError, match="y has 25 classes"):
        make(small(), [*X, *X[:10]], (np.arange(50) // 2).astype(str))
    with pytest.raises(ValueError, match="max_images=0"):
        make(small(), X, max_images=0)
    with pytest.raises(ValueError, match="thumbnail_size=0"):
        make(small(), X, thumbnail_size=0)
    with pytest.raises(ValueError, match="only one image; expected at least two"):
        make(small(), X[:1])
    with open(paths[3], "r+b") as file:
        file.truncate(100)
    with pytest.raises(ValueError, match=r"X\[3\] \('.*03\.png'\): not an image"):
        make(small(), paths, y)
    with (
        pytest.raises(ValueError, match=r"X\[3\] has features that are NaN"),
        pytest.warns(UserWarning, match=r"03\.png"),
    ):
        make(small(on_error="nan"), paths, y)


# Pipelines with steps that only change what is fitted on


class Doubling(BaseEstimator):
    """Like a sampler of imbalanced-learn: no transform."""

    def fit(self, X, y=None):
        return self

    def fit_resample(self, X, y):
        return np.vstack([X, X]), np.concatenate([y, y])


class SamplingPipeline(Pipeline):
    """Like imbalanced-learn's: samplers change rows in fit, and nothing afterwards."""

    def fit(self, X, y=None):
        for _, step in self.steps[:-1]:
            if hasattr(step, "fit_resample"):
                X, y = step.fit_resample(X, y)
            else:
                X = step.fit(X, y).transform(X)
        self.steps[-1][1].fit(X, y)
        return self

    def _iter(self, with_final=True, filter_passthrough=True):
        for place, name, step in super()._iter(with_final, filter_passthrough):
            if not hasattr(step, "fit_resample"):
                yield place, name, step


@pytest.mark.parametrize("n_before", [0, 1])
def test_samplers_in_a_pipeline_are_skipped_where_nothing_is_fitted(some, n_before):
    X, y = some
    transformer = VGG19Features(
        None, layer="block3_pool", pooling="avg", image_size=32, random_state=0
    )
    scalers = [("scaler", StandardScaler())][:n_before]
    steps = [("features", transformer), *scalers]
    last = ("model", LogisticRegression(max_iter=1000))
    model = SamplingPipeline([*steps, ("sampler", Doubling()), last]).fit(X, y)
    plain = without_samplers(model)
    assert [name for name, _ in plain.steps] == [name for name, _ in [*steps, last]]
    display = SaliencyDisplay.from_estimator(model, X[0])
    expected = SaliencyDisplay.from_estimator(plain, X[0])
    np.testing.assert_array_equal(display.saliency, expected.saliency)
    found = NeighborsDisplay.from_estimator(model, X[:8])
    np.testing.assert_array_equal(
        found.neighbors, NeighborsDisplay.from_estimator(plain, X[:8]).neighbors
    )


# Targets of a regression


@pytest.mark.parametrize("y", [np.linspace(0, 9.5, 40), np.arange(40) % 2])
def test_numbers_of_dtype_object_are_numbers(some, y):
    X, _ = some
    one, other = (
        EmbeddingDisplay.from_estimator(small(), X, labels)
        for labels in (y, y.astype(object))
    )
    assert other.labels.dtype == y.dtype
    np.testing.assert_array_equal(
        other.points_.get_facecolors(), one.points_.get_facecolors()
    )
    even = (y > y.mean()).astype(object)
    y_proba = np.full((40, 2), 0.5)
    np.testing.assert_array_equal(
        MistakesDisplay.from_predictions(X, even, y_proba).y_true, even
    )


@pytest.mark.parametrize(
    "y", [np.linspace(0, 9.5, 40), np.arange(40), np.r_[np.nextafter(0, 1), [2.5] * 39]]
)
def test_numbers_are_shown_by_a_colormap(some, y):
    X, _ = some
    display = EmbeddingDisplay.from_estimator(small(), X, y)
    expected = mpl.colormaps["viridis"](mpl.colors.Normalize(y.min(), y.max())(y))
    np.testing.assert_allclose(display.points_.get_facecolors(), expected)
    assert display.colorbar_.vmin == y.min()
    assert display.colorbar_.vmax == y.max()
    assert display.ax_.get_legend() is None
    edges = [box.patch.get_edgecolor() for box in display.boxes_]
    np.testing.assert_allclose(edges, expected[display.indices_])
    again = EmbeddingDisplay(embedding=display.embedding, images=X, labels=y)
    reds = mpl.colormaps["Reds"](mpl.colors.Normalize(y.min(), y.max())(y))
    np.testing.assert_allclose(again.plot(cmap="Reds").points_.get_facecolors(), reds)


def test_a_regressor_is_told_what_fits_regressors(some):
    X, y = some
    for model in (make_pipeline(small(), Ridge()), VGG19Regressor()):
        with pytest.raises(ValueError, match=r"is a regressor.*PredictionErrorDisplay"):
            MistakesDisplay.from_estimator(model, X, np.linspace(0, 1, len(y)))
