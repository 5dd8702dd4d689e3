"""The forward pass may begin at any layer, and its layers have gradients."""

import numpy as np
import pytest

from skvgg import weights
from skvgg._definition.architecture import Output, parameter_shapes
from skvgg._definition.preprocessing import CAFFE
from skvgg._network.layers import apply_layers
from skvgg._network.vgg19 import VGG19
from skvgg._runtime.tensorflow import import_tensorflow

SIZE = (72, 53)  # odd, so that pooling drops a column
ABOVE = [Output.of("block5_conv2", "avg"), Output.of("block5_pool", None)]


@pytest.fixture(scope="module")
def network():
    network = VGG19()
    shapes = parameter_shapes(["block5_pool"], SIZE)
    network.require(shapes, lambda some: weights.load(None, some, seed=0))
    return network


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (20, *SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("method", ["direct", "winograd"])
@pytest.mark.parametrize("start", ["block3_conv2", "block4_pool"])
def test_a_pass_from_a_stored_map_gives_what_a_pass_from_the_image_gives(
    network, images, method, start
):
    wanted = [Output.of(start, None), *ABOVE]
    maps, *expected = network.features(images, wanted, CAFFE, method)
    height, width, channels = {
        "block3_conv2": (18, 13, 256),
        "block4_pool": (4, 3, 512),
    }[start]
    maps = maps.reshape(-1, height, width, channels)
    rows = network.features(maps, ABOVE, CAFFE, method, start=start, image_size=SIZE)
    for row, other in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(row, other)


def test_layers_with_gradients_give_the_same_rows(network, images):
    tf = import_tensorflow()
    wanted = [Output.of("block4_pool", None), *ABOVE]
    maps, *expected = network.features(images, wanted, CAFFE)
    x = tf.constant(maps.reshape(-1, 4, 3, 512))
    with tf.GradientTape() as tape:
        tape.watch(x)
        rows = apply_layers(x, "block4_pool", ABOVE, network.parameters)
        total = tf.reduce_sum(rows[0])
    for row, other in zip(rows, expected, strict=True):
        np.testing.assert_allclose(row, other, rtol=1e-4, atol=1e-5)
    assert np.abs(tape.gradient(total, x)).max() > 0
