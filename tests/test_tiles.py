"""The engine for AMX computes what TensorFlow's convolution and NumPy compute.

Where a processor has no tiles, they are emulated in memory.
"""

import ctypes
from types import SimpleNamespace
from typing import NamedTuple

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

from skvgg import VGG19Features
from skvgg._network import (
    engines,
    kernels,
    thread_pool,
    tile_forward,
    tile_kernels,
)
from skvgg._runtime import processor
from skvgg._runtime.tensorflow import import_tensorflow

from .conftest import maxima, relative_error
from .emulated_tiles import emulated_functions

#: Half of the distance between bfloat16 numbers, and what float32 sums add to it.
ROUNDING = {"rtol": 2**-8, "atol": 2e-5}


def to_bits(numbers):
    tf = import_tensorflow()
    return tf.bitcast(tf.cast(numbers, tf.bfloat16), tf.uint16).numpy()


def from_bits(bits):
    tf = import_tensorflow()
    return tf.cast(tf.bitcast(bits, tf.bfloat16), tf.float32).numpy()


class Case(NamedTuple):
    """A convolution of random bfloat16 numbers, as bits, with a float32 bias."""

    x: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, shape, n_out):
        rng = np.random.default_rng(0)
        n_in = shape[-1]
        kernel = rng.normal(0, 1 / np.sqrt(9 * n_in), size=(3, 3, n_in, n_out))
        x, bias = rng.normal(size=shape), rng.normal(size=n_out)
        return cls(to_bits(x), to_bits(kernel), bias.astype(np.float32))

    def convolve(self, *, pools=False):
        kernel = tile_forward.TiledKernel.of(self.kernel, self.bias)
        with thread_pool.ThreadPool() as pool:
            return tile_forward.convolve(self.x, kernel, pool, pools=pools)

    def expected(self, *, pools=False):
        tf = import_tensorflow()
        x, kernel = from_bits(self.x), from_bits(self.kernel)
        y = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + self.bias).numpy()
        return maxima(y) if pools else y


@pytest.mark.usefixtures("with_tiles")
@pytest.mark.parametrize("pools", [False, True])
@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("n_in", [3, 64])
@pytest.mark.parametrize(
    "size", [(8, 8), (9, 14), (3, 2), (1, 1), (13, 6), (33, 9), (22, 5), (2, 33)]
)
def test_convolution_of_any_size(size, n_in, n_threads, pools, monkeypatch):
    monkeypatch.setattr(thread_pool, "n_threads_of_network", lambda: n_threads)
    case = Case.of((3, *size, n_in), 64)
    expected = case.expected(pools=pools)
    actual = from_bits(case.convolve(pools=pools))
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, **ROUNDING)


@pytest.mark.usefixtures("with_tiles")
@pytest.mark.parametrize("pools", [False, True])
@pytest.mark.parametrize(
    ("n", "size", "n_in", "n_out"),
    [
        (1, 7, 32, 96),
        (5, 14, 128, 128),
        (1, 13, 512, 512),  # threads divide the channels
        (9, 14, 256, 512),  # they divide the strips
        (1, 96, 128, 32),  # an image has several strips
    ],
)
def test_convolution_of_any_number_of_channels(n, size, n_in, n_out, pools):
    case = Case.of((n, size, size, n_in), n_out)
    actual = from_bits(case.convolve(pools=pools))
    np.testing.assert_allclose(actual, case.expected(pools=pools), **ROUNDING)


@pytest.mark.usefixtures("with_tiles")
def test_bits_depend_neither_on_threads_nor_on_other_images_nor_on_strips(monkeypatch):
    case = Case.of((9, 26, 10, 256), 512)
    expected = case.convolve()
    for n_threads in (1, 2, 3, 7):
        name = "n_threads_of_network"
        monkeypatch.setattr(thread_pool, name, lambda n=n_threads: n)
        np.testing.assert_array_equal(case.convolve(), expected)
    for images in (slice(0, 1), slice(3, 7)):
        some = case._replace(x=case.x[images])
        np.testing.assert_array_equal(some.convolve(), expected[images])
    monkeypatch.setattr(tile_forward, "_KERNEL_IN_CACHE", np.inf)
    monkeypatch.setattr(tile_forward, "_BLOCK_BYTES", 1e4)
    np.testing.assert_array_equal(case.convolve(), expected)


@pytest.mark.usefixtures("with_tiles")
def test_not_a_number_stays_where_it_is():
    case = Case.of((2, 9, 9, 32), 32)
    expected = case.convolve()
    x = case.x.copy()
    x[0, 4, 4, 7] = 0x7FC0
    actual = case._replace(x=x).convolve()
    is_near = np.zeros(actual.shape, bool)
    is_near[0, 3:6, 3:6] = True
    assert np.isnan(from_bits(actual[is_near])).all()
    np.testing.assert_array_equal(actual[~is_near], expected[~is_near])
    pooled = from_bits(case._replace(x=x).convolve(pools=True))
    assert np.isnan(pooled[0, 1:3, 1:3]).all()
    assert np.isnan(pooled).sum() == 4 * 32


@pytest.mark.usefixtures("with_tiles")
@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("n", [1, 32, 45])
def test_products_are_those_of_numpy(n, n_threads, monkeypatch):
    monkeypatch.setattr(thread_pool, "n_threads_of_network", lambda: n_threads)
    rng = np.random.default_rng(0)
    x, kernel = (
        to_bits(rng.normal(size=(n, 1056))),
        to_bits(rng.normal(size=(1056, 96))),
    )
    with thread_pool.ThreadPool() as pool:
        actual = tile_forward.multiply(x, kernel, pool)
        one = tile_forward.multiply(x[:1], kernel, pool)
    expected = from_bits(x).astype(np.float64) @ from_bits(kernel)
    assert relative_error(actual, expected) <= 1e-6
    np.testing.assert_array_equal(one, actual[:1])


@pytest.mark.skipif(not processor.has_tiles(), reason="this processor has no tiles")
@pytest.mark.parametrize("shape", [(2, 30, 33, 3), (3, 14, 14, 512)])
def test_the_emulation_computes_what_the_processor_computes(shape, monkeypatch):
    case = Case.of(shape, 128)
    expected = case.convolve()
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "compile_tile_functions", emulated_functions)
        emulated = case.convolve()
    np.testing.assert_allclose(from_bits(emulated), from_bits(expected), rtol=2**-7)
    assert (emulated == expected).mean() > 0.99


def test_the_instructions_are_compiled_for_a_processor_that_has_them():
    """LLVM refuses instructions with wrong arguments, on any processor."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    if not llvm.get_process_triple().startswith("x86_64"):
        pytest.skip("LLVM has only the instructions of this kind of processor")
    module = ir.Module()
    tile_kernels.write_tile_convolve(module, 16, first_layer=False)
    tile_kernels.write_tile_convolve(module, 16, first_layer=True)
    tile_kernels.write_tile_multiply(module, 16)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu="sapphirerapids", opt=3)
    lines = machine.emit_assembly(parsed).splitlines()
    for name in ("ldtilecfg", "tileloadd", "tdpbf16ps", "tilestored", "tilerelease"):
        assert any(line.split()[:1] == [name] for line in lines)
    assert any("vcvtneps2bf16" in line for line in lines)


def small(**params):
    defaults = {"weights": None, "layer": "block3_pool", "pooling": "avg"}
    return VGG19Features(**{**defaults, "image_size": 32, "random_state": 0, **params})


@pytest.mark.usefixtures("with_tiles")
@pytest.mark.parametrize("layer", ["block1_pool", "block4_conv2", "block5_pool", "fc2"])
def test_rows_are_near_those_of_float32(layer, tiles):
    X = tiles[0][:6]
    params = {"layer": layer, "image_size": 48}
    expected = small(**params).transform(X)
    actual = small(**params, precision="bfloat16").transform(X)
    direct = small(**params, precision="bfloat16", engine="direct").transform(X)
    error = relative_error(actual, expected)
    assert 0 < error <= 3e-2
    assert error <= 1.5 * relative_error(direct, expected)


@pytest.mark.usefixtures("with_tiles")
def test_a_row_does_not_depend_on_how_many_images_there_are():
    X = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), np.uint8)
    names = ["block1_pool", "block3_conv2", "block5_pool", "fc1"]
    params = {"precision": "bfloat16", "layer": names}
    rows = small(**params, batch_size=64).transform(X)
    some = small(**params, batch_size=5).transform(X[30:37])
    np.testing.assert_array_equal(some, rows[30:37])
    for i in (0, 69):
        one = small(**params).transform(X[i : i + 1])
        np.testing.assert_array_equal(one, rows[i : i + 1])


@pytest.mark.usefixtures("with_tiles")
def test_memory_tells_the_engines_apart(tiles, tmp_path):
    X = tiles[0][:4]
    half = small(memory=tmp_path, precision="bfloat16")
    rows = half.fit_transform(X)
    direct = small(memory=tmp_path, precision="bfloat16", engine="direct")
    assert not np.array_equal(direct.fit_transform(X), rows)
    assert direct.cache_info().hits == 0
    np.testing.assert_array_equal(small(**half.get_params()).fit_transform(X), rows)


def test_the_choice(monkeypatch):
    monkeypatch.setattr(processor, "has_tiles", lambda: True)
    assert engines.choose_method("auto", "bfloat16") == "tiles"
    assert engines.choose_method("direct", "bfloat16") == "direct"
    assert engines.choose_method("auto", "float16") == "direct"
    assert engines.choose_method("auto", "float32") == "winograd"
    monkeypatch.setattr(engines, "has_gpu", lambda: True)
    assert engines.choose_method("auto", "bfloat16") == "direct"
    monkeypatch.setattr(engines, "has_gpu", lambda: False)
    monkeypatch.setattr(processor, "has_tiles", lambda: False)
    assert engines.choose_method("auto", "bfloat16") == "direct"


INSTRUCTIONS = {"amx-tile", "amx-bf16", "avx512bf16"}


@pytest.mark.parametrize(
    ("system", "machine", "answer", "allowed", "expected"),
    [
        ("linux", "x86_64", 0, True, True),
        ("linux", "x86_64", -1, False, False),
        ("linux", "i686", 0, False, False),
        ("win32", "AMD64", None, True, False),
    ],
)
def test_tiles_need_the_permission_of_linux(
    system, machine, answer, allowed, expected, monkeypatch
):
    asked = []
    libc = SimpleNamespace(syscall=lambda *args: asked.append(args) or answer)
    monkeypatch.setattr(processor.sys, "platform", system)
    monkeypatch.setattr(processor.platform, "machine", lambda: machine)
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **kwargs: libc)
    assert processor.may_use_tiles.__wrapped__() is allowed
    monkeypatch.setattr(processor, "may_use_tiles", lambda: allowed)
    monkeypatch.setattr(processor, "features", lambda: INSTRUCTIONS)
    assert processor.has_tiles() is expected
    monkeypatch.setattr(processor, "features", lambda: INSTRUCTIONS - {"amx-tile"})
    assert not processor.has_tiles()
    if (system, machine) == ("linux", "x86_64"):
        assert asked == [(158, 0x1023, 18)]


class WithBorders:
    """Arrays between numbers that nobody may change."""

    def __init__(self):
        self._all = []

    def empty(self, shape):
        n = int(np.prod(shape))
        room = np.full(n + 64, 12345, np.float32)
        room[32 : 32 + n] = np.nan
        self._all.append(room)
        return room[32 : 32 + n].reshape(shape)

    def buffer(self, thread, name, n):
        return self.empty([n])

    def check(self):
        for room in self._all:
            assert (room[:32] == 12345).all()
            assert (room[-32:] == 12345).all()


@pytest.mark.parametrize("width", [None, 16])
@pytest.mark.parametrize("n_in", [3, 64])
@pytest.mark.parametrize("pools", [False, True])
def test_nothing_is_written_beyond_the_buffers(width, n_in, pools, monkeypatch):
    """With the vectors of this processor, and with those of processors with AMX."""
    functions = emulated_functions(width)
    monkeypatch.setattr(kernels, "compile_tile_functions", lambda: functions)
    monkeypatch.setattr(thread_pool, "n_threads_of_network", lambda: 2)
    for size in [(8, 8), (31, 7), (16, 16), (5, 33), (1, 1)]:
        borders = WithBorders()
        monkeypatch.setattr(tile_forward, "empty", borders.empty)
        monkeypatch.setattr(thread_pool.ThreadPool, "buffer", borders.buffer)
        case = Case.of((3, *size, n_in), 64)
        actual = case.convolve(pools=pools)
        borders.check()
        np.testing.assert_allclose(
            from_bits(actual), case.expected(pools=pools), **ROUNDING
        )
