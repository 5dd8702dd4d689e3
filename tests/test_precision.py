"""Other types than float32, GPUs, and devices that run out of memory."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from skvgg import VGG19Features
from skvgg._network import engines, forward, precision
from skvgg._runtime import processor, tensorflow
from skvgg._runtime.tensorflow import import_tensorflow

from .conftest import relative_error, run_python


def small(**params):
    defaults = {"weights": None, "layer": "block3_pool", "pooling": "avg"}
    return VGG19Features(**{**defaults, "image_size": 32, "random_state": 0, **params})


@pytest.mark.usefixtures("with_instructions")
@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("tensorfloat32", 1e-6), ("float16", 3e-3), ("bfloat16", 3e-2)],
)
def test_rows_are_near_those_of_float32(tiles, precision, tolerance):
    X = tiles[0][:6]
    expected = small().transform(X)
    actual = small(precision=precision).transform(X)
    assert actual.dtype == np.float32
    assert relative_error(actual, expected) <= tolerance
    if precision != "tensorfloat32":  # which a CPU does not have
        assert not np.array_equal(actual, expected)


@pytest.mark.parametrize(
    "precision", [pytest.param("float16", marks=pytest.mark.slow), "bfloat16"]
)
def test_what_onednn_says_once_of_fewer_bits_is_kept_back(precision):
    """CPUs that have instructions for them say nothing, so the line is written here."""
    code = f"""
import os
import numpy as np
from skvgg import VGG19Features
from skvgg._network.vgg19 import ForwardPass
from skvgg._runtime import processor

processor.features = lambda: {{"amx-bf16", "amx-fp16"}}
processor.may_use_amx = lambda: True

run = ForwardPass.__call__
def say_and_run(self, inputs):
    os.write(2, line)
    return run(self, inputs)
ForwardPass.__call__ = say_and_run
line = b"E0000 00:00:1795472015.436  2639 onednn.cc:1] oneDNN supports DT_HALF only\\n"
features = VGG19Features(
    None, random_state=0, layer="block2_pool", image_size=32, precision={precision!r}
)
features.transform(np.zeros((2, 32, 32), np.uint8))
line = b"a line of the user's\\n"
features.transform(np.zeros((2, 32, 32), np.uint8))
"""
    assert run_python(code).stderr == "a line of the user's\n"


@pytest.mark.usefixtures("with_instructions")
@pytest.mark.parametrize("with_memory", [False, True])
@pytest.mark.parametrize(
    "precision", [pytest.param("float16", marks=pytest.mark.slow), "bfloat16"]
)
def test_a_row_does_not_depend_on_how_many_images_there_are(
    precision, with_memory, tmp_path
):
    X = np.random.default_rng(0).integers(0, 256, (140, 64, 64, 3), np.uint8)
    names = ["block1_pool", "block3_conv2", "block5_pool", "fc1"]
    params = {"precision": precision, "layer": names, "image_size": 64}
    memory = tmp_path if with_memory else None
    few = np.concatenate([small(**params).transform(X[i : i + 1]) for i in (0, 120)])
    some = small(**params, batch_size=5).transform(X[30:37])
    if with_memory:
        small(**params, memory=memory).transform(X[:100])
    rows = small(**params, memory=memory).transform(X)
    for actual, expected in ((rows[[0, 120]], few), (rows[30:37], some)):
        if precision == "bfloat16":
            np.testing.assert_array_equal(actual, expected)
        else:  # CPUs without instructions for it add up in another order
            assert relative_error(actual, expected) < 2e-3


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_winograd_refuses_a_precision_that_it_does_not_compute_in(tiles, precision):
    features = small(precision=precision, engine="winograd")
    for method in (features.fit, features.transform):
        with pytest.raises(ValueError, match=rf"{precision}.*engine='auto'"):
            method(tiles[0][:1])
    small(precision="tensorfloat32", engine="winograd").transform(tiles[0][:1])


@pytest.mark.usefixtures("with_instructions")
def test_memory_tells_precisions_apart(tiles, tmp_path):
    X = tiles[0][:4]
    rows = small(memory=tmp_path).fit_transform(X)
    half = small(memory=tmp_path, precision="bfloat16")
    assert not np.array_equal(half.fit_transform(X), rows)
    assert half.cache_info().misses == 8
    np.testing.assert_array_equal(small(memory=tmp_path).fit_transform(X), rows)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_without_instructions_for_fewer_bits_rows_are_those_of_float32(
    precision, tiles, tmp_path, monkeypatch
):
    monkeypatch.setattr(processor, "features", lambda: frozenset({"avx512bf16"}))
    X = tiles[0][:4]
    expected = small(memory=tmp_path).fit_transform(X)
    features = small(memory=tmp_path, precision=precision)
    np.testing.assert_array_equal(features.fit_transform(X), expected)
    assert features.cache_info().hits == 4  # they have the same keys
    np.testing.assert_array_equal(small(precision=precision).transform(X), expected)


@pytest.mark.usefixtures("with_instructions")
def test_without_permission_for_the_instructions_rows_are_those_of_float32(
    tiles, monkeypatch
):
    X = tiles[0][:2]
    monkeypatch.setattr(processor, "may_use_amx", lambda: False)
    rows = small(precision="bfloat16").transform(X)
    np.testing.assert_array_equal(rows, small().transform(X))


def run_out_of_memory(monkeypatch, most):
    """Let the direct engine fail with more than so many images."""
    tf = import_tensorflow()
    convolve, sizes = engines.Direct.convolve, []

    def fail(self, x, layer, workers, *, pools):
        sizes.append(x.shape[0])
        if x.shape[0] > most and layer == "block2_conv1":  # when some rows are there
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
        return convolve(self, x, layer, workers, pools=pools)

    monkeypatch.setattr(engines.Direct, "convolve", fail)
    return sizes


def test_out_of_memory_halves_the_batch_and_warns_once(tiles, monkeypatch):
    X = tiles[0][:22]
    layers = ["block1_conv2", "block3_pool"]
    params = {"layer": layers, "random_state": 91, "engine": "direct"}
    expected = small(**params).transform(X)
    features = small(**params, batch_size=11)
    sizes = run_out_of_memory(monkeypatch, most=5)
    with pytest.warns(UserWarning, match="reduced to 5 images") as caught:
        rows = features.transform(X)
    assert len(caught) == 1
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-5)
    sizes.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features.transform(X)  # it is known by now
    assert max(sizes) == 5


def test_out_of_memory_with_one_image_is_an_error(tiles, monkeypatch):
    run_out_of_memory(monkeypatch, most=0)
    error = import_tensorflow().errors.ResourceExhaustedError
    with pytest.raises(error):
        small(random_state=92, engine="direct").transform(tiles[0][:2])


def test_the_memory_of_each_gpu_is_taken_as_needed():
    grown = []

    def set_memory_growth(gpu, enable):
        grown.append((gpu, enable))
        if gpu == "used":
            raise RuntimeError("cannot be modified after being initialized")

    config = SimpleNamespace(
        list_physical_devices=lambda kind: ["used", "new"],
        experimental=SimpleNamespace(set_memory_growth=set_memory_growth),
    )
    tensorflow._grow_memory(SimpleNamespace(config=config))
    assert grown == [("used", True), ("new", True)]


def test_on_a_gpu_the_batch_stays_whole_and_is_computed_directly(tiles, monkeypatch):
    expected = small(engine="direct").transform(tiles[0][:40])
    monkeypatch.setattr(engines, "has_gpu", lambda: True)
    monkeypatch.setattr(engines, "convolve", None)
    features = small(engine="winograd", batch_size=40)
    rows = features.transform(tiles[0][:40])
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)


def test_tensor_float_32_is_set_back(monkeypatch):
    config = import_tensorflow().config.experimental
    monkeypatch.setattr(precision, "has_gpu", lambda: True)
    before = config.tensor_float_32_execution_enabled()
    with precision.tensor_float_32(False):
        assert not config.tensor_float_32_execution_enabled()
    assert config.tensor_float_32_execution_enabled() == before


@pytest.mark.parametrize("n_together", [None, 1, 2, 3, 7, 20])
def test_regrouping_keeps_every_image_in_order(n_together):
    tf = import_tensorflow()
    parts = [tf.range(0, 4), tf.range(4, 5), tf.range(5, 11)]
    groups = [g.numpy() for g in forward._regroup(parts, n_together)]
    np.testing.assert_array_equal(np.concatenate(groups), np.arange(11))
    assert all(len(group) == (n_together or 11) for group in groups[:-1])
