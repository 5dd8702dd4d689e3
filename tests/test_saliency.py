"""SaliencyDisplay explains what the whole model predicts, from all of its views."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvgg import VGG19Classifier, VGG19Features
from skvgg._extraction.views import RandomCrop
from skvgg._runtime.tensorflow import import_tensorflow
from skvgg.plotting import SaliencyDisplay

from .conftest import relative_error
from .test_plotting import keras_evidence, linear_score

SMALL = {"layer": "block3_pool", "pooling": "avg", "image_size": 48}

#: The image and its flips; each undoes itself.
FLIPS = [np.s_[:, :], np.s_[:, ::-1], np.s_[::-1], np.s_[::-1, ::-1]]


def explain(model, image, **params):
    display = SaliencyDisplay.from_estimator(model, image, **params)
    plt.close(display.figure_)
    return display


@pytest.fixture(scope="module")
def photos_of_two(tiles):
    """Photos, and labels that are hard to tell from their features."""
    labels = np.random.default_rng(0).permutation(tiles[1][:24])
    return tiles[0][:24], labels


def test_the_map_of_a_transformer_with_views_is_that_of_all_of_them(
    keras_notop, photos_of_two
):
    keras, path = keras_notop
    X, y = photos_of_two
    features = VGG19Features(
        path, layer="block4_pool", pooling="avg", image_size=48, views="flips"
    )
    model = make_pipeline(features, StandardScaler(), LogisticRegression(C=0.01))
    model.fit(X, y)
    score = linear_score(model[1], model[-1].coef_[0])
    layer = "block4_conv2"
    for image in X[:3]:
        evidence = [
            keras_evidence(keras, image[flip], layer, ["block4_pool"], score)[flip]
            for flip in FLIPS
        ]
        actual = explain(model, image, layer=layer, target="flower").saliency
        expected = np.maximum(np.mean(evidence, axis=0), 0)
        assert relative_error(actual, expected) < 1e-3


def test_the_map_of_averaged_predictions_is_that_of_all_views(keras_notop, tiles):
    keras, path = keras_notop
    X, y = tiles[0][:24], tiles[1][:24]
    model = VGG19Classifier(
        path,
        trainable=None,
        layer="block4_pool",
        image_size=48,
        augment="flips",
        average_views=True,
        random_state=0,
    ).fit(X, y)
    slopes = model.head_.coefs_[0].T / model.head_.feature_scale_
    layer, outputs = "block4_conv2", ["block4_pool"]
    actual, expected = [], []
    for image in X[:3]:
        for target, slope in zip(model.classes_, slopes.astype("f4"), strict=True):
            evidence = [
                keras_evidence(keras, image[flip], layer, outputs, weighted_by(slope))
                for flip in FLIPS
            ]
            undone = [e[flip] for e, flip in zip(evidence, FLIPS, strict=True)]
            expected.append(np.maximum(np.mean(undone, axis=0), 0))
            actual.append(explain(model, image, layer=layer, target=target).saliency)
    assert relative_error(np.stack(actual), np.stack(expected)) < 1e-3


def weighted_by(slope):
    """Return the score of a class before the softmax, but for a constant."""
    return lambda row: import_tensorflow().reduce_sum(row * slope)


@pytest.mark.parametrize("augment", ["flips", "crop"])
def test_the_explained_class_is_the_predicted_one_of_averaged_views(augment, tiles):
    X, y = tiles[0][:50], tiles[1][:50]
    model = VGG19Classifier(
        "hed",
        trainable=None,
        layer="block2_pool",
        image_size=48,
        augment=augment,
        average_views=True,
        random_state=0,
    ).fit(X[:10], y[:10])
    predicted = model.predict(X)
    single = model.set_params(average_views=False).predict(X)
    model.set_params(average_views=True)
    few = np.union1d(np.flatnonzero(single != predicted), [0])
    assert len(few) > 1
    targets = [explain(model, image).target for image in X[few]]
    np.testing.assert_array_equal(targets, predicted[few])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: FixedThresholdClassifier(model, threshold=0.9),
        lambda model: TunedThresholdClassifierCV(model, cv=2, random_state=0),
        lambda model: CalibratedClassifierCV(model, cv=2),
        lambda model: CalibratedClassifierCV(FrozenEstimator(model)),
    ],
    ids=["fixed threshold", "tuned threshold", "calibrated folds", "calibrated"],
)
def test_wrapped_models_are_explained_for_the_class_that_they_predict(
    wrap, photos_of_two
):
    X, y = photos_of_two
    features = VGG19Features("hed", **SMALL, views="flip")
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01)).fit
    inner = make_pipeline(features, StandardScaler(), LogisticRegression(C=0.01))
    rows = features.fit_transform(X)
    for model in (
        wrap(inner.fit(X, y)).fit(X, y),
        make_pipeline(features, wrap(head(rows, y))).fit(X, y),
    ):
        predicted = model.predict(X[:3])
        targets = [explain(model, image).target for image in X[:3]]
        np.testing.assert_array_equal(targets, predicted)


def test_ensembles_on_features_are_explained_for_the_class_that_they_predict(
    photos_of_two,
):
    X, y = photos_of_two
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    members = [("linear", linear), ("bayes", GaussianNB())]
    features = VGG19Features("hed", **SMALL, views="flip")
    ensemble = VotingClassifier(members, voting="soft", weights=[1, 3])
    model = make_pipeline(features, ensemble).fit(X, y)
    targets = [explain(model, image).target for image in X[:3]]
    np.testing.assert_array_equal(targets, model.predict(X[:3]))


def test_the_map_of_folds_is_the_mean_of_theirs(photos_of_two):
    X, y = photos_of_two
    features = VGG19Features("hed", **SMALL)
    model = make_pipeline(features, StandardScaler(), LogisticRegression(C=0.01))
    calibrated = CalibratedClassifierCV(model, cv=2).fit(X, y)
    evidence = []
    for member in calibrated.calibrated_classifiers_:
        # The evidence against one class is the evidence for the other one.
        both = [
            explain(member.estimator, X[0], target=target).saliency
            for target in ("china", "flower")
        ]
        evidence.append(both[0] - both[1])
    expected = np.maximum(np.mean(evidence, axis=0), 0)
    actual = explain(calibrated, X[0], target="china").saliency
    assert relative_error(actual, expected) < 1e-5


@pytest.mark.parametrize("index", range(1, 7))
def test_maps_of_crops_are_placed_where_the_crop_was(index):
    """An image whose brightness says where each pixel lies."""
    rows, columns = np.mgrid[:60, :90]
    image = np.stack([rows * 4, columns * 2, 0 * rows], axis=-1).astype(np.uint8)
    view = RandomCrop(index, seed=0)
    (left, top, width, height), _ = view._draw(60, 90, b"digest")
    crop = view(image, b"digest")
    inside = np.s_[top + 1 : top + height - 1, left + 1 : left + width - 1]
    for channel in (0, 1):
        values = crop[..., channel].astype(float)
        placed = view.place_back(values, b"digest", (60, 90))
        density = 60 * 90 / (width * height)
        expected = density * image[inside][..., channel]
        np.testing.assert_allclose(placed[inside], expected, atol=2.5 * density)
        assert placed.sum() == pytest.approx(values.sum(), rel=0.02)
        placed[top : top + height, left : left + width] = 0
        assert not placed.any()
