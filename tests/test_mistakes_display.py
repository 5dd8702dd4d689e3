"""MistakesDisplay: the largest losses, and labels that are probably wrong."""

from collections import Counter

import dask.array
import numpy as np
import pandas as pd
import pytest
from cleanlab.filter import find_label_issues
from matplotlib import pyplot as plt
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
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
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skvgg import (
    BadImageWarning,
    VGG19Classifier,
)
from skvgg.plotting import (
    MistakesDisplay,
)
from skvgg.plotting._label_errors import find_label_errors
from skvgg.plotting._thumbnails import make_thumbnails

from .displays import linear, overlapping, small


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


def test_mistakes_are_by_the_loss_of_models_that_have_not_seen_the_image(mislabeled):
    X, y = mislabeled
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


def test_correct_predictions_among_the_largest_losses_say_so(mislabeled):
    X, y_proba = mislabeled[0][:3], [[0.6, 0.4], [0.3, 0.7], [0.9, 0.1]]
    y, labels = ["a", "a", "a"], ["a", "b"]
    display = MistakesDisplay.from_predictions(X, y, y_proba, labels=labels)
    assert [text.get_text() for text in display.texts_] == [
        "a 0.30\n→ b 0.70",
        "a 0.60\ncorrect",
        "a 0.90\ncorrect",
    ]


def test_labels_that_were_swapped_are_suspected_and_listed(
    mislabeled, mislabeled_paths
):
    _, y = mislabeled
    display = MistakesDisplay.from_estimator(linear(), mislabeled_paths, y, cv=4)
    table = display.to_frame()
    assert {4, 7} <= set(table.index)
    assert list(table.index) == display.label_errors.tolist()
    assert table["self_confidence"].is_monotonic_increasing
    assert table.loc[4].to_dict() == {
        "given_label": "flower",
        "predicted_label": "china",
        "self_confidence": display.y_proba[4, 1],
        "predicted_probability": display.y_proba[4, 0],
        "path": mislabeled_paths[4],
    }
    pixels = MistakesDisplay.from_predictions(mislabeled[0], y, display.y_proba)
    pd.testing.assert_frame_equal(
        pixels.to_frame(), table.assign(path=[None] * len(table))
    )


@pytest.mark.parametrize("has_memory", [False, True])
def test_each_image_goes_through_the_network_once(
    mislabeled, passes, tmp_path, has_memory
):
    X, y = mislabeled
    model = linear(memory=tmp_path if has_memory else None)
    MistakesDisplay.from_estimator(model, X, y)
    assert sum(passes) == len(X)
    assert not hasattr(model[0], "weights_fingerprint_")


def test_a_search_over_pipelines_sends_each_image_through_the_network_once(
    mislabeled, passes
):
    X, y = mislabeled
    search = GridSearchCV(linear(), {"logisticregression__C": [0.01, 0.1]}, cv=2)
    display = MistakesDisplay.from_estimator(search, X, y, cv=2)
    assert sum(passes) == len(X)
    assert search.estimator[0].memory is None
    remembered = cross_val_predict(search, X, y, cv=2, method="predict_proba")
    np.testing.assert_allclose(display.y_proba, remembered, rtol=1e-5, atol=1e-7)


def test_images_are_fine_tuned_on_in_each_fold(mislabeled, passes):
    X, y = mislabeled
    model = VGG19Classifier(
        None, layer="block2_pool", trainable=None, image_size=32, random_state=0
    )
    display = MistakesDisplay.from_estimator(model, X, y, cv=2)
    assert sum(passes) == len(X)
    expected = cross_val_predict(model, X, y, cv=2, method="predict_proba")
    np.testing.assert_allclose(display.y_proba, expected, rtol=1e-4, atol=1e-6)


def test_candidates_of_a_search_send_each_image_through_the_network_once(
    mislabeled, passes
):
    X, y = mislabeled
    grid = {
        "vgg19features": [small(), small()],
        "logisticregression__C": [0.01, 0.1],
    }
    MistakesDisplay.from_estimator(GridSearchCV(linear(), grid, cv=2), X, y, cv=2)
    assert sum(passes) == len(X)
    assert grid["vgg19features"][0].memory is None


def test_labels_reach_the_estimator_as_they_are(mislabeled):
    X, y = mislabeled
    model = linear().set_params(logisticregression__class_weight={"china": 1000})
    display = MistakesDisplay.from_estimator(model, X, y, cv=StratifiedKFold(2))
    rows = small().fit_transform(X)
    for train, test in StratifiedKFold(2).split(X, y):
        fitted = clone(model[1:]).fit(rows[train], y[train])
        expected = fitted.predict_proba(rows[test])
        np.testing.assert_allclose(display.y_proba[test], expected, atol=1e-6)


def test_a_class_that_a_fold_does_not_train_on_is_reported(mislabeled):
    X, y = mislabeled[0][:9], ["a"] * 4 + ["b"] * 4 + ["c"]
    with pytest.warns(RuntimeWarning, match=r"Fold 2 has no training images .* 'c'"):
        display = MistakesDisplay.from_estimator(linear(), X, y, cv=KFold(3))
    np.testing.assert_array_equal(display.y_proba[6:, 2], 0)


@pytest.mark.parametrize("shape", ["column", "frame"])
def test_labels_may_be_a_column(mislabeled, shape):
    X, y = mislabeled
    column = y[:, None] if shape == "column" else pd.DataFrame({"label": y})
    display = MistakesDisplay.from_estimator(linear(), X, column, cv=2)
    np.testing.assert_array_equal(display.y_true, y)


def test_groups_and_parameters_of_fit_are_passed_on(mislabeled):
    X, y = mislabeled
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
def test_metadata_is_routed_as_by_cross_val_predict(mislabeled, passes, case):
    X, y = mislabeled
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


def test_text_below_thumbnails_does_not_overlap(mislabeled):
    X, y = mislabeled
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
def test_titles_stay_above_their_axes(mislabeled, layout):
    X, y = mislabeled
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


def test_labels_say_what_columns_stand_for(mislabeled):
    X, y = mislabeled
    y_proba = np.random.default_rng(0).dirichlet([1, 1, 1], len(y))
    labels = ["flower", "tree", "china"]
    display = MistakesDisplay.from_predictions(X, y, y_proba, labels=labels)
    assert display.y_pred[0] == labels[y_proba[0].argmax()]
    with pytest.raises(ValueError, match=r"y_true\[0\] is 'china', which is not one"):
        MistakesDisplay.from_predictions(X, y, np.full((40, 2), 0.5), labels=labels[:2])


def test_columns_that_are_named_after_classes_are_those_of_the_classes(mislabeled):
    X, y = mislabeled
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
def test_names_of_classes_rule_after_a_prefix_too(mislabeled, classes, prefix):
    X, y = mislabeled
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
def test_names_that_are_numbers_rule_like_others(mislabeled, classes, columns):
    """Names in another order than labels are an error, never another picture."""
    X, y = mislabeled
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


def test_columns_with_other_names_are_in_the_order_of_the_classes(mislabeled):
    X, y = mislabeled
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


def test_folds_that_overlap_or_miss_images_are_refused(mislabeled):
    with pytest.raises(ValueError, match=r"X\[\d+\] into \d test folds; expected each"):
        MistakesDisplay.from_estimator(linear(), *mislabeled, cv=ShuffleSplit(3))


def test_missing_labels_of_pandas_are_named(mislabeled):
    y = pd.Series(mislabeled[1], dtype="string")
    y[3] = pd.NA
    with pytest.raises(ValueError, match=r"y\[3\] is <NA>; expected a label"):
        MistakesDisplay.from_estimator(linear(), mislabeled[0], y)


def test_an_unreadable_image_is_named_before_the_folds(mislabeled_paths):
    bad = [*mislabeled_paths[:9], b"no image", *mislabeled_paths[9:]]
    model = make_pipeline(small(on_error="nan"), HistGradientBoostingClassifier())
    with (
        pytest.warns(BadImageWarning),
        pytest.raises(ValueError, match=r"X\[9\] has features that are NaN"),
    ):
        MistakesDisplay.from_estimator(model, bad, [0, 1] * 20 + [0])


def test_mistakes_refuse_what_they_cannot_use(mislabeled, mislabeled_paths):
    X, y = mislabeled
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
    with open(mislabeled_paths[0], "r+b") as file:
        file.truncate(100)
    with pytest.raises(ValueError, match=r"X\[0\] \('.*00\.png'\): not an image"):
        MistakesDisplay.from_predictions(mislabeled_paths, y, good)
