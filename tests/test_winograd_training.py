"""Layers learn what they learn with TensorFlow's convolution and its gradients."""

import numpy as np
import pytest

from skvgg import VGG19Features, weights
from skvgg._definition.architecture import get_layer, map_shape, parameter_shapes
from skvgg._network import layers, winograd, winograd_training
from skvgg._runtime.tensorflow import import_tensorflow

from .conftest import relative_error


def copying(kernel):
    """Return a kernel that copies the input channels, some of them twice."""
    n_in, n_out = kernel.shape[2:]
    copies = np.zeros_like(kernel)
    copies[1, 1, np.arange(n_out) % n_in, np.arange(n_out)] = 1
    return copies


def randomized(rng, kernel, bias):
    std = np.sqrt(2 / np.prod(kernel.shape[:3]))
    return rng.normal(0, std, kernel.shape), rng.normal(0, 0.1, bias.shape)


def stepped(rng, *arrays):
    """Move each weight like the first step of Adam."""
    return [a + rng.choice([-1e-4, 1e-4], a.shape) for a in arrays]


KINDS = {
    "hed": lambda rng, kernel, bias: (kernel, bias),
    "tuned": stepped,
    "random": randomized,
    "copying": lambda rng, kernel, bias: (copying(kernel), np.zeros_like(bias)),
}


def gradients(convolutions, maps, parameters):
    """Return the gradients of all parameters, of a loss that is linear in the maps."""
    tf = import_tensorflow()
    x = tf.constant(maps)
    variables = {
        name: [tf.constant(a, tf.float32) for a in arrays]
        for name, arrays in parameters.items()
    }
    with tf.GradientTape() as tape:
        tape.watch(variables)
        for name, (kernel, bias) in variables.items():
            if name in convolutions:
                x = convolutions[name](x, kernel, bias)
            else:
                x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + bias)
            if name.endswith("conv4"):
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        rng = np.random.default_rng(1)
        loss = tf.reduce_sum(x * rng.normal(size=x.shape).astype(np.float32))
    return tape.gradient(loss, variables)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block", [5, pytest.param(3, marks=pytest.mark.slow)])
def test_gradients_are_tensorflows_also_through_units_at_zero(block, kind, tiles):
    """Copied maps consist of zeros for the most part: no gradient passes there."""
    size, below = (96, 96), f"block{block - 1}_pool"
    maps = VGG19Features("hed", layer=below, pooling=None, image_size=size)
    maps = maps.fit_transform(tiles[0][:4])
    maps = maps.reshape(-1, *map_shape(get_layer(below), size))
    names = [f"block{b}_conv{i}" for b in range(block, 6) for i in range(1, 5)]
    shapes = parameter_shapes(["block5_pool"], size)
    hed = weights.load("hed", shapes).parameters
    rng = np.random.default_rng(0)
    parameters = {name: KINDS[kind](rng, *hed[name]) for name in names}
    ours = {}
    for name in names:
        n_in, n_out = shapes[name][2:]
        if n_in >= winograd_training.LEAST_CHANNELS:
            shape = (4, *map_shape(get_layer(name), size)[:2], n_in)
            ours[name] = winograd_training.make_convolution(shape, n_out)
    actual, expected = (gradients(c, maps, parameters) for c in (ours, {}))
    for name in names:
        for ours, theirs in zip(actual[name], expected[name], strict=True):
            error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
            assert error < 1e-5, (name, error)


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
