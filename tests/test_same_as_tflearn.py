"""The TFLearn checkpoint gives the features that TFLearn gives."""

import numpy as np
import pytest

from skvgg import VGG19Features
from skvgg._definition.architecture import BLOCKS
from skvgg._head.tflearn import import_tflearn
from skvgg._runtime.tensorflow import import_tensorflow

from .conftest import relative_error


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """The recipe's network in TFLearn: its features of images, its checkpoint."""
    tf, tflearn = import_tensorflow(), import_tflearn()
    import keras

    images = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    with tf.Graph().as_default():
        tf.compat.v1.set_random_seed(0)
        net = tflearn.input_data(shape=[None, 224, 224, 3])
        for block, (channels, depth) in enumerate(BLOCKS, start=1):
            for conv in range(1, depth + 1):
                net = tflearn.conv_2d(
                    net,
                    channels,
                    3,
                    activation="relu",
                    bias_init="truncated_normal",
                    weights_init=tf.compat.v1.initializers.he_normal(),
                    name=f"block{block}_conv{conv}",
                )
            net = tflearn.max_pool_2d(net, 2, strides=2, name=f"block{block}_pool")
        net = tflearn.fully_connected(net, 4096, activation="relu")
        model = tflearn.DNN(net)
        path = tmp_path_factory.mktemp("tflearn") / "vgg19.tflearn"
        model.save(str(path))
        x = keras.applications.vgg19.preprocess_input(images.astype("float32"))
        expected = model.predict(x)
        model.session.close()
    return images, expected, path


@pytest.mark.parametrize("suffix", ["", ".index", ".data-00000-of-00001"])
def test_checkpoint_gives_the_features_of_dnn_predict(recipe, suffix):
    images, expected, path = recipe
    rows = VGG19Features(f"{path}{suffix}").transform(images)
    assert relative_error(rows, expected) <= 1e-5


def test_checkpoint_without_fc2_says_so(recipe):
    images, _, path = recipe
    with pytest.raises(ValueError, match=r"vgg19\.tflearn.*end before .* 'fc2'"):
        VGG19Features(path, layer="fc2").transform(images)
