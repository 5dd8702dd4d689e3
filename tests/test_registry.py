"""Which networks are in memory, for how long, and that nobody changes another's."""

import gc
import threading
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.base import clone

import skvgg
from skvgg import VGG19Features, weights
from skvgg._definition.architecture import parameter_shapes
from skvgg._network import registry, vgg19
from skvgg.weights._files import FileSource
from skvgg.weights._random import RandomSource

from .conftest import run_python


def small(seed, **params):
    defaults = {"layer": "block1_pool", "pooling": "avg", "image_size": 32}
    return VGG19Features(None, random_state=seed, **{**defaults, **params})


@pytest.fixture(autouse=True)
def _no_network_of_other_tests():
    skvgg.release_networks()


@pytest.fixture
def loads(monkeypatch):
    """Count how often weights are loaded, by their seed."""
    counted, load = Counter(), RandomSource.load

    def count(source, shapes, verbose=0):
        counted[source.identify()[1]] += 1
        return load(source, shapes, verbose)

    monkeypatch.setattr(RandomSource, "load", count)
    return counted


def networks():
    gc.collect()
    return [*registry._networks.values()]


def test_transformers_of_the_same_weights_share_a_network(tiles, loads):
    one, other = small(1), small(1)
    one.transform(tiles[0][:1])
    other.transform(tiles[0][:1])
    assert loads == {1: 1}
    assert len(networks()) == 1


def test_a_network_goes_when_its_last_user_and_a_later_network_do(tiles):
    one = small(1)
    one.transform(tiles[0][:1])
    network = weakref.ref(*networks())
    small(2).transform(tiles[0][:1])
    copy = clone(one)
    del one
    gc.collect()
    assert network() is not None  # the clone may need it
    del copy
    gc.collect()
    assert network() is None


def test_a_process_keeps_the_network_used_last(tiles, loads):
    """As in the workers of Spark, Ray and Dask, where each task brings its own."""
    for _ in range(3):
        small(1).transform(tiles[0][:1])
    assert loads == {1: 1}
    for seed in (2, 3, 4):
        small(seed).transform(tiles[0][:1])
        assert len(networks()) == 1


def test_clones_that_go_to_and_fro_between_two_weights_load_each_once(tiles, loads):
    features = small(1)

    def transform(seed):
        clone(features).set_params(random_state=seed).transform(tiles[0][:1])

    with ThreadPoolExecutor(2) as executor:
        list(executor.map(transform, [1, 2] * 4))
    assert loads == {1: 1, 2: 1}
    for seed in (3, 4):
        transform(seed)
    assert len(networks()) == 2  # not the first two any more


def test_release_networks_lets_all_go(tiles, loads):
    features = [small(seed) for seed in (1, 2)]
    rows = [some.transform(tiles[0][:1]) for some in features]
    assert len(networks()) == 2
    skvgg.release_networks()
    assert networks() == []
    again = [some.transform(tiles[0][:1]) for some in features]
    np.testing.assert_array_equal(again, rows)
    assert loads == {1: 2, 2: 2}


def test_threads_with_images_of_two_sizes_have_their_own_fc1(tiles, monkeypatch):
    """Random weights have an fc1 for each size of images."""
    X, sizes = tiles[0][:2], (32, 64)
    alone = []
    for size in sizes:
        alone.append(small(1, layer="fc1", image_size=size).transform(X))
        skvgg.release_networks()
    features, both_are_loaded = vgg19.VGG19.features, threading.Barrier(2)

    def wait(self, *args):
        both_are_loaded.wait(60)
        return features(self, *args)

    monkeypatch.setattr(vgg19.VGG19, "features", wait)
    transformers = [small(1, layer="fc1", image_size=size) for size in sizes]
    with ThreadPoolExecutor(2) as executor:
        together = list(executor.map(lambda some: some.transform(X), transformers))
    for rows, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(rows, expected)


def test_layers_are_loaded_when_they_are_first_needed(keras_top, tiles):
    path, X = keras_top[1], tiles[0][:1]
    convolutions = VGG19Features(path, layer="block1_pool")
    dense = VGG19Features(path, layer="fc2")
    convolutions.transform(X)
    (network,) = networks()
    assert "fc1" not in network.parameters
    rows = dense.transform(X)
    assert networks() == [network]
    del network
    skvgg.release_networks()
    np.testing.assert_array_equal(dense.transform(X), rows)


DEVICES = """
import sys
from collections import Counter
import numpy as np
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from skvgg import VGG19Features
from skvgg._network import engines
from skvgg._runtime import threads

threads.max_threads = lambda: int(sys.argv[1])
engines._DIRECT_BYTES = 1  # images go one by one
seen = Counter()

def watch(engine):
    convolve = engine.convolve

    def count(self, x, layer, workers, *, pools):
        y = convolve(self, x, layer, workers, pools=pools)
        seen.update(t.device[-5:] for t in (x, *self._parameters[layer], y))
        return y

    engine.convolve = count

watch(engines.Direct)
X = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
features = VGG19Features(
    None, layer="block2_pool", image_size=32, random_state=0, engine="direct"
)
rows = features.transform(X)
print(*seen)
seen.clear()
with tf.device("/CPU:1"):
    np.testing.assert_array_equal(features.transform(X), rows)
print(*seen)
seen.clear()
features.transform(X)
print(*seen)
"""


@pytest.mark.parametrize("n_threads", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_every_thread_computes_on_the_device_of_the_caller(n_threads):
    devices = run_python(DEVICES, n_threads).stdout.split()
    assert devices == ["CPU:0", "CPU:1", "CPU:0"]


def test_weights_that_change_while_they_are_read_are_not_used(tmp_path, monkeypatch):
    shapes = parameter_shapes(["block1_pool"], (32, 32))
    first, second = (weights.load(None, shapes, seed=s).parameters for s in (0, 1))
    path = tmp_path / "w.npz"
    weights.save(path, first)
    features = VGG19Features(path, layer="block1_pool", image_size=32)
    features.fit(np.zeros((1, 32, 32), np.uint8))
    original = FileSource.load

    def load(*args, **kwargs):
        weights.save(path, second)  # somebody else does, at the worst moment
        return original(*args, **kwargs)

    monkeypatch.setattr(FileSource, "load", load)
    with pytest.raises(ValueError, match="changed while they were being used"):
        features.transform(np.zeros((1, 32, 32), np.uint8))
