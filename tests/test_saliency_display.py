"""SaliencyDisplay: the map of Keras, and what the whole model predicts."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvgg import VGG19Classifier, VGG19Features
from skvgg._extraction.views import RandomCrop
from skvgg._runtime.tensorflow import import_tensorflow
from skvgg.plotting import SaliencyDisplay

from .conftest import relative_error
from .displays import linear, small

SMALL = {"layer": "block3_pool", "pooling": "avg", "image_size": 48}

#: The image and its flips; each undoes itself.
FLIPS = [np.s_[:, :], np.s_[:, ::-1], np.s_[::-1], np.s_[::-1, ::-1]]


@pytest.fixture(scope="module")
def few(tiles):
    return tiles[0][:16], tiles[1][:16]


@pytest.fixture(scope="module")
def fitted(few):
    """A model of "block2_pool"; do not change it."""
    return linear().fit(*few)


def keras_grad_cam(*args):
    """Return the map of Grad-CAM, computed from Keras' model alone."""
    return np.maximum(keras_evidence(*args), 0)


def keras_evidence(model, pixels, layer, outputs, score):
    """Return that map before its negative values are set to zero."""
    import keras

    tf = import_tensorflow()
    names = list(dict.fromkeys([layer, *outputs]))
    taps = keras.Model(model.input, [model.get_layer(name).output for name in names])
    x = keras.applications.vgg19.preprocess_input(pixels[None].astype("float32"))
    with tf.GradientTape() as tape:
        taken = taps(x)
        maps = dict(zip(names, taken if len(names) > 1 else [taken], strict=True))
        row = tf.concat([tf.reduce_mean(maps[name], (1, 2)) for name in outputs], 1)
        value = score(row)
    gradient = tape.gradient(value, maps[layer]).numpy()[0]
    weights = gradient.mean(axis=(0, 1))
    return (maps[layer].numpy()[0] * weights).sum(axis=-1)


def keras_model(path, outputs, head, X, y):
    features = VGG19Features(path, layer=outputs, pooling="avg", image_size=64)
    return make_pipeline(features, *head).fit(X, y)


@pytest.fixture(scope="module")
def big_tiles(tiles):
    X = [np.asarray(Image.fromarray(tile).resize((64, 64))) for tile in tiles[0][:24]]
    return np.stack(X), tiles[1][:24]


def linear_score(scaler, coef):
    """Return the score of a linear model on standardized features, in TensorFlow."""
    tf = import_tensorflow()
    slope = (coef / scaler.scale_).astype("float32")
    return lambda row: tf.reduce_sum(row * slope)


@pytest.mark.parametrize(
    ("layer", "outputs"),
    [
        ("block5_conv4", ["block5_pool"]),
        ("block5_pool", ["block5_pool"]),
        ("block4_conv1", ["block4_conv1", "block5_pool"]),
        ("block2_conv2", ["block4_pool", "block3_pool"]),
    ],
)
def test_the_map_is_that_of_keras_and_its_tape(keras_notop, big_tiles, layer, outputs):
    keras, path = keras_notop
    X, y = big_tiles
    head = [StandardScaler(), LogisticRegression(C=0.1)]
    model = keras_model(path, outputs, head, X, y)
    pairs = []
    for image in X[:2]:
        for target, sign in (("china", -1), ("flower", 1)):
            display = SaliencyDisplay.from_estimator(
                model, image, layer=layer, target=target
            )
            score = linear_score(model[1], sign * model[-1].coef_[0])
            expected = keras_grad_cam(keras, image, layer, outputs, score)
            pairs.append((display.saliency, expected))
            assert (display.target, display.layer) == (target, layer)
            np.testing.assert_array_equal(display.image, image)
    actual, expected = map(np.stack, zip(*pairs, strict=True))
    assert relative_error(actual, expected) < 1e-3


def test_outputs_below_the_layer_do_not_contribute(keras_notop, big_tiles):
    keras, path = keras_notop
    X, y = big_tiles
    outputs = ["block2_pool", "block5_conv2"]
    head = [StandardScaler(), LogisticRegression()]
    model = keras_model(path, outputs, head, X, y)
    coef = model[-1].coef_[0].copy()
    coef[:128] = 0
    expected = keras_grad_cam(
        keras, X[0], "block4_pool", outputs, linear_score(model[1], coef)
    )
    display = SaliencyDisplay.from_estimator(
        model, X[0], layer="block4_pool", target="flower"
    )
    assert relative_error(display.saliency, expected) < 1e-3


@pytest.mark.parametrize("pooling", ["avg", "max", None])
def test_every_pooling_has_a_map(few, pooling):
    X, y = few
    model = linear(layer="block3_pool", pooling=pooling).fit(X, y)
    display = SaliencyDisplay.from_estimator(model, X[0], layer="block3_conv4")
    assert display.saliency.shape == (8, 8)
    assert (display.saliency >= 0).all()
    assert display.target == model.predict(X[:1])[0]


def test_the_fully_connected_layers_are_explained(few):
    X, y = few
    model = linear(layer=("flatten", "fc2")).fit(X, y)
    display = SaliencyDisplay.from_estimator(model, X[0], layer="block5_conv4")
    assert display.saliency.shape == (2, 2)


def test_the_default_is_the_last_convolution_of_the_features(few):
    X, y = few
    for layer, expected in (
        ("block4_pool", "block4_conv4"),
        (("block2_conv1", "block1_pool"), "block2_conv1"),
        ("fc1", "block5_conv4"),
    ):
        model = linear(layer=layer).fit(X, y)
        assert SaliencyDisplay.from_estimator(model, X[0]).layer == expected


@pytest.mark.usefixtures("with_instructions")
def test_lower_precision_gives_nearly_the_same_map(few):
    X, y = few
    model = linear(layer="block4_pool").fit(X, y)
    maps = {}
    for precision in ("float32", "bfloat16"):
        model.set_params(vgg19features__precision=precision)
        maps[precision] = np.stack(
            [
                SaliencyDisplay.from_estimator(
                    model, X[0], layer="block4_conv1", target=target
                ).saliency
                for target in ("china", "flower")
            ]
        )
    assert relative_error(maps["bfloat16"], maps["float32"]) < 0.1


@pytest.mark.parametrize("as_image", ["path", "bytes", "PIL", "float", "file"])
def test_any_image_is_explained(few, tmp_path, as_image):
    X, y = few
    path = tmp_path / "a.png"
    Image.fromarray(X[0]).save(path)
    model = linear(resize="crop").fit(X, y)
    options = {"layer": "block2_conv2"}
    expected = SaliencyDisplay.from_estimator(model, X[0], **options)
    with path.open("rb") as file:
        image = {
            "path": path,
            "bytes": path.read_bytes(),
            "PIL": Image.fromarray(X[0]),
            "float": X[0].astype(float),
            "file": file,
        }[as_image]
        display = SaliencyDisplay.from_estimator(model, image, **options)
    assert display.image.dtype == np.uint8
    # Arrays of floats are resized without rounding.
    tolerance = 0.05 if as_image == "float" else 0
    assert relative_error(display.saliency, expected.saliency) <= tolerance


def test_a_flattened_image_is_explained(few):
    X, y = few
    rows = X.reshape(len(X), -1)
    model = linear(flattened_shape=(48, 48, 3))
    model.fit(rows, y)
    display = SaliencyDisplay.from_estimator(model, rows[0], layer="block2_conv2")
    assert display.image.shape == (32, 32, 3)


def test_an_image_that_cannot_be_used_is_refused(few):
    X, y = few
    model = linear(layer="block1_pool", on_error="nan").fit(X, y)
    with pytest.raises(ValueError, match="not an image"):
        SaliencyDisplay.from_estimator(model, b"no image", layer="block1_conv1")


def test_a_search_and_a_model_with_features_and_head_are_explained(few, fitted):
    X, y = few
    model = fitted
    options = {"layer": "block2_conv1", "target": "china"}
    expected = SaliencyDisplay.from_estimator(model, X[0], **options).saliency
    search = GridSearchCV(model, {"logisticregression__C": [0.01]}, cv=2).fit(X, y)

    class Tuned(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.features_, self.head_ = model[0], model[1:]
            return self

    for other in (search, Tuned().fit(X, y)):
        display = SaliencyDisplay.from_estimator(other, X[0], **options)
        np.testing.assert_array_equal(display.saliency, expected)


def test_seeds_drawn_by_fit_are_kept(few):
    X, y = few
    model = linear(random_state=None).fit(X, y)
    display = SaliencyDisplay.from_estimator(model, X[0], layer="block1_pool")
    assert display.saliency.any()


def test_tables_between_the_steps_raise_no_warning(few, fitted):
    X, y = few
    model = linear().set_output(transform="pandas")
    maps = [
        SaliencyDisplay.from_estimator(m, X[0], layer="block2_conv1").saliency
        for m in (model.fit(X, y), fitted)
    ]
    np.testing.assert_allclose(*maps, rtol=1e-4, atol=1e-6)


def test_the_map_is_drawn_over_the_image():
    saliency = np.array([[0, 1], [2, 4]])
    image = np.zeros((30, 40, 3), "uint8")
    display = SaliencyDisplay(
        saliency=saliency, image=image, target="cat", layer="block5_conv4"
    )
    _, ax = plt.subplots()
    assert display.plot(ax, cmap="jet", alpha=0.3) is display
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    np.testing.assert_array_equal(display.im_.get_array(), image)
    heatmap = display.heatmap_.get_array()
    assert heatmap.shape == (30, 40)
    assert heatmap[0, 0] == 0
    assert heatmap[-1, -1] == 4
    assert display.heatmap_.get_alpha() == 0.3
    assert "cat" in ax.get_title()
    empty = SaliencyDisplay(
        saliency=saliency * 0, image=image, target="cat", layer="block5_conv4"
    )
    empty.plot()
    empty.figure_.canvas.draw()


def test_a_class_with_dollars_in_its_name_is_drawn():
    display = SaliencyDisplay(
        saliency=[[1]], image=np.zeros((8, 8, 3)), target="$\\foo$", layer="fc1"
    ).plot()
    display.figure_.canvas.draw()
    assert display.ax_.get_title() == "$\\foo$: fc1"


def test_layers_that_cannot_be_explained_are_refused(few, fitted):
    X, model = few[0], fitted
    with pytest.raises(ValueError, match="is above the layers"):
        SaliencyDisplay.from_estimator(model, X[0], layer="block5_conv4")
    for layer in ("fc1", "flatten", "block9"):
        with pytest.raises(ValueError, match=f"layer='{layer}' has no map"):
            SaliencyDisplay.from_estimator(model, X[0], layer=layer)
    with pytest.raises(ValueError, match=r"Did you mean 'block1_pool'\? Expected one"):
        SaliencyDisplay.from_estimator(model, X[0], layer="block1")


def test_a_score_of_lower_layers_only_is_refused(few):
    X, y = few
    features = small(layer=("block1_pool", "block5_pool"))
    model = make_pipeline(features, LogisticRegression()).fit(X, y)
    model[-1].coef_[:, 64:] = 0
    with pytest.raises(ValueError, match="depends only on layers below 'block5_conv4'"):
        SaliencyDisplay.from_estimator(model, X[0])


def test_models_that_cannot_be_explained_are_refused(few):
    X, y = few
    model = linear(layer="block1_pool")
    with pytest.raises(NotFittedError):
        SaliencyDisplay.from_estimator(model, X[0], layer="block1_pool")
    flat = make_pipeline(StandardScaler(), LogisticRegression())
    with pytest.raises(ValueError, match="first step is a VGG19Features"):
        SaliencyDisplay.from_estimator(flat.fit(X.reshape(len(X), -1), y), X[0])
    forest = make_pipeline(small(layer="block1_pool"), RandomForestClassifier(5)).fit(
        X, y
    )
    with pytest.raises(ValueError, match=r"gradient of zero.*Trees"):
        SaliencyDisplay.from_estimator(forest, X[0], layer="block1_pool")
    with pytest.raises(ValueError, match=r"'dog' is not a class.*'china', 'flower'"):
        SaliencyDisplay.from_estimator(
            model.fit(X, y), X[0], layer="block1_pool", target="dog"
        )


# Views, folds and wrappers


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
    for image in X[:2]:
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
    for image in X[:2]:
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
