"""The Winograd engine computes what TensorFlow's convolution and Keras compute."""

import platform
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest
from scipy.signal import correlate

from skvgg import VGG19Features, weights
from skvgg._definition.architecture import parameter_shapes
from skvgg._network import (
    dense_forward,
    engines,
    kernels,
    layers,
    thread_pool,
    winograd,
    winograd_forward,
)
from skvgg._network.overflow import may_leave_float32
from skvgg._runtime import machine_code, processor, warn

from .conftest import maxima, relative_error, run_python
from .test_same_as_keras import keras_outputs, random_images, split_by_layer


def reference(x, kernel, bias):
    """Return relu(conv(x) + bias) in float64, by SciPy."""
    padded = np.pad(x.astype(float), [(0, 0), (1, 1), (1, 1), (0, 0)])
    maps = [
        [correlate(image, k, mode="valid")[..., 0] for k in np.moveaxis(kernel, 3, 0)]
        for image in padded
    ]
    return np.maximum(np.moveaxis(maps, 1, 3) + bias, 0)


def test_one_dimension_is_a_correlation():
    at, g, bt = winograd.matrices()
    rng = np.random.default_rng(0)
    numbers, kernel = rng.normal(size=6), rng.normal(size=3)
    actual = at @ ((g @ kernel) * (bt @ numbers))
    np.testing.assert_allclose(actual, np.correlate(numbers, kernel, "valid"))


class Case(NamedTuple):
    """A convolution of random numbers."""

    x: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, shape, n_out):
        rng = np.random.default_rng(0)
        n_in = shape[-1]
        kernel = rng.normal(0, 1 / np.sqrt(9 * n_in), size=(3, 3, n_in, n_out))
        arrays = np.maximum(rng.normal(size=shape), 0), kernel, rng.normal(size=n_out)
        return cls(*(array.astype(np.float32) for array in arrays))

    def convolve(self, *, pools=False):
        kernel = winograd_forward.PackedKernel.of(self.kernel, self.bias)
        with thread_pool.ThreadPool() as pool:
            return winograd_forward.convolve(self.x, kernel, pool, pools=pools)


@pytest.mark.parametrize("pools", [False, True])
@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize(
    "size", [(8, 8), (9, 14), (3, 2), (1, 1), (13, 6), (19, 9), (22, 5), (2, 33)]
)
def test_convolution_of_any_size(size, n_threads, pools, monkeypatch):
    monkeypatch.setattr(thread_pool, "n_threads_of_network", lambda: n_threads)
    case = Case.of((3, *size, 64), 64)
    expected = reference(*case)
    if pools:
        expected = maxima(expected)
    actual = case.convolve(pools=pools)
    assert actual.shape == expected.shape
    if expected.size:
        assert relative_error(actual, expected) <= 2e-6


@pytest.mark.parametrize(
    ("n", "size", "n_in", "n_out"),
    [
        (1, 7, 64, 128),
        (5, 14, 128, 128),
        (2, 13, 512, 512),  # threads divide the channels
        (20, 14, 256, 512),  # they divide the tiles of a large kernel
    ],
)
def test_convolution_of_any_number_of_channels(n, size, n_in, n_out):
    case = Case.of((n, size, size, n_in), n_out)
    expected = layers.convolve(*case).numpy()
    assert relative_error(case.convolve(), expected) <= 1e-5
    assert relative_error(case.convolve(pools=True), maxima(expected)) <= 1e-5


def test_bits_depend_neither_on_threads_nor_on_other_images_nor_on_blocks(monkeypatch):
    case = Case.of((9, 14, 10, 512), 512)
    expected = case.convolve()
    for n_threads in (1, 2, 3, 7):
        name = "n_threads_of_network"
        monkeypatch.setattr(thread_pool, name, lambda n=n_threads: n)
        np.testing.assert_array_equal(case.convolve(), expected)
    for images in (slice(0, 1), slice(3, 7)):
        some = case._replace(x=case.x[images])
        np.testing.assert_array_equal(some.convolve(), expected[images])
    monkeypatch.setattr(winograd_forward, "_KERNEL_IN_CACHE", np.inf)
    monkeypatch.setattr(winograd_forward, "_BLOCK_BYTES", 1)
    np.testing.assert_array_equal(case.convolve(), expected)


def test_not_a_number_stays_where_it_is():
    case = Case.of((2, 12, 12, 64), 64)
    case.x[1, 0, 0, 5] = np.nan
    y = case.convolve()
    assert np.isnan(y[1, :2, :2]).all()  # as in a direct convolution
    np.testing.assert_array_equal(y[0], case.convolve()[0])
    assert not np.isnan(y[0]).any()
    assert not np.isnan(y[1, 4:, 4:]).any()


def test_error_is_that_of_float32():
    """Against float64, at the depth of block 5: 512 channels."""
    case = Case.of((2, 8, 8, 512), 64)
    # That of TensorFlow's own is 2e-7 to 2e-6, depending on the processor.
    assert relative_error(case.convolve(), reference(*case)) <= 5e-6


@pytest.mark.parametrize(("width", "n_registers"), [(4, 16), (4, 32), (8, 16)])
def test_vectors_of_other_processors(width, n_registers, monkeypatch):
    """Shorter ones than this processor's, which it computes with as well."""
    others = processor.Vectors(width, n_registers)
    expected = Case.of((2, 9, 6, 64), 64)
    x, kernel = expected.x.reshape(-1, 64)[:7], expected.kernel[0, 0]
    monkeypatch.setattr(kernels, "vectors", lambda: others)
    kernels.compile_kernels.cache_clear()
    try:
        actual = expected.convolve(pools=True)
        with thread_pool.ThreadPool() as pool:
            product = dense_forward.multiply(x, kernel, pool)
    finally:
        kernels.compile_kernels.cache_clear()
    assert relative_error(actual, maxima(reference(*expected))) <= 2e-6
    assert relative_error(product, x @ kernel) <= 1e-6


def test_the_vectors_follow_from_the_processor(monkeypatch):
    def vectors(machine, *names):
        monkeypatch.setattr(processor, "features", lambda: frozenset(names))
        monkeypatch.setattr(platform, "machine", lambda: machine)
        return processor.vectors()

    assert vectors("x86_64", "sse2", "avx", "avx2", "avx512f") == (16, 32)
    assert vectors("AMD64", "sse2", "avx", "avx2") == (8, 16)
    assert vectors("x86_64", "sse2") == (4, 16)
    assert vectors("arm64") == vectors("aarch64", "neon") == (4, 32)


@pytest.mark.skipif("sse" not in processor.features(), reason="a setting of x86")
def test_numbers_near_zero_are_zero_and_so_not_slow(monkeypatch):
    monkeypatch.setattr(thread_pool, "n_threads_of_network", lambda: 1)
    case = Case.of((1, 8, 8, 64), 64)
    expected = np.broadcast_to(np.maximum(case.bias, 0), (1, 8, 8, 64))
    for name in ("x", "kernel"):
        tiny = case._replace(**{name: np.full_like(getattr(case, name), 1e-40)})
        np.testing.assert_array_equal(tiny.convolve(), expected)
    x, kernel = np.ones((1, 64), np.float32), np.full((64, 64), 1e-40, np.float32)
    with thread_pool.ThreadPool() as pool:
        assert not dense_forward.multiply(x, kernel, pool).any()
    assert (kernel[0] + kernel[1]).all()  # the setting of this thread is as it was


def test_threads_that_begin_at_once_compile_once():
    kernels.compile_kernels.cache_clear()
    before = len(machine_code._ENGINES)
    with ThreadPoolExecutor(8) as executor:
        found = [executor.submit(kernels.kernels) for _ in range(8)]
    assert len({id(future.result()) for future in found}) == 1
    assert len(machine_code._ENGINES) == before + 1


@pytest.fixture(scope="module")
def seen_of_winograd():
    """Which shapes the engine was called with; it is called through."""
    seen = Counter()
    original = engines.convolve

    def count(x, *args, **kwargs):
        seen[x.shape] += 1
        return original(x, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "convolve", count)
        yield seen


@pytest.mark.slow
def test_a_batch_at_224_is_that_of_keras(keras_top, seen_of_winograd):
    model, path = keras_top
    names = ["block2_conv2", *[f"block{i}_pool" for i in range(2, 6)], "fc1"]
    images = random_images(13, 224, 224, 3)
    expected = keras_outputs(model, images, names)
    seen_of_winograd.clear()
    rows = VGG19Features(path, layer=names).transform(images)
    for name, actual in split_by_layer(rows, expected).items():
        assert relative_error(actual, expected[name].reshape(13, -1)) <= 1e-5, name
    assert seen_of_winograd == {
        (2, 224, 224, 64): 6,
        (1, 224, 224, 64): 1,
        (4, 112, 112, 64): 3,
        (1, 112, 112, 64): 1,
        (4, 112, 112, 128): 3,
        (1, 112, 112, 128): 1,
        (8, 56, 56, 128): 1,
        (5, 56, 56, 128): 1,
        (8, 56, 56, 256): 3,
        (5, 56, 56, 256): 3,
        (13, 28, 28, 256): 1,
        (13, 28, 28, 512): 3,
        (13, 14, 14, 512): 4,
    }


def test_a_single_image_goes_through_the_fast_engine(tiles, seen_of_winograd):
    features = VGG19Features(None, random_state=0, layer="block1_pool", image_size=64)
    seen_of_winograd.clear()
    features.transform(tiles[0][:1])
    assert seen_of_winograd == {(1, 64, 64, 64): 1}


def test_maps_that_tiles_do_not_fit_are_computed_directly(tiles, seen_of_winograd):
    names = [f"block{i}_pool" for i in range(1, 6)]
    features = VGG19Features(None, random_state=0, layer=names, image_size=32)
    seen_of_winograd.clear()
    rows = features.transform(tiles[0][:4])
    assert min(shape[1] for shape in seen_of_winograd) == 4  # and none of 2x2
    directly = features.set_params(engine="direct").transform(tiles[0][:4])
    assert relative_error(rows, directly) <= 1e-5


@pytest.mark.parametrize("layer", ["block5_pool", "fc1"])
def test_a_row_does_not_depend_on_how_many_images_there_are(layer):
    X = np.random.default_rng(0).integers(0, 256, (70, 64, 64, 3), np.uint8)
    params = {"weights": None, "random_state": 0, "layer": layer, "image_size": 64}
    rows = VGG19Features(**params, batch_size=64).transform(X)
    some = VGG19Features(**params, batch_size=5).transform(X[30:37])
    np.testing.assert_array_equal(some, rows[30:37])
    for i in (0, 69):
        one = VGG19Features(**params).transform(X[i : i + 1])
        np.testing.assert_array_equal(one, rows[i : i + 1])


@pytest.mark.parametrize(
    ("engine", "precision", "expected"),
    [
        ("direct", "float32", "direct"),
        ("auto", "float32", "winograd"),
        ("auto", "tensorfloat32", "winograd"),
        ("auto", "bfloat16", "direct"),
        ("auto", "float16", "direct"),
        ("winograd", "float32", "winograd"),
    ],
)
def test_the_engine_depends_on_the_settings(engine, precision, expected):
    assert engines.choose_method(engine, precision) == expected


# Fully connected layers


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("n", [1, 6, 13])
def test_products_are_those_of_numpy(n, n_threads, monkeypatch):
    name = "n_threads_of_network"
    monkeypatch.setattr(thread_pool, name, lambda: n_threads)
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(n, 1001)), rng.normal(size=(1001, 192))
    factors = x.astype(np.float32), kernel.astype(np.float32)
    with thread_pool.ThreadPool() as pool:
        actual = dense_forward.multiply(*factors, pool)
        alone = dense_forward.multiply(factors[0][:1], factors[1], pool)
    assert relative_error(actual, x @ kernel) <= 1e-6
    np.testing.assert_array_equal(actual[:1], alone)


# Systems and weights that it does not fit


FORBIDDEN = """
import ctypes, sys, warnings
import numpy as np
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + 4 * [ctypes.c_ulong]
if libc.prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN
    print("not supported")
    sys.exit()
from skvgg import VGG19Features, weights
from skvgg._definition.architecture import parameter_shapes
X = np.load(sys.argv[1])
settings = dict(layer="block2_pool", pooling="avg", image_size=64, random_state=0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    rows = VGG19Features(None, **settings).transform(X)
    VGG19Features(None, **settings).transform(X)
print([str(w.message) for w in caught if "machine code" in str(w.message)])
np.save(sys.argv[2], rows)
try:
    VGG19Features(None, engine="winograd", **settings).transform(X)
except ValueError as error:
    print(error)
"""


def test_where_generated_code_may_not_run_tensorflow_computes(
    tiles, tmp_path, monkeypatch
):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")  # it generates code as well
    np.save(tmp_path / "X.npy", tiles[0][:2])
    said = run_python(FORBIDDEN, tmp_path / "X.npy", tmp_path / "rows.npy").stdout
    if said == "not supported\n":
        pytest.skip("this kernel has no PR_SET_MDWE")
    warning, error = said.splitlines()
    assert warning.count("does not permit") == 1
    assert "engine='winograd' runs machine code" in error
    expected = VGG19Features(
        None,
        layer="block2_pool",
        pooling="avg",
        image_size=64,
        random_state=0,
        engine="direct",
    ).transform(tiles[0][:2])
    np.testing.assert_allclose(np.load(tmp_path / "rows.npy"), expected, rtol=1e-4)


def test_a_refused_page_means_direct(monkeypatch):
    assert processor.may_run_generated_code()
    monkeypatch.setattr(processor, "may_run_generated_code", lambda: False)
    monkeypatch.setattr(warn, "_warned_of", set())
    with pytest.warns(UserWarning, match="does not permit"):
        assert engines.choose_method("auto", "float32") == "direct"
    with pytest.raises(ValueError, match="Use engine='direct'"):
        engines.check_engine("winograd", "float32")


@pytest.mark.parametrize("factor", [1.0, 1e4, 1e12, 1e30])
def test_engines_agree_on_weights_that_overflow(tiles, tmp_path, factor):
    shapes = parameter_shapes(["block3_pool"], (64, 64))
    random = weights.load(None, shapes, seed=0).parameters
    large = {name: (k * np.float32(factor), b) for name, (k, b) in random.items()}
    weights.save(tmp_path / "large.npz", large)
    rows = {
        engine: VGG19Features(
            tmp_path / "large.npz", layer="block3_pool", image_size=64, engine=engine
        ).transform(tiles[0][:2])
        for engine in ("direct", "winograd")
    }
    scale = np.nanmax(np.abs(rows["direct"]), initial=0)
    np.testing.assert_allclose(
        rows["winograd"], rows["direct"], rtol=1e-4, atol=1e-5 * min(scale, 1e38)
    )


@pytest.mark.parametrize("factor", [1e-30, 1e-36])
def test_engines_agree_on_weights_whose_sums_vanish(tiles, tmp_path, factor):
    shapes = parameter_shapes(["block3_conv3"], (64, 64))
    small = dict(weights.load(None, shapes, seed=0).parameters)
    for name, by in (("block3_conv2", factor), ("block3_conv3", 1 / factor)):
        kernel, bias = small[name]
        small[name] = (kernel * np.float32(by), bias)
    weights.save(tmp_path / "small.npz", small)
    direct, winograd = (
        VGG19Features(
            tmp_path / "small.npz", layer="block3_conv3", image_size=64, engine=engine
        ).transform(tiles[0][:2])
        for engine in ("direct", "winograd")
    )
    np.testing.assert_allclose(winograd, direct, rtol=1e-4, atol=1e-5 * direct.max())


def test_common_weights_do_not_overflow():
    for source in ("hed", None):
        shapes = parameter_shapes(["block5_pool" if source else "fc2"], (224, 224))
        loaded = weights.load(source, shapes, seed=0).parameters
        assert not may_leave_float32(loaded)
    kernel, bias = loaded["block3_conv1"]
    assert may_leave_float32({**loaded, "block3_conv1": (kernel * 1e10, bias)})
    assert may_leave_float32({**loaded, "block3_conv1": (kernel * np.nan, bias)})
    assert may_leave_float32({**loaded, "block3_conv1": (kernel * 1e-36, bias)})
