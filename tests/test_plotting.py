"""skvgg.plotting: scores by layer, and what a prediction rests on."""

import sys

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    ShuffleSplit,
    StratifiedKFold,
    ValidationCurveDisplay,
    cross_val_score,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from skvgg import TFLearnMLPClassifier, TFLearnMLPRegressor, VGG19Features
from skvgg._runtime.tensorflow import import_tensorflow
from skvgg.plotting import LayerScoreDisplay, SaliencyDisplay
from skvgg.plotting._pipeline import split_fitted, split_pipeline
from skvgg.plotting._row_gradient import row_gradient
from skvgg.plotting._scores import predicted_target

from .conftest import relative_error, run_python

mpl.use("Agg")
from matplotlib import pyplot as plt

LAYERS = ("block1_pool", "block3_conv2", "block5_pool")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def small(**params):
    params = {"weights": None, "image_size": 32, "random_state": 0, **params}
    return VGG19Features(**params)


def linear(**params):
    return make_pipeline(small(**params), StandardScaler(), LogisticRegression(C=0.01))


@pytest.fixture
def some(tiles):
    return tiles[0][:30], tiles[1][:30]


# LayerScoreDisplay


def test_scores_are_those_of_each_pipeline_by_itself(some, tmp_path):
    X, y = some
    model = linear()
    display = LayerScoreDisplay.from_estimator(model, X, y, layers=LAYERS, cv=3)
    assert display.scores.shape == (3, 2, 3)
    for i, layer in enumerate(LAYERS):
        for j, pooling in enumerate(("avg", "max")):
            alone = clone(model).set_params(
                vgg19features__layer=layer, vgg19features__pooling=pooling
            )
            expected = cross_val_score(alone, X, y, cv=3)
            np.testing.assert_array_equal(display.scores[i, j], expected)


@pytest.mark.parametrize("has_memory", [False, True])
def test_each_image_goes_through_the_network_once(some, tmp_path, passes, has_memory):
    X, y = some
    model = linear(memory=tmp_path if has_memory else None)
    LayerScoreDisplay.from_estimator(model, X, y, cv=3)
    assert sum(passes) == len(X)
    LayerScoreDisplay.from_estimator(model, X, y, cv=3)
    assert sum(passes) == (1 if has_memory else 2) * len(X)


def test_the_pipeline_is_not_changed(some):
    X, y = some
    model = linear()
    before = {name: str(value) for name, value in model.get_params().items()}
    LayerScoreDisplay.from_estimator(model, X, y, layers=["block1_pool"], cv=2)
    assert {name: str(value) for name, value in model.get_params().items()} == before
    assert not hasattr(model[0], "weights_fingerprint_")


def test_stages_are_the_five_poolings(some):
    X, y = some
    display = LayerScoreDisplay.from_estimator(linear(), X, y, poolings="avg", cv=2)
    assert display.layers == tuple(f"block{i}_pool" for i in range(1, 6))
    assert display.poolings == ("avg",)


def test_a_layer_without_height_and_width_is_scored_once(some):
    X, y = some
    model = linear()
    display = LayerScoreDisplay.from_estimator(
        model, X, y, layers=["block1_pool", "fc1"], cv=2
    )
    np.testing.assert_array_equal(display.scores[1, 0], display.scores[1, 1])
    alone = clone(model).set_params(vgg19features__layer="fc1")
    np.testing.assert_array_equal(
        display.scores[1, 0], cross_val_score(alone, X, y, cv=2)
    )
    fc1_only = LayerScoreDisplay(
        scores=display.scores[1:], layers=["fc1"], poolings=["avg", "max"]
    )
    assert fc1_only.best_pooling is None


def test_a_random_splitter_draws_once(some):
    """Rows that do not depend on the layer get the same score from each."""
    X, y = some

    class Recording(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            trained_on.append(len(X))
            return self

        def predict(self, X):
            return np.repeat(self.classes_[:1], len(X))

    trained_on = []
    cv = ShuffleSplit(4, random_state=np.random.RandomState(0))
    display = LayerScoreDisplay.from_estimator(
        make_pipeline(small(), Recording()), X, y, layers=LAYERS, cv=cv
    )
    assert len(trained_on) == 3 * 2 * 4
    assert len(np.unique(display.scores.reshape(6, 4), axis=0)) == 1
    assert len(np.unique(display.scores[0, 0])) > 1


@pytest.mark.parametrize("routing", [False, True])
def test_groups_reach_the_splitter(some, routing):
    X, y = some
    groups = np.arange(len(X)) // 5
    passed = {"params": {"groups": groups}} if routing else {"groups": groups}
    with config_context(enable_metadata_routing=routing):
        display = LayerScoreDisplay.from_estimator(
            linear(), X, y, layers=["block2_pool"], cv=GroupKFold(3), **passed
        )
        alone = linear(layer="block2_pool", pooling="avg")
        expected = cross_val_score(alone, X, y, cv=GroupKFold(3), **passed)
    np.testing.assert_array_equal(display.scores[0, 0], expected)


def test_params_and_scoring_are_those_of_cross_val_score(some):
    X, y = some
    options = {
        "params": {"logisticregression__sample_weight": np.linspace(0.1, 1, len(X))},
        "scoring": "neg_log_loss",
        "cv": StratifiedKFold(3, shuffle=True, random_state=0),
        "n_jobs": 1,
    }
    display = LayerScoreDisplay.from_estimator(
        linear(), X, y, layers=["block2_pool"], poolings=["max"], **options
    )
    alone = linear(layer="block2_pool", pooling="max")
    expected = cross_val_score(alone, X, y, **options)
    np.testing.assert_allclose(display.scores[0, 0], expected, rtol=1e-4)
    assert display.ax_.get_ylabel() == "Negative log loss"


def gain(estimator, X, y):
    return 1.0


@pytest.mark.parametrize("scoring", [None, "accuracy", "neg_brier_score", gain])
def test_scores_have_the_names_of_scikit_learns_displays(some, scoring):
    X, y = some[0], (some[1] == "china").astype(int)
    display = LayerScoreDisplay.from_estimator(
        linear(), X, y, layers=["block1_pool"], poolings="avg", cv=2, scoring=scoring
    )
    other = ValidationCurveDisplay.from_estimator(
        LogisticRegression(),
        X.mean((1, 2)),
        y,
        param_name="C",
        param_range=[0.1, 1],
        cv=2,
        scoring=scoring,
    )
    assert display.ax_.get_ylabel() == other.ax_.get_ylabel()


def test_weights_drawn_by_fit_are_drawn_once(some, passes):
    X, y = some
    model = linear(random_state=None)
    LayerScoreDisplay.from_estimator(model, X, y, layers=LAYERS, cv=2)
    assert sum(passes) == len(X)


def test_the_best_can_be_set(some):
    X, y = some
    scores = np.zeros((3, 2, 4))
    scores[1, 1] = 1
    display = LayerScoreDisplay(scores=scores, layers=LAYERS, poolings=["avg", "max"])
    assert (display.best_layer, display.best_pooling) == ("block3_conv2", "max")
    assert display.best_score == 1
    model = linear().set_params(**display.best_params)
    assert model.fit(X, y)[0].get_feature_names_out()[0] == "block3_conv2_max_0"


def test_a_score_that_is_missing_is_not_the_best():
    scores = np.array([[[np.nan, 1.0]], [[0.5, 0.5]]])
    display = LayerScoreDisplay(scores=scores, layers=LAYERS[:2], poolings=["avg"])
    assert display.best_layer == "block3_conv2"


def test_layer_scores_are_drawn_as_they_are():
    rng = np.random.default_rng(0)
    display = LayerScoreDisplay(
        scores=rng.random((3, 2, 5)), layers=LAYERS, poolings=["avg", "max"]
    )
    _, ax = plt.subplots()
    assert display.plot(ax, errorbar_kw={"capsize": 7}) is display
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    for j, bars in enumerate(display.errorbars_):
        np.testing.assert_array_equal(bars[0].get_ydata(), display.mean_scores[:, j])
    assert display.best_layer in ax.get_title()
    assert [text.get_text() for text in ax.get_xticklabels()] == list(LAYERS)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(labels) == ["avg", "best", "max"]
    assert display.best_line_.get_ydata() == [display.best_score]
    display.plot()
    assert display.ax_ is not ax


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(small()),
        small(),
    ],
)
def test_a_model_without_the_transformer_or_with_nothing_else_is_refused(some, model):
    with pytest.raises(ValueError, match="first step is a VGG19Features"):
        LayerScoreDisplay.from_estimator(model, *some)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["block9_pool"]}, "layers=.* is unknown: 'block9_pool'"),
        ({"layers": ["block4"]}, r"layers=.* Did you mean 'block4_pool'\?"),
        ({"layers": "stage"}, r"layers='stage' .* Did you mean 'stages'\?"),
        ({"layers": []}, r"layers=.* is empty.*\. Expected 'stages', or"),
        ({"layers": ["fc1", "fc1"]}, "duplicates"),
        ({"poolings": ["min"]}, "poolings=.* is unknown: 'min'"),
    ],
)
def test_unknown_layers_and_poolings_are_refused(some, options, message):
    with pytest.raises(ValueError, match=message):
        LayerScoreDisplay.from_estimator(linear(), *some, **options)


def test_layers_that_the_weights_lack_are_refused(some, keras_notop):
    hed = linear(weights="hed")
    with pytest.raises(ValueError, match="no fully connected layers"):
        LayerScoreDisplay.from_estimator(hed, *some, layers=["block1_pool", "fc1"])
    _, path = keras_notop
    notop = linear(weights=path, image_size=224)
    with pytest.raises(ValueError, match="fc1"):
        LayerScoreDisplay.from_estimator(notop, *some, layers=["fc1"], cv=2)


def test_a_nested_pipeline_keeps_its_names():
    inner = make_pipeline(small(), StandardScaler())
    model = make_pipeline(inner, LogisticRegression())
    step, features, rest = split_pipeline(model)
    assert step == "pipeline__vgg19features"
    assert features is inner[0]
    assert f"{step}__layer" in model.get_params()
    others = {name for name in model.get_params(deep=True) if "vgg19" not in name}
    assert set(rest.get_params()) >= others - {"pipeline__transform_input"}


# SaliencyDisplay


def explain_row(steps, row, target):
    """Return the explained target, and the gradient of its score."""
    if target is None:
        target = predicted_target(make_pipeline(*steps), row[None])
    return target, row_gradient(steps, row, target)


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
def test_every_pooling_has_a_map(some, pooling):
    X, y = some
    model = linear(layer="block3_pool", pooling=pooling).fit(X, y)
    display = SaliencyDisplay.from_estimator(model, X[0], layer="block3_conv4")
    assert display.saliency.shape == (8, 8)
    assert (display.saliency >= 0).all()
    assert display.target == model.predict(X[:1])[0]


def test_the_fully_connected_layers_are_explained(some):
    X, y = some
    model = linear(layer=("flatten", "fc2")).fit(X, y)
    display = SaliencyDisplay.from_estimator(model, X[0], layer="block5_conv4")
    assert display.saliency.shape == (2, 2)


def test_the_default_is_the_last_convolution_of_the_features(some):
    X, y = some
    for layer, expected in (
        ("block4_pool", "block4_conv4"),
        (("block2_conv1", "block1_pool"), "block2_conv1"),
        ("fc1", "block5_conv4"),
    ):
        model = linear(layer=layer).fit(X, y)
        assert SaliencyDisplay.from_estimator(model, X[0]).layer == expected


@pytest.mark.parametrize("processor_of", ["with_instructions", "with_tiles"])
def test_lower_precision_gives_nearly_the_same_map(processor_of, some, request):
    request.getfixturevalue(processor_of)
    X, y = some
    model = linear(layer="block4_pool", pooling="avg").fit(X, y)
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
def test_any_image_is_explained(some, tmp_path, as_image):
    X, y = some
    path = tmp_path / "a.png"
    Image.fromarray(X[0]).save(path)
    model = linear(layer="block2_pool", pooling="avg", resize="crop").fit(X, y)
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


def test_a_flattened_image_is_explained(some):
    X, y = some
    rows = X.reshape(len(X), -1)
    model = linear(layer="block2_pool", pooling="avg", flattened_shape=(48, 48, 3))
    model.fit(rows, y)
    display = SaliencyDisplay.from_estimator(model, rows[0], layer="block2_conv2")
    assert display.image.shape == (32, 32, 3)


def test_an_image_that_cannot_be_used_is_refused(some):
    X, y = some
    model = linear(layer="block1_pool", pooling="avg", on_error="nan").fit(X, y)
    with pytest.raises(ValueError, match="not an image"):
        SaliencyDisplay.from_estimator(model, b"no image", layer="block1_conv1")


def test_a_search_and_a_model_with_features_and_head_are_explained(some):
    X, y = some
    model = linear(layer="block2_pool", pooling="avg").fit(X, y)
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


def test_seeds_drawn_by_fit_are_kept(some):
    X, y = some
    model = linear(layer="block2_pool", pooling="avg", random_state=None).fit(X, y)
    display = SaliencyDisplay.from_estimator(model, X[0], layer="block1_pool")
    assert display.saliency.any()


def test_tables_between_the_steps_raise_no_warning(some):
    X, y = some
    model = linear(layer="block2_pool", pooling="avg").set_output(transform="pandas")
    expected = linear(layer="block2_pool", pooling="avg").fit(X, y)
    maps = [
        SaliencyDisplay.from_estimator(m, X[0], layer="block2_conv1").saliency
        for m in (model.fit(X, y), expected)
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


def test_layers_that_cannot_be_explained_are_refused(some):
    X, y = some
    model = linear(layer="block2_pool", pooling="avg").fit(X, y)
    with pytest.raises(ValueError, match="is above the layers"):
        SaliencyDisplay.from_estimator(model, X[0], layer="block5_conv4")
    for layer in ("fc1", "flatten", "block9"):
        with pytest.raises(ValueError, match=f"layer='{layer}' has no map"):
            SaliencyDisplay.from_estimator(model, X[0], layer=layer)
    with pytest.raises(ValueError, match=r"Did you mean 'block1_pool'\? Expected one"):
        SaliencyDisplay.from_estimator(model, X[0], layer="block1")


def test_a_score_of_lower_layers_only_is_refused(some):
    X, y = some
    features = small(layer=("block1_pool", "block5_pool"), pooling="avg")
    model = make_pipeline(features, LogisticRegression()).fit(X, y)
    model[-1].coef_[:, 64:] = 0
    with pytest.raises(ValueError, match="depends only on layers below 'block5_conv4'"):
        SaliencyDisplay.from_estimator(model, X[0])


def test_models_that_cannot_be_explained_are_refused(some):
    X, y = some
    model = linear(layer="block1_pool", pooling="avg")
    with pytest.raises(NotFittedError):
        SaliencyDisplay.from_estimator(model, X[0], layer="block1_pool")
    flat = make_pipeline(StandardScaler(), LogisticRegression())
    with pytest.raises(ValueError, match="first step is a VGG19Features"):
        SaliencyDisplay.from_estimator(flat.fit(X.reshape(30, -1), y), X[0])
    forest = make_pipeline(
        small(layer="block1_pool", pooling="avg"), RandomForestClassifier(5)
    ).fit(X, y)
    with pytest.raises(ValueError, match=r"gradient of zero.*Trees"):
        SaliencyDisplay.from_estimator(forest, X[0], layer="block1_pool")
    with pytest.raises(ValueError, match=r"'dog' is not a class.*'china', 'flower'"):
        SaliencyDisplay.from_estimator(
            model.fit(X, y), X[0], layer="block1_pool", target="dog"
        )


# The gradient of a row


def three_classes(n_features=6):
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], 20)
    centers = np.repeat(rng.normal(0, 2, (3, n_features)), 20, axis=0)
    return centers + rng.normal(0, 1, centers.shape), y


def measured(score, row):
    """Return a gradient by forward and backward steps, coordinate by coordinate."""
    steps = 1e-5 * np.eye(len(row))
    return np.array([(score(row + h) - score(row - h)) / 2e-5 for h in steps])


TRANSFORMERS = [
    StandardScaler(),
    StandardScaler(with_mean=False, with_std=False),
    MinMaxScaler(),
    PCA(4, whiten=True),
    SelectKBest(k=3),
    Normalizer(),
    "passthrough",
]


@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=str)
def test_gradients_go_through_transformers(transformer):
    X, y = three_classes()
    model = make_pipeline(transformer, LogisticRegression()).fit(X, y)
    steps = [step for step in (transformer, model[-1]) if step != "passthrough"]
    target, gradient = explain_row(steps, X[0], None)
    assert target == model.predict(X[:1])[0]
    place = list(model.classes_).index(target)
    expected = measured(lambda x: model.decision_function(x[None])[0, place], X[0])
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "head",
    [
        LogisticRegression(),
        SVC(),
        SVC(kernel="linear"),
        GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2),
    ],
    ids=str,
)
def test_the_score_is_the_decision_function(head):
    X, y = three_classes()
    head.fit(X, y)
    for place, label in enumerate(head.classes_):
        _, gradient = explain_row([head], X[5], label)
        expected = measured(
            lambda x, i=place: head.decision_function(x[None])[0, i], X[5]
        )
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "head", [GaussianNB(), CalibratedClassifierCV(LogisticRegression(), cv=2)], ids=str
)
def test_the_score_is_the_log_odds_where_there_is_no_decision_function(head):
    X, y = three_classes()
    head.fit(X, y)

    def log_odds(x):
        p = head.predict_proba(x[None])[0, 1]
        return np.log(p / (1 - p))

    row = X.mean(axis=0)
    _, gradient = explain_row([head], row, "b")
    np.testing.assert_allclose(gradient, measured(log_odds, row), rtol=1e-4, atol=1e-6)


def test_log_odds_keep_their_gradient_where_probabilities_are_one():
    X, y = three_classes()
    head = GaussianNB().fit(X, y)
    row = 20 * X[0]
    assert head.predict_proba(row[None]).max() == 1
    _, gradient = explain_row([head], row, None)
    assert gradient.all()


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_gradients_go_through_the_layers_of_perceptrons(activation):
    X, y = three_classes()
    head = MLPClassifier((7, 5), activation, max_iter=2000, random_state=0).fit(X, y)
    _, gradient = explain_row([head], X[0], "b")
    # Differences of logits are those of the logarithms of probabilities.
    _, other = explain_row([head], X[0], "c")

    def difference(x):
        log_p = head.predict_log_proba(x[None])[0]
        return log_p[1] - log_p[2]

    np.testing.assert_allclose(
        gradient - other, measured(difference, X[0]), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_gradients_of_tflearns_heads_are_those_of_their_logits(n_classes):
    X, y = three_classes()
    X, y = X[: 20 * n_classes], y[: 20 * n_classes]
    head = TFLearnMLPClassifier((8,), max_iter=30, random_state=0).fit(X, y)
    _, a = explain_row([head], X[0], "a")
    _, b = explain_row([head], X[0], "b")

    def difference(x):
        x = (x - head.feature_mean_) / head.feature_scale_
        hidden = np.tanh(x @ head.coefs_[0].astype(float) + head.intercepts_[0])
        logits = hidden @ head.coefs_[1].astype(float) + head.intercepts_[1]
        return logits[0] - logits[1]

    np.testing.assert_allclose(a - b, measured(difference, X[0]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", [TFLearnMLPClassifier, TFLearnMLPRegressor])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_heads_on_features_far_from_zero_are_explained_as_they_predict(make, dtype):
    X, y = three_classes()
    X = (X / X.std(axis=0) + 1e4).astype(dtype)
    labels = y if make is TFLearnMLPClassifier else 1e4 + 100 * X[:, 0].astype(float)
    head = make((8,), max_iter=30, random_state=0).fit(X, labels)

    def score(x):
        if make is TFLearnMLPRegressor:
            return head.predict(x[None])[0]
        log_proba = head.predict_log_proba(x[None])[0]
        return log_proba[0] - log_proba[1]

    x = X[0].astype(float)
    if make is TFLearnMLPRegressor:
        _, gradient = explain_row([head], x, None)
    else:
        gradient = explain_row([head], x, "a")[1] - explain_row([head], x, "b")[1]
    np.testing.assert_allclose(gradient, measured(score, x), rtol=1e-3, atol=1e-6)


def test_a_binary_perceptron_has_one_score_of_two_signs():
    X, y = three_classes()
    head = MLPClassifier((4,), max_iter=2000, random_state=0).fit(X[:40], y[:40])
    _, a = explain_row([head], X[0], "a")
    _, b = explain_row([head], X[0], "b")
    np.testing.assert_array_equal(a, -b)
    expected = measured(
        lambda x: -np.subtract(*head.predict_log_proba(x[None])[0]), X[0]
    )
    np.testing.assert_allclose(b, expected, rtol=1e-4, atol=1e-6)


def test_regressors_are_explained_by_their_outputs():
    X, _ = three_classes()
    Y = np.c_[X.sum(axis=1), X[:, 0] ** 2]
    ridge = Ridge().fit(X, Y)
    target, gradient = explain_row([ridge], X[0], None)
    assert target == 0
    np.testing.assert_array_equal(gradient, ridge.coef_[0])
    _, gradient = explain_row([ridge], X[0], 1)
    np.testing.assert_array_equal(gradient, ridge.coef_[1])
    with pytest.raises(ValueError, match="regressor with 2 output"):
        explain_row([ridge], X[0], 2)
    poisson = PoissonRegressor().fit(X, np.abs(Y[:, 0]))
    _, gradient = explain_row([poisson], X[0], None)
    expected = poisson.coef_ * poisson.predict(X[:1])
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    head = TFLearnMLPRegressor((), max_iter=2, random_state=0).fit(X, Y[:, 0])
    _, gradient = explain_row([head], X[0], None)
    expected = measured(lambda x: head.predict(x[None])[0], X[0])
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_of_several_labels_the_best_is_explained():
    X, y = three_classes()
    labels = np.c_[y == "a", y == "b", y == "c"].astype(int)
    head = MLPClassifier((5,), max_iter=2000, random_state=0).fit(X, labels)
    target, _ = explain_row([head], X[-1], None)
    assert target == 2


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (SVC(decision_function_shape="ovo"), None),
        (RandomForestClassifier(3), "gradient of zero"),
        (LinearSVC(C=1e-9, penalty="l1", dual=False), "coefficients"),
    ],
    ids=str,
)
def test_heads_without_a_score_a_class_are_refused(head, message):
    X, y = three_classes()
    y = np.where(np.arange(len(y)) % 4 == 0, "d", y)
    with pytest.raises(ValueError, match=message or "6 scores for 4 classes"):
        explain_row([head.fit(X, y)], X[0], None)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda svc: svc,
        lambda svc: make_pipeline(StandardScaler(), svc),
        lambda svc: GridSearchCV(svc, {"C": [1.0]}, cv=2),
        lambda svc: GridSearchCV(make_pipeline(svc), {"svc__C": [1.0]}, cv=2),
        lambda svc: BaggingClassifier(svc, 2, random_state=0),
        lambda svc: StackingClassifier(
            [("lr", LogisticRegression())], svc, passthrough=True, cv=2
        ),
    ],
    ids=["svc", "pipeline", "search", "search of pipelines", "bagging", "stacking"],
)
def test_scores_of_pairs_are_not_taken_for_those_of_three_classes(wrap):
    X, y = three_classes()
    pairs = wrap(SVC(decision_function_shape="ovo")).fit(X, y)
    for head in (pairs, FrozenEstimator(pairs)):
        assert head.decision_function(X[:1]).shape == (1, 3)
        with pytest.raises(ValueError, match=r"expected one per class.*'ovr'"):
            explain_row([head], X[0], None)
    explain_row([wrap(SVC()).fit(X, y)], X[0], None)


@pytest.mark.parametrize("make", [OneVsOneClassifier, OneVsRestClassifier])
def test_pairs_within_a_classifier_with_a_score_per_class_are_fine(make):
    X, y = three_classes()
    head = make(SVC(decision_function_shape="ovo")).fit(X, y)
    for place, label in enumerate(head.classes_):
        _, gradient = explain_row([head], X[5], label)
        expected = measured(
            lambda x, i=place: head.decision_function(x[None])[0, i], X[5]
        )
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)


def test_what_is_no_predictor_is_refused():
    X, _ = three_classes()
    with pytest.raises(ValueError, match="must be a classifier or regressor, got PCA"):
        explain_row([PCA(2).fit(X)], X[0], None)


def test_nested_steps_are_laid_out(some):
    X, y = some
    inner = make_pipeline(small(layer="block1_pool", pooling="avg"), "passthrough")
    model = make_pipeline(inner, make_pipeline(StandardScaler(), LogisticRegression()))
    features, steps = split_fitted(model.fit(X, y))
    assert features is model[0][0]
    assert [type(step) for step in steps] == [StandardScaler, LogisticRegression]


# Without matplotlib


def test_importing_the_displays_imports_neither_matplotlib_nor_tensorflow():
    code = (
        "import sys, skvgg; skvgg.plotting.SaliencyDisplay; "
        "print({'matplotlib', 'tensorflow'} & set(sys.modules))"
    )
    assert run_python(code).stdout.strip() == "set()"


def test_without_matplotlib_the_error_says_how_to_install_it(some, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    X, y = some
    hint = r'pip install "skvgg\[plotting\]"'
    with pytest.raises(ImportError, match=hint):
        LayerScoreDisplay.from_estimator(linear(), X, y)
    with pytest.raises(ImportError, match=hint):
        SaliencyDisplay.from_estimator(linear(), X[0])
    display = LayerScoreDisplay(scores=[[[1]]], layers=["fc1"], poolings=["avg"])
    with pytest.raises(ImportError, match=hint):
        display.plot()
