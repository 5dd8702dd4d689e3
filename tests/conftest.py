"""What several test files need; whatever is large is made once a session."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_iris, load_sample_images

from skvgg import VGG19Features
from skvgg._network import vgg19
from skvgg._runtime import processor
from skvgg._runtime.tensorflow import import_tensorflow

from .finetuning import small

#: Matplotlib opens no window.
os.environ.setdefault("MPLBACKEND", "Agg")


def run_python(code, *args, cwd=None):
    """Run code in a new process; return what it wrote, or fail with its error."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def features(**parameters):
    """Return a transformer that is fast, with 64 features."""
    return VGG19Features(
        None,
        layer="block1_pool",
        pooling="avg",
        image_size=32,
        random_state=0,
        **parameters,
    )


def relative_error(actual, expected):
    """Return the largest difference by the largest expected activation."""
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() / np.abs(expected).max()


def maxima(y):
    """Return the maxima of 2x2 pixels; an odd last line is left out.

    On some processors, TensorFlow refuses maps without such pixels.
    """
    n, height, width, channels = y.shape
    y = y[:, : height // 2 * 2, : width // 2 * 2]
    return y.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def randomize_biases(model, seed=0):
    """Give a fresh Keras model biases that matter; they start at zero."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, rng.normal(0, 0.5, bias.shape)])
    return model


@pytest.fixture(scope="session", autouse=True)
def _tensorflow_has_all_threads():
    """Start TensorFlow before a test limits its threads, which lasts."""
    import_tensorflow()


@pytest.fixture(scope="session")
def keras_top(tmp_path_factory):
    """Keras' VGG19 with top at 224, random, and the file that holds it."""
    import keras

    keras.utils.set_random_seed(0)
    model = randomize_biases(keras.applications.VGG19(weights=None))
    path = tmp_path_factory.mktemp("keras") / "top.weights.h5"
    model.save_weights(path)
    return model, path


@pytest.fixture(scope="session")
def keras_notop(tmp_path_factory):
    """Keras' VGG19 without top, for images of any size, and its file."""
    import keras

    keras.utils.set_random_seed(1)
    model = keras.applications.VGG19(weights=None, include_top=False)
    path = tmp_path_factory.mktemp("keras") / "notop.weights.h5"
    randomize_biases(model).save_weights(path)
    return model, path


@pytest.fixture(scope="session")
def digits():
    """The digits, of (1797, 64) pixels in 0..1."""
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


@pytest.fixture(scope="session")
def few_digits(digits):
    """A third of the digits."""
    return digits[0][:600], digits[1][:600]


@pytest.fixture(scope="session")
def iris():
    """The irises: 150 samples, 4 features, 3 classes."""
    return load_iris(return_X_y=True)


@pytest.fixture(scope="session")
def photos():
    """Two photos, uint8 RGB of shape (427, 640, 3)."""
    return load_sample_images().images


@pytest.fixture(scope="session")
def tiles(photos):
    """Cuttings of the two photos, (120, 48, 48, 3) uint8, and whose they are."""
    rng = np.random.default_rng(0)
    corners = rng.integers(0, (427 - 48, 640 - 48), (120, 2))
    labels = np.arange(120) % 2
    cuts = [
        photos[label][y : y + 48, x : x + 48]
        for label, (y, x) in zip(labels, corners, strict=True)
    ]
    return np.stack(cuts), np.array(["china", "flower"])[labels]


@pytest.fixture(scope="session")
def cuts(tiles):
    """A third of the tiles."""
    X, y = tiles
    return X[:40], y[:40]


@pytest.fixture(scope="session")
def numbers(cuts):
    """Red and green of the images, which can be learned."""
    return cuts[0].mean((1, 2))[:, :2]


@pytest.fixture(scope="session")
def tuned(cuts):
    """A fine-tuned classifier; do not change it."""
    return small().fit(*cuts)


@pytest.fixture
def with_instructions(monkeypatch):
    """Compute in fewer bits, with whatever instructions this processor has."""
    found = processor.features() | {"amx-bf16", "amx-fp16"}
    monkeypatch.setattr(processor, "features", lambda: found)
    monkeypatch.setattr(processor, "may_use_amx", lambda: True)


@pytest.fixture
def passes(monkeypatch):
    """Count the images that go through the network."""
    counted = []
    features = vgg19.VGG19.features

    def count(self, pixels, *args):
        counted.append(len(pixels))
        return features(self, pixels, *args)

    monkeypatch.setattr(vgg19.VGG19, "features", count)
    return counted


# Displays


@pytest.fixture(autouse=True)
def _no_figure_stays_open():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def mislabeled(tiles):
    """Forty images, two of which have the other's label."""
    X, y = tiles[0][:40], tiles[1][:40].copy()
    y[[4, 7]] = y[[7, 4]]
    return X, y


@pytest.fixture
def mislabeled_paths(mislabeled, tmp_path):
    """The paths of these images."""
    paths = [str(tmp_path / f"{i:02}.png") for i in range(len(mislabeled[0]))]
    for path, pixels in zip(paths, mislabeled[0], strict=True):
        Image.fromarray(pixels).save(path)
    return paths


@pytest.fixture
def parts(tiles):
    """Two parts; X_test[2] is a copy of X[5], and X[9] all but one of X[8]."""
    X, X_test = tiles[0][:24].copy(), tiles[0][24:34].copy()
    X_test[2] = X[5]
    X[9] = X[8]
    X[9, 0, 0] ^= 1
    return X, X_test
