"""Fine-tuning: what it learns, what it keeps, and what it refuses."""

import copy
import math
import pickle
import warnings
from collections import namedtuple

import joblib
import numpy as np
import pytest
from scipy.special import softmax
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError, SkipTestWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvgg import VGG19Classifier, VGG19Features, VGG19Regressor, weights
from skvgg._definition.architecture import Output, parameter_shapes
from skvgg._extraction import views
from skvgg._extraction.recipe import Recipe
from skvgg._finetune import base, stored
from skvgg._finetune.heads import fit_linear_classifier
from skvgg._finetune.plan import Plan
from skvgg._finetune.task import warm_up_and_fall
from skvgg._head.targets import ClassTargets
from skvgg._network import vgg19
from skvgg._runtime.tensorflow import import_tensorflow
from skvgg.exceptions import BadImageWarning
from tests.conftest import run_python

LAYERS = ("block1_pool", "block2_pool")


def small(make=VGG19Classifier, **params):
    defaults = {
        "layer": LAYERS,
        "trainable": "block2",
        "image_size": 32,
        "max_iter": 2,
        "learning_rate_init": 1e-4,
        "random_state": 0,
    }
    return make(params.pop("weights", None), **{**defaults, **params})


@pytest.fixture(scope="module")
def cuts(tiles):
    X, y = tiles
    return X[:40], y[:40]


@pytest.fixture(scope="module")
def numbers(cuts):
    """Red and green of the images, which can be learned."""
    return cuts[0].mean((1, 2))[:, :2]


@pytest.fixture
def passes(monkeypatch):
    """Count the images that go through the network from its first layer."""
    seen = []
    features = vgg19.VGG19.features

    def count(self, inputs, *args, start=None, **kwargs):
        kwargs["start"] = start
        if start is None:
            seen.append(len(inputs))
        return features(self, inputs, *args, **kwargs)

    monkeypatch.setattr(vgg19.VGG19, "features", count)
    return seen


def arrays_of(model):
    tuned = getattr(model.features_.weights, "parameters", {})
    return [
        *(array for pair in tuned.values() for array in pair),
        *model.head_.coefs_,
        *model.head_.intercepts_,
    ]


def assert_close(first, second):
    """Images in other parts of a batch may round in another way."""
    for a, b in zip(arrays_of(first), arrays_of(second), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-2 * np.abs(b).max())


def assert_same(first, second):
    for a, b in zip(arrays_of(first), arrays_of(second), strict=True):
        np.testing.assert_array_equal(a, b)


# The plan


@pytest.mark.parametrize(
    ("trainable", "trained", "start"),
    [
        (None, 0, None),
        ("all", 16, "pixels"),
        ("block1", 16, "pixels"),
        ("block1_conv2", 15, "block1_conv1"),
        ("block4", 8, "block3_pool"),
        ("block5", 4, "block4_pool"),
        ("block5_conv4", 1, "block5_conv3"),
    ],
)
def test_layers_from_trainable_up_are_trained(trainable, trained, start):
    plan = Plan.of(trainable, [Output.of("block5_pool", "avg")])
    assert (len(plan.trained), plan.start) == (trained, start)


# The first phase


def test_the_head_alone_is_the_logistic_regression_of_scikit_learn(cuts):
    X, y = cuts
    clf = small(trainable=None).fit(X, y)
    features = VGG19Features(
        None, layer=LAYERS, pooling="avg", image_size=32, random_state=0
    ).transform(X)
    Z = StandardScaler().fit_transform(features)
    strengths = np.logspace(-7, -3, 5) * len(X)
    candidates = [LogisticRegression(C=C, max_iter=1000).fit(Z, y) for C in strengths]
    found = clf.predict_proba(X)
    errors = [np.abs(c.predict_proba(Z) - found).max() for c in candidates]
    assert min(errors) < 1e-3
    assert clf.n_iter_ == 0
    assert clf.history_ == {}


def test_the_head_alone_is_the_ridge_regression_of_scikit_learn(cuts, numbers):
    X = cuts[0]
    reg = small(VGG19Regressor, trainable=None).fit(X, numbers)
    features = VGG19Features(
        None, layer=LAYERS, pooling="avg", image_size=32, random_state=0
    ).transform(X)
    Z = StandardScaler().fit_transform(features)
    candidates = [Ridge(1 / (s * len(X))) for s in np.logspace(-7, -3, 5)]
    scaler = StandardScaler().fit(numbers)
    found = scaler.transform(reg.predict(X))
    errors = [
        np.abs(c.fit(Z, scaler.transform(numbers)).predict(Z) - found).max()
        for c in candidates
    ]
    assert min(errors) < 1e-3


@pytest.mark.parametrize("make", [VGG19Classifier, VGG19Regressor])
def test_metadata_routing_is_for_the_searches_of_the_user(cuts, make):
    X, y = cuts
    y = (y == "china").astype(int)
    with config_context(enable_metadata_routing=True):
        routed = small(make, trainable=None).fit(X, y)
    assert_same(routed, small(make, trainable=None).fit(X, y))


# The second phase


def test_steps_are_those_of_keras(cuts):
    """Two trained layers and the head, in one batch, against Keras' model and Adam."""
    import keras

    tf = import_tensorflow()
    X, y = cuts
    params = {"layer": "block2_pool", "weight_decay": 0.1, "layer_decay": 0.5}
    params |= {"trainable": "block1_conv2", "batch_size": len(X), "max_iter": 6}
    params |= {"learning_rate_init": 1e-3}
    tuned = small(**params).fit(X, y)
    head = small(**{**params, "trainable": None}).fit(X, y).head_
    shapes = {
        "block1_conv1": (3, 3, 3, 64),
        "block1_conv2": (3, 3, 64, 64),
        "block2_conv1": (3, 3, 64, 128),
        "block2_conv2": (3, 3, 128, 128),
    }
    start = weights.load(None, shapes, seed=0).parameters
    maps = VGG19Features(None, layer="block1_conv1", image_size=32, random_state=0)
    x = maps.transform(X).astype(np.float16).astype(np.float32)
    x = x.reshape(-1, 32, 32, 64)

    conv = {"kernel_size": 3, "padding": "same", "activation": "relu"}
    model = keras.Sequential(
        [
            keras.Input((32, 32, 64)),
            keras.layers.Conv2D(64, name="block1_conv2", **conv),
            keras.layers.MaxPool2D(),
            keras.layers.Conv2D(128, name="block2_conv1", **conv),
            keras.layers.Conv2D(128, name="block2_conv2", **conv),
            keras.layers.MaxPool2D(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Normalization(
                mean=head.feature_mean_, variance=head.feature_scale_**2
            ),
            keras.layers.Dense(2, name="head"),
        ]
    )
    for name in tuned.features_.weights.parameters:
        model.get_layer(name).set_weights(start[name])
    (W,), (b,) = head.coefs_, head.intercepts_
    model.get_layer("head").set_weights([W, b])
    penalty = small(**{**params, "trainable": None}).fit(X, y)._penalties[0]
    # Of the head, of block 2, of block 1.
    groups = [["head"], ["block2_conv1", "block2_conv2"], ["block1_conv2"]]
    optimizers = []
    for names in groups:
        variables = [v for n in names for v in model.get_layer(n).trainable_variables]
        decay = None if names == ["head"] else 0.1
        adam = keras.optimizers.Adam(epsilon=1e-8, weight_decay=decay)
        adam.exclude_from_weight_decay(var_list=[v for v in variables if v.ndim == 1])
        adam.build(variables)
        optimizers.append((adam, variables))
    Y = np.eye(2, dtype=np.float32)[np.unique(y, return_inverse=True)[1]]
    losses = []
    for factor in warm_up_and_fall(6, 1):
        with tf.GradientTape(persistent=True) as tape:
            logits = model(x)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(Y, logits))
            kernel = model.get_layer("head").kernel
            total = loss + penalty / 2 * tf.reduce_sum(tf.square(kernel))
        losses.append(float(loss))
        gradients = [
            tape.gradient(total, [v.value for v in variables])
            for _, variables in optimizers
        ]
        for (adam, _), gradient, rate in zip(
            optimizers, gradients, [1e-3, 1e-3, 0.5e-3], strict=True
        ):
            adam.learning_rate = rate * factor
            adam.apply(gradient)
    np.testing.assert_allclose(tuned.history_["loss"], losses, rtol=2e-3)
    for name, (kernel, bias) in tuned.features_.weights.parameters.items():
        expected, expected_bias = model.get_layer(name).get_weights()
        moved = np.abs(expected - start[name][0]).max()
        assert moved > 1e-3
        np.testing.assert_allclose(kernel, expected, atol=0.1 * moved)
        np.testing.assert_allclose(bias, expected_bias, atol=0.1 * moved)


@pytest.mark.parametrize(
    "block", ["block5", pytest.param("block3", marks=pytest.mark.slow)]
)
def test_a_step_with_hed_moves_what_tensorflows_gradient_moves(cuts, block):
    """Most sums of its copied maps are exactly zero: no gradient passes there."""
    tf = import_tensorflow()
    X, y = cuts
    params = {"layer": "block5_pool", "image_size": 64, "weights": "hed"}
    params |= {"trainable": block, "batch_size": len(X), "max_iter": 1}
    params |= {"layer_decay": 1.0}
    tuned = small(**params).fit(X, y).features_.weights.parameters
    head = small(**{**params, "trainable": None}).fit(X, y).head_
    below = f"block{int(block[-1]) - 1}_pool"
    maps = VGG19Features("hed", layer=below, pooling=None, image_size=64)
    maps = maps.fit_transform(X).astype(np.float16).astype(np.float32)
    side = 2 ** (7 - int(block[-1]))
    x = maps.reshape(len(X), side, side, -1)
    hed = weights.load("hed", parameter_shapes(["block5_pool"], (64, 64))).parameters
    variables = {n: [tf.constant(a, tf.float32) for a in hed[n]] for n in tuned}
    with tf.GradientTape() as tape:
        tape.watch(variables)
        for name, (kernel, bias) in variables.items():
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + bias)
            if name.endswith("conv4"):
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        rows = (tf.reduce_mean(x, [1, 2]) - head.feature_mean_) / head.feature_scale_
        logits = rows @ head.coefs_[0] + head.intercepts_[0]
        Y = np.eye(2, dtype=np.float32)[np.unique(y, return_inverse=True)[1]]
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(Y, logits))
    gradients = tape.gradient(loss, variables)
    for name, arrays in tuned.items():
        for new, old, gradient in zip(arrays, hed[name], gradients[name], strict=True):
            g = gradient.numpy().astype(float)
            step = -1e-4 * g / (np.abs(g) + 1e-8 / np.sqrt(1e-3))  # Adam's first
            np.testing.assert_array_equal(new[g == 0], old[g == 0])
            is_clear = np.abs(g) > 1e-4 * np.abs(g).max()
            moved = (new.astype(float) - old)[is_clear]
            np.testing.assert_allclose(moved, step[is_clear], atol=2e-6)


def test_training_lowers_the_loss_and_changes_what_it_should(cuts):
    X, y = cuts
    clf = small(max_iter=4).fit(X, y)
    assert clf.loss_curve_ == clf.history_["loss"]
    assert clf.loss_curve_[-1] < clf.loss_curve_[0]
    assert len(clf.loss_curve_) == clf.n_iter_ == 4
    assert {*clf.features_.weights.parameters} == {"block2_conv1", "block2_conv2"}
    assert clf.score(X, y) == 1


def test_the_trained_part_predicts_as_the_whole_network_does(cuts):
    """What the epochs saw last is what predict gives, but for float16 maps."""
    X, y = cuts
    clf = small(max_iter=3, early_stopping=True, validation_fraction=0.5).fit(X, y)
    labels = clf.classes_[clf.predict_proba(X).argmax(axis=1)]
    np.testing.assert_array_equal(labels, clf.predict(X))
    log = clf.predict_log_proba(X)
    np.testing.assert_allclose(np.exp(log), clf.predict_proba(X), atol=1e-5)
    head = clf.head_
    rows = clf.to_features().transform(X)
    rows = (rows - head.feature_mean_) / head.feature_scale_
    np.testing.assert_allclose(
        softmax(rows @ head.coefs_[0] + head.intercepts_[0], axis=1),
        clf.predict_proba(X),
        atol=2e-3,  # the map is not rounded
    )


@pytest.mark.parametrize("trainable", ["all", "block1_conv2", "block2_conv2"])
def test_any_layer_may_be_the_first_that_is_trained(cuts, trainable):
    X, y = cuts
    assert small(trainable=trainable).fit(X, y).score(X, y) > 0.9


def test_the_head_may_take_both_poolings(cuts):
    X, y = cuts
    clf = small(pooling=("avg", "max")).fit(X, y)
    assert clf.head_.n_features_in_ == 2 * (64 + 128)
    assert clf.score(X, y) > 0.9


@pytest.mark.parametrize("head", [(8,), 8])
def test_the_head_may_have_hidden_layers(cuts, head):
    X, y = cuts
    clf = small(head=head, dropout=0.1).fit(X, y)
    assert [len(b) for b in clf.head_.intercepts_] == [8, 2]
    assert clf.score(X, y) > 0.8


def test_a_regressor_learns_one_or_several_targets(cuts, numbers):
    X = cuts[0]
    for y in (numbers, numbers[:, 0]):
        reg = small(VGG19Regressor, max_iter=8).fit(X, y)
        assert reg.score(X, y) > 0.9
        assert reg.predict(X).shape == y.shape
        assert reg.history_["loss"][-1] < y.var(axis=0).mean()


def test_a_graph_of_the_user_does_not_matter(cuts):
    X, y = cuts
    with import_tensorflow().Graph().as_default():
        within = small(early_stopping=True, validation_fraction=0.4).fit(X, y)
    assert_same(within, small(early_stopping=True, validation_fraction=0.4).fit(X, y))


@pytest.mark.parametrize("precision", ["float32", "tensorfloat32"])
def test_a_gpu_rounds_products_in_training_only_if_asked(cuts, monkeypatch, precision):
    switches = []
    within = base.tensor_float_32

    def note(enabled):
        switches.append(enabled)
        return within(enabled)

    monkeypatch.setattr(base, "tensor_float_32", note)
    small(precision=precision, max_iter=1).fit(*cuts)
    assert switches == [precision == "tensorfloat32"]


@pytest.mark.parametrize("processor_of", ["with_instructions", "with_tiles"])
def test_reduced_precision_learns_the_same(processor_of, cuts, request):
    request.getfixturevalue(processor_of)
    X, y = cuts
    for precision in ("bfloat16", "float32"):
        assert small(precision=precision).fit(X, y).score(X, y) > 0.9


def test_the_rate_rises_and_falls():
    factors = [*warm_up_and_fall(100, 50)]
    assert factors[:10] == pytest.approx(np.linspace(0.1, 1, 10))
    halves = [(1 + math.cos(math.pi * i / 91)) / 2 for i in range(1, 91)]
    assert factors[10:] == pytest.approx(halves)
    assert len([*warm_up_and_fall(1, 1)]) == 1


def test_lower_blocks_learn_more_slowly(cuts):
    X, y = cuts
    start = weights.load(
        None, {"block1_conv2": (3, 3, 64, 64), "block2_conv1": (3, 3, 64, 128)}, seed=0
    ).parameters

    def moves(decay):
        clf = small(trainable="block1", layer_decay=decay, max_iter=1).fit(X, y)
        tuned = clf.features_.weights.parameters
        return [np.abs(tuned[n][0] - start[n][0]).max() for n in start]

    slow, fast = moves(0.01), moves(1.0)
    assert slow[0] < 0.05 * fast[0]
    assert slow[1] == pytest.approx(fast[1], rel=0.3)


def test_early_stopping_keeps_the_best_of_all_epochs_and_of_none(cuts):
    X, y = cuts
    clf = small(
        early_stopping=True,
        validation_fraction=0.4,
        learning_rate_init=3.0,  # which ruins the layers, but not to infinity
        max_iter=4,
        n_iter_no_change=2,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            clf.fit(X, y)
        except ValueError as error:
            pytest.skip(str(error))
    assert clf.n_iter_ < 4
    assert clf.best_validation_score_ >= max(clf.history_["val_accuracy"])
    assert clf.score(X, y) > 0.9


def test_nothing_is_held_out_of_a_head_alone(cuts):
    alone = small(trainable=None).fit(*cuts)
    assert_same(alone, small(trainable=None, early_stopping=True).fit(*cuts))


def test_warm_start_goes_on_from_the_last_layers(cuts, passes):
    X, y = cuts
    clf = small(warm_start=True).fit(X, y)
    before = clf.loss_curve_[-1]
    clf.set_params(trainable="block2_conv2").fit(X, y)
    assert clf.loss_curve_[0] < before * 1.5
    assert {*clf.features_.weights.parameters} == {"block2_conv1", "block2_conv2"}
    assert clf.score(X, y) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "block2_pool"}, r"outputs of layers \(\('block1_pool_avg', 64\)"),
        ({"layer": LAYERS[::-1]}, "outputs of layers"),
        ({"pooling": "max"}, "'block1_pool_max'"),
        ({"pooling": None}, "'block1_pool', 16384"),
        ({"head": (4,)}, r"hidden layers of the head \(\); now they would be \(4,\)"),
        ({"weights": "hed"}, "whose weights were not 'hed'"),
    ],
)
@pytest.mark.parametrize("trainable", [None, "block2"])
def test_warm_start_refuses_what_the_last_head_cannot_take(
    cuts, trainable, change, message
):
    X, y = cuts
    clf = small(warm_start=True, trainable=None).fit(X, y)
    before = clf.predict_proba(X)
    clf.set_params(**change, trainable=trainable)
    with pytest.raises(ValueError, match=message):
        clf.fit(X, y)
    np.testing.assert_array_equal(clf.predict_proba(X), before)


def test_warm_start_keeps_random_weights_without_a_seed(cuts):
    X, y = cuts
    params = {"random_state": None, "max_iter": 1, "learning_rate_init": 1e-9}
    clf = small(trainable=None, warm_start=True, **params).fit(X, y)
    rows = clf.to_features().transform(X)
    before = clf.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(clf.to_features().transform(X), rows)
    clf.set_params(trainable="block2").fit(X, y)
    # Maps are rounded to float16; other weights would give other probabilities.
    np.testing.assert_allclose(clf.predict_proba(X), before, atol=2e-3)


def test_warm_start_fits_a_head_alone_again_on_the_layers_of_the_last_fit(cuts):
    X, y = cuts
    clf = small(warm_start=True).fit(X, y)
    tuned = clf.to_features().transform(X)
    other = np.where(y == "china", "sky", "sea")
    clf.set_params(trainable=None).fit(X, other)
    assert clf.classes_.tolist() == ["sea", "sky"]
    np.testing.assert_array_equal(clf.to_features().transform(X), tuned)
    scratch = small(weights=clf.features_.weights, trainable=None).fit(X, other)
    np.testing.assert_array_equal(clf.predict_proba(X), scratch.predict_proba(X))


# Weights of images


def test_images_of_weight_zero_are_as_if_removed(cuts):
    X, y = cuts
    kept = np.arange(len(X)) % 3 != 0
    weighted = small().fit(X, y, sample_weight=kept.astype(float))
    assert_close(weighted, small().fit(X[kept], y[kept]))


@pytest.mark.parametrize(
    "params", [{"trainable": None}, {}, {"head": (8,)}, {"head": (8,), "max_iter": 1}]
)
@pytest.mark.parametrize("class_weight", [None, "balanced", {"none": 0}])
def test_a_class_without_weight_stays_a_class_as_in_scikit_learn(
    cuts, params, class_weight
):
    X, y = cuts
    y = np.where(np.arange(len(y)) < 4, "none", y)
    kept = y != "none"
    w = None if isinstance(class_weight, dict) else kept.astype(float)
    clf = small(class_weight=class_weight, **params).fit(X, y, sample_weight=w)
    zero = class_weight if isinstance(class_weight, dict) else None
    theirs = LogisticRegression(class_weight=zero, max_iter=1000)
    theirs.fit(X.mean(axis=(1, 2)) / 255, y, sample_weight=w)
    np.testing.assert_array_equal(clf.classes_, theirs.classes_)
    assert set(clf.predict(X)) == {"china", "flower"}
    if "head" not in params:
        some = class_weight if class_weight == "balanced" else None
        without = small(class_weight=some, **params).fit(X[kept], y[kept])
        np.testing.assert_allclose(
            clf.predict_proba(X)[:, :2], without.predict_proba(X), atol=1e-4
        )
        assert clf.predict_proba(X)[:, 2].max() < 1e-5


def test_one_class_with_weight_is_predicted_always(cuts):
    X, y = cuts
    clf = small(trainable=None, class_weight={"flower": 0.0}).fit(X, y)
    assert list(clf.classes_) == ["china", "flower"]
    np.testing.assert_allclose(clf.predict_proba(X), [[1, 0]] * len(X), atol=2e-6)


def test_a_warm_start_may_lack_a_class_of_class_weight(cuts):
    X, y = cuts
    clf = small(class_weight={"china": 2.0}, warm_start=True, max_iter=1).fit(X, y)
    flowers = y == "flower"
    clf.fit(X[flowers], y[flowers])
    assert list(clf.classes_) == ["china", "flower"]


@pytest.mark.parametrize("params", [{}, {"augment": "flip", "average_views": True}])
def test_probabilities_are_float64_and_sum_to_one(cuts, params):
    X, y = cuts
    proba = small(trainable=None, **params).fit(X, y).predict_proba(X)
    assert proba.dtype == np.float64
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_linear_head_predicts_features_far_from_zero_as_others(n_classes):
    X, y = load_iris(return_X_y=True)
    X, y = X[y < n_classes], y[y < n_classes]
    targets, w = ClassTargets(np.arange(n_classes)), np.ones(len(y))
    near, _ = fit_linear_classifier(X, y, w, len(y), targets, 0)
    far, _ = fit_linear_classifier(X + 1e7, y, w, len(y), targets, 0)
    np.testing.assert_allclose(
        far.predict_proba(X + 1e7), near.predict_proba(X), atol=1e-4
    )
    Z = scale(X)
    expected = softmax(Z @ near.coefs_[0] + near.intercepts_, axis=1)
    np.testing.assert_allclose(near.predict_proba(X), expected, atol=1e-6)


def test_weights_are_relative(cuts):
    X, y = cuts
    even = small().fit(X, y)
    assert_same(even, small().fit(X, y, sample_weight=np.full(len(X), 0.25)))


def test_the_weights_that_are_passed_stay_as_they_are(cuts):
    X, y = cuts
    w = np.ones(len(X))
    small(class_weight={"china": 3.0, "flower": 1.0}).fit(X, y, sample_weight=w)
    np.testing.assert_array_equal(w, 1)


def test_class_weight_multiplies_the_weights(cuts):
    X, y = cuts
    some = {"china": 3.0, "flower": 1.0}
    by_class = small(class_weight=some).fit(X, y)
    by_image = small().fit(X, y, sample_weight=[some[label] for label in y])
    assert_same(by_class, by_image)
    assert not np.array_equal(by_class.head_.coefs_[0], small().fit(X, y).head_.coefs_)


# Once an image


def test_the_frozen_layers_run_once_an_image(cuts, passes, tmp_path):
    X, y = cuts
    params = {"memory": tmp_path, "trainable": "block2", "max_iter": 5}
    small(**params).fit(X, y)
    assert sum(passes) == len(X)
    small(**params, learning_rate_init=1e-4).fit(X, y)
    assert sum(passes) == len(X)
    cross_val_score(small(**params), X, y, cv=2)
    assert sum(passes) == len(X)  # not even for the folds' test images


def test_each_view_runs_once_as_well(cuts, passes, tmp_path):
    X, y = cuts
    small(memory=tmp_path, augment="flips").fit(X, y)
    assert sum(passes) == 4 * len(X)
    small(memory=tmp_path, augment="flip", max_iter=1).fit(X, y)
    assert sum(passes) == 4 * len(X)


@pytest.mark.parametrize("params", [{}, {"augment": "flip", "average_views": True}])
@pytest.mark.parametrize("trainable", ["block2", "block1_conv2", "all"])
def test_predictions_begin_with_stored_maps(cuts, passes, tmp_path, trainable, params):
    X, y = cuts
    params = {"trainable": trainable, **params}
    n_of_others = 10  # which are not stored
    clf = small(memory=tmp_path, **params).fit(X[n_of_others:], y[n_of_others:])
    fitted = small(**params).fit(X[n_of_others:], y[n_of_others:])
    expected = fitted.predict_proba(X)
    passes.clear()
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-6)
    n_views = 1 + bool(params.get("augment"))
    n_new = len(X) if trainable == "all" else n_of_others
    assert sum(passes) == n_views * n_new
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-6)
    assert sum(passes) == n_views * n_new
    # A transformer with the same weights rounds nothing.
    rows = clf.to_features().transform(X)
    exact = fitted.to_features().transform(X)
    np.testing.assert_array_equal(rows, exact)
    if trainable != "all" and n_views == 1:
        np.testing.assert_allclose(clf.head_.predict_proba(rows), expected, atol=0.01)
        assert not np.array_equal(clf.head_.predict_proba(rows), expected)


def test_maps_of_other_preprocessing_are_not_those_of_the_training(cuts, tmp_path):
    """What "auto" means for tuned weights is not what it means for those below."""
    tuned = small(preprocessing="torch").fit(*cuts).features_.weights
    small(memory=tmp_path).fit(*cuts)
    ours = small(weights=tuned, memory=tmp_path).fit(*cuts)
    expected = small(weights=tuned).fit(*cuts).predict_proba(cuts[0])
    np.testing.assert_allclose(ours.predict_proba(cuts[0]), expected, atol=1e-6)


def test_predictions_begin_where_the_last_fit_did(cuts, passes, tmp_path):
    params = {"layer": "block3_pool", "memory": tmp_path, "warm_start": True}
    clf = small(**params).fit(*cuts).set_params(trainable="block3").fit(*cuts)
    passes.clear()
    clf.predict(cuts[0])
    assert passes == []
    alone = small(weights=clf.features_.weights, trainable=None, memory=tmp_path)
    alone.fit(*cuts)
    passes.clear()
    alone.predict(cuts[0])
    assert passes == []


def test_a_number_beyond_float16_concerns_its_own_map_alone():
    output = Output("block1_pool", None)
    recipe = Recipe((output,), (), None, None, map_dtype="float16")
    assert recipe.to_stored(output, np.float32([1, 65504])).dtype == np.float16
    row = np.float32([1, 65600])
    np.testing.assert_array_equal(recipe.to_stored(output, row), row)


def test_maps_are_not_mistaken_for_features(cuts, tmp_path):
    """Maps are kept in float16; the same layer's features are not."""
    X, y = cuts
    params = {"layer": "block1_pool", "image_size": 32, "random_state": 0}
    expected = VGG19Features(None, **params).transform(X)
    small(memory=tmp_path).fit(X, y)
    features = VGG19Features(None, **params, memory=tmp_path)
    np.testing.assert_array_equal(features.transform(X), expected)


def test_float16_maps_cost_nothing_that_can_be_measured(cuts, monkeypatch):
    X, y = cuts
    rounded = small(max_iter=3).fit(X, y)
    monkeypatch.setattr("skvgg._finetune.base.MAP_DTYPE", "float32")
    exact = small(max_iter=3).fit(X, y)
    np.testing.assert_allclose(rounded.loss_curve_, exact.loss_curve_, rtol=0.02)
    np.testing.assert_allclose(
        rounded.predict_proba(X), exact.predict_proba(X), atol=0.02
    )


def test_a_temporary_store_is_gone_afterwards(cuts, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    small().fit(*cuts)
    assert [*tmp_path.iterdir()] == []


def test_much_room_is_announced_and_too_little_is_refused(cuts, monkeypatch, tmp_path):
    monkeypatch.setattr(stored, "MUCH", 1e6)
    with pytest.warns(UserWarning, match=r"will take up to 0\.0 GB in .*a later"):
        small(memory=tmp_path).fit(*cuts)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(stored.shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    monkeypatch.setattr(stored, "MUCH", 1e10)
    small(memory=tmp_path, trainable="block2_conv1").fit(*cuts)  # they are there
    model = small(memory=tmp_path / "other")
    with pytest.raises(OSError, match=r"0\.0 GB are free. Choose another `memory`"):
        model.fit(*cuts)
    assert not hasattr(model, "head_")


def test_a_joblib_memory_without_a_folder_is_none(cuts):
    X, y = cuts
    without = small(memory=joblib.Memory(None, verbose=0)).fit(X, y)
    assert_same(without, small().fit(X, y))
    np.testing.assert_array_equal(without.predict(X), y)


def test_a_store_that_is_full_is_named_and_nothing_is_learned(cuts, monkeypatch):
    monkeypatch.setattr("skvgg._store.cache.Cache.put", lambda self, arrays: None)
    model = small()
    with pytest.raises(OSError, match="no longer in `memory`"):
        model.fit(*cuts)
    assert not hasattr(model, "head_")


# Views


def test_flips_are_those_of_numpy(cuts):
    X = cuts[0][:3]
    params = {"layer": "block1_pool", "pooling": "avg", "image_size": (32, 40)}
    alone = VGG19Features(None, **params, random_state=0)
    mean = clone(alone).set_params(views="flips").transform(X)
    flipped = [X, X[:, :, ::-1], X[:, ::-1], X[:, ::-1, ::-1]]
    expected = np.mean([alone.transform(some) for some in flipped], axis=0)
    np.testing.assert_allclose(mean, expected, rtol=1e-3, atol=1e-2)


def test_bad_images_are_told_of_once_for_all_views(cuts):
    features = VGG19Features(
        None,
        layer="block1_pool",
        image_size=32,
        views="flips",
        on_error="nan",
        random_state=0,
    )
    with pytest.warns(BadImageWarning, match=r"1 of \d+ images") as told:
        rows = features.transform([*cuts[0][:2], "nowhere.png"])
    assert len(told) == 1
    assert np.isnan(rows).all(axis=1).tolist() == [False, False, True]


def test_predictions_may_be_means_over_views(cuts):
    X, y = cuts
    clf = small(augment="flip", average_views=True).fit(X, y)
    mean = clf.predict_proba(X)
    clf.set_params(average_views=False)
    resized = X  # 48 to 32 pixels: stretching commutes with flipping
    expected = (clf.predict_proba(resized) + clf.predict_proba(X[:, :, ::-1])) / 2
    np.testing.assert_allclose(mean, expected, atol=1e-3)


def test_crops_follow_from_the_image_and_the_seed_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    crop = views.RandomCrop(1, seed=0)
    assert np.array_equal(crop(pixels, b"a"), crop(pixels, b"a"))
    others = [crop(pixels, b"b"), views.RandomCrop(2, 0)(pixels, b"a")]
    others += [views.RandomCrop(1, 1)(pixels, b"a"), pixels]
    for other in others:
        assert other.shape == pixels.shape
        assert not np.array_equal(crop(pixels, b"a"), other)


def test_images_of_floats_have_views_as_well(cuts):
    X, y = cuts[0] * np.float32(0.9), cuts[1]
    for augment in ("crop", "flips", lambda pixels, rng: pixels[::-1]):
        clf = small(augment=augment, n_views=2).fit(X, y)
        assert clf.score(X, y) > 0.9


def test_a_callable_makes_views(cuts):
    X, y = cuts
    seen = []

    def darken(pixels, rng):
        seen.append(pixels.shape)
        return (pixels * rng.uniform(0.5, 1)).astype(np.uint8)

    clf = small(augment=darken, n_views=3).fit(X, y)
    assert seen == [(32, 32, 3)] * (2 * len(X))
    assert clf.score(X, y) > 0.9
    with pytest.raises(
        TypeError, match=r"augment=.* returned an array of shape \(3,\)"
    ):
        small(augment=lambda pixels, rng: pixels[0, 0]).fit(X, y)


def test_local_functions_are_pickled_with_the_model(cuts):
    X, y = cuts
    clf = small(augment=lambda pixels, rng: pixels[::-1], n_views=2).fit(X, y)
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert again.augment(X[0], None).shape == X[0].shape


def test_averages_need_views_with_names(cuts):
    with pytest.raises(ValueError, match="average_views=True averages over the views"):
        small(average_views=True).fit(*cuts)


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


def test_a_pickle_predicts_the_same_in_a_new_process(cuts, tmp_path):
    X, y = cuts
    clf = small().fit(X, y)
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


def test_a_fit_that_fails_leaves_the_last_one_as_it_was(cuts):
    X, y = cuts
    clf = small().fit(X, y)
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
