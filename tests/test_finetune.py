"""Fine-tuning: which layers are trained, and what both phases learn."""

import math
import warnings

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from skvgg import (
    VGG19Classifier,
    VGG19Features,
    VGG19Regressor,
    weights,
)
from skvgg._definition.architecture import Output, parameter_shapes
from skvgg._finetune import tune
from skvgg._finetune.plan import Plan
from skvgg._finetune.tune import warm_up_and_fall
from skvgg._network import vgg19
from skvgg._runtime.tensorflow import import_tensorflow

from .finetuning import LAYERS, assert_same, small


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
    within = tune.tensor_float_32

    def note(enabled):
        switches.append(enabled)
        return within(enabled)

    monkeypatch.setattr(tune, "tensor_float_32", note)
    small(precision=precision, max_iter=1).fit(*cuts)
    assert switches == [precision == "tensorfloat32"]


@pytest.mark.usefixtures("with_instructions")
def test_reduced_precision_learns_the_same(cuts):
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
