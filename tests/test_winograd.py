"""The Winograd engine computes what TensorFlow's convolution and Keras compute."""

import threading
from collections import Counter

import numpy as np
import pytest
from scipy.signal import correlate

from skvgg import VGG19Features
from skvgg._network import engines, layers, winograd, winograd_training
from skvgg._runtime import threads
from skvgg._runtime.tensorflow import import_tensorflow

from .conftest import relative_error
from .test_same_as_keras import keras_outputs, random_images, split_by_layer


def reference(x, kernel, bias):
    """Return relu(conv(x) + bias) in float64, by SciPy."""
    padded = np.pad(x.astype(float), [(0, 0), (1, 1), (1, 1), (0, 0)])
    maps = [
        [correlate(image, k, mode="valid")[..., 0] for k in np.moveaxis(kernel, 3, 0)]
        for image in padded
    ]
    return np.maximum(np.moveaxis(maps, 1, 3) + bias, 0)


def maxima(y):
    """Return the maxima of 2x2 pixels; an odd last line is left out."""
    n, height, width, channels = y.shape
    y = y[:, : height // 2 * 2, : width // 2 * 2]
    return y.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def test_one_dimension_is_a_correlation():
    at, g, bt = winograd.matrices()
    rng = np.random.default_rng(0)
    numbers, kernel = rng.normal(size=6), rng.normal(size=3)
    actual = at @ ((g @ kernel) * (bt @ numbers))
    np.testing.assert_allclose(actual, np.correlate(numbers, kernel, "valid"))


@pytest.mark.parametrize("pools", [False, True])
@pytest.mark.parametrize(
    ("size", "rows"),
    [
        *[((8, 8), None), ((9, 14), None), ((3, 2), None)],
        *[((16, 8), 1), ((16, 8), 2)],  # the last stripe ends with the image
        *[((13, 6), 1), ((19, 9), 2), ((22, 5), 3)],  # it overlaps the one before
        ((9, 7), 2),  # one stripe holds all
    ],
)
def test_convolution_of_any_size_in_any_stripes(size, rows, pools):
    tf = import_tensorflow()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *size, 5)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 5, 7)).astype(np.float32)
    bias = rng.normal(size=7).astype(np.float32)
    function = engines._winograd_function(x.shape, 7, pools, rows)
    u = [tf.constant(part) for part in winograd.transform_kernel(kernel)]
    actual = function(tf.constant(x), u, tf.constant(bias)).numpy()
    expected = reference(x, kernel, bias)
    assert relative_error(actual, maxima(expected) if pools else expected) <= 2e-6


@pytest.fixture(scope="module")
def seen_of_winograd():
    """Which shapes the engine was called with; it is called through."""
    seen = Counter()
    original = engines._winograd_function

    def count(shape, *others):
        seen[shape] += 1
        return original(shape, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "_winograd_function", count)
        yield seen


@pytest.mark.slow
def test_a_batch_at_224_is_that_of_keras(keras_top, seen_of_winograd):
    model, path = keras_top
    names = ["block2_conv2", *[f"block{i}_pool" for i in range(2, 6)], "fc1"]
    images = random_images(13, 224, 224, 3)  # the last parts are not full
    expected = keras_outputs(model, images, names)
    rows = VGG19Features(path, layer=names, engine="winograd").transform(images)
    for name, actual in split_by_layer(rows, expected).items():
        assert relative_error(actual, expected[name].reshape(13, -1)) <= 1e-5, name
    assert seen_of_winograd == {
        (2, 224, 224, 64): 6,  # the last image goes directly
        (2, 112, 112, 64): 6,
        (2, 112, 112, 128): 6,
        (4, 56, 56, 128): 3,
        (4, 56, 56, 256): 9,
        (8, 28, 28, 256): 2,
        (8, 28, 28, 512): 6,
        (16, 14, 14, 512): 4,
    }


def test_images_side_by_side_give_the_rows_of_each(tiles, monkeypatch):
    """Small images, made to go in stripes and in threads as large ones do."""
    X = tiles[0][:21]
    names = ["block1_conv1", "block2_conv1", "block2_pool", "block3_pool"]
    params = {"weights": None, "random_state": 0, "layer": names, "image_size": 48}
    expected = VGG19Features(**params, engine="direct").transform(X)
    monkeypatch.setattr(engines, "_WINOGRAD_BYTES", 1)
    monkeypatch.setattr(engines, "_STRIPE_BYTES", 1)
    monkeypatch.setattr(threads, "max_threads", lambda: 3)
    used = set()
    original = engines.Winograd.convolve

    def convolve(self, *args, **kwargs):
        used.add(threading.current_thread())
        return original(self, *args, **kwargs)

    monkeypatch.setattr(engines.Winograd, "convolve", convolve)
    rows = VGG19Features(**params, engine="winograd").transform(X)
    assert 1 < len(used) <= 4  # one of them starts the others
    assert relative_error(rows, expected) <= 1e-5
    assert not np.array_equal(rows, expected)


def test_error_is_that_of_float32():
    """Against float64, at the depth of block 5: 512 channels."""
    tf = import_tensorflow()
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(2, 8, 8, 512)), 0).astype(np.float32)
    kernel = rng.normal(0, 1 / 48, size=(3, 3, 512, 32)).astype(np.float32)
    bias = np.zeros(32, np.float32)
    expected = reference(x, kernel, bias)
    u = [tf.constant(part) for part in winograd.transform_kernel(kernel)]
    convolve = engines._winograd_function(x.shape, 32, False, None)
    # That of TensorFlow's own is 2e-7 to 2e-6, depending on the processor.
    assert relative_error(convolve(x, u, bias).numpy(), expected) <= 5e-6


@pytest.mark.slow
def test_few_images_at_224_go_one_by_one_and_are_those_of_keras(
    keras_top, seen_of_winograd
):
    model, path = keras_top
    names = ["block2_conv2", *[f"block{i}_pool" for i in range(2, 6)], "fc1"]
    images = random_images(2, 224, 224, 3)
    expected = keras_outputs(model, images, names)
    seen_of_winograd.clear()
    rows = VGG19Features(path, layer=names, engine="winograd").transform(images)
    for name, actual in split_by_layer(rows, expected).items():
        assert relative_error(actual, expected[name].reshape(2, -1)) <= 1e-5, name
    assert {shape[0] for shape in seen_of_winograd} == {1}
    assert seen_of_winograd.total() == 2 * 15  # all but the first convolution


@pytest.mark.parametrize(
    ("engine", "precision", "n_done", "batch_size", "expected"),
    [
        ("direct", "float32", 1000, 32, "direct"),
        ("auto", "float32", 95, 32, "direct"),
        ("auto", "float32", 95, 1, "direct"),
        ("auto", "float32", 96, 7, "winograd"),
        ("auto", "float32", 96, 6, "winograd_one_by_one"),
        ("auto", "tensorfloat32", 96, 7, "winograd"),
        ("auto", "bfloat16", 96, 7, "direct"),
        ("auto", "float16", 96, 6, "direct"),
        ("winograd", "float32", 0, 7, "winograd"),
        ("winograd", "float32", 0, 6, "winograd_one_by_one"),
    ],
)
def test_the_engine_depends_on_the_job_alone(
    engine, precision, n_done, batch_size, expected
):
    assert engines.choose_method(engine, precision, n_done, batch_size) == expected


def test_a_last_batch_of_few_compiles_nothing(tiles, seen_of_winograd):
    features = VGG19Features(
        None, random_state=0, layer="block1_pool", image_size=64, engine="winograd"
    )
    seen_of_winograd.clear()
    features.transform(tiles[0][:33])
    assert seen_of_winograd == {(8, 64, 64, 64): 4}
    features.transform(tiles[0][:1])  # too small to be worth it
    assert seen_of_winograd == {(8, 64, 64, 64): 4}
    features.set_params(image_size=128).transform(tiles[0][:1])
    assert seen_of_winograd == {(8, 64, 64, 64): 4, (1, 128, 128, 64): 1}


def test_auto_computes_a_small_job_directly(tiles, monkeypatch):
    monkeypatch.setattr(engines, "IMAGES_BEFORE_COMPILING", 40)
    X = tiles[0]
    params = {"weights": None, "random_state": 0, "layer": "block2_pool"}

    def rows(**changes):
        return VGG19Features(image_size=32, **params, **changes).transform(X[:104])

    auto, direct, fast = rows(), rows(engine="direct"), rows(engine="winograd")
    # Batches of 32: the engine changes after the first that ends beyond 40.
    np.testing.assert_array_equal(auto[:64], direct[:64])
    np.testing.assert_array_equal(auto[64:96], fast[64:96])
    assert not np.array_equal(direct[:64], fast[:64])
    assert relative_error(fast, direct) <= 1e-5
    np.testing.assert_array_equal(fast[96:], direct[96:])  # too few for it


# With gradients


@pytest.mark.parametrize(("size", "n_parts"), [((8, 8), 1), ((5, 10), 3)])
def test_gradients_are_those_of_tensorflows_convolution(size, n_parts, monkeypatch):
    tf = import_tensorflow()
    rng = np.random.default_rng(0)
    shape = (5, *size, 8)
    x, kernel, bias, dy = (
        tf.constant(rng.normal(size=s), tf.float32)
        for s in (shape, (3, 3, 8, 6), (6,), (*shape[:3], 6))
    )
    of_one = winograd.transformed_bytes(*size, 8)
    monkeypatch.setattr(winograd_training, "_MAP_BYTES", 5 * of_one / n_parts)
    convolutions = layers.convolve, winograd_training.make_convolution(shape, 6)
    found = []
    for convolve in convolutions:
        with tf.GradientTape() as tape:
            tape.watch([x, kernel, bias])
            y = convolve(x, kernel, bias)
        found.append([y, *tape.gradient(y, [x, kernel, bias], dy)])
    for ours, theirs in zip(*found[::-1], strict=True):
        assert relative_error(ours.numpy(), theirs.numpy()) < 1e-5


def test_layers_are_trained_by_winograd_where_it_pays():
    kernels = {
        "block2_conv2": (3, 3, 128, 128),
        "block3_conv2": (3, 3, 256, 256),
        "block5_conv1": (3, 3, 512, 512),
        "fc1": (25088, 4096),
    }

    def chosen(precision="float32", n_passes=10_000, side=224):
        size = (side, side)
        make = winograd_training.convolutions_to_train
        return [*make(kernels, size, precision, 32, n_passes)]

    assert chosen() == ["block3_conv2", "block5_conv1"]
    assert chosen("bfloat16") == chosen("tensorfloat32") == []
    assert chosen(n_passes=300) == ["block3_conv2"]  # block 5 is done too soon
    assert chosen(n_passes=10) == chosen(n_passes=1000, side=32) == []
