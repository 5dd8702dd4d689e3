"""The ways to compute a convolution, and which of them is the faster one when.

Two engines with the same methods. What they compile serves all networks of a process:
kernels are arguments.
"""

from __future__ import annotations

import threading
from copy import copy
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from skvgg._network import layers, winograd
from skvgg._network.precision import REDUCED, Precision
from skvgg._runtime.tensorflow import compiled, has_gpu, import_tensorflow

EngineName = Literal["auto", "direct", "winograd"]
ENGINE_NAMES: tuple[EngineName, ...] = get_args(EngineName)

#: How convolutions are computed in the end: the last is for batches of few images.
Method = Literal["direct", "winograd", "winograd_one_by_one"]

#: Kernel and bias of each convolution, as tensors.
LayerTensors = dict[str, tuple[Any, Any]]

#: Held while something is compiled or transformed that other threads may need too.
_LOCK = threading.RLock()

#: Images of a job after which compiling the Winograd engine pays. It takes about as
#: long as it then saves on as many images again: who stops earlier has lost nothing,
#: and who goes on loses little.
IMAGES_BEFORE_COMPILING = 96

#: Images of a batch up to which one by one is faster: at 224x224, 107 to 120 ms a
#: image, while in parts of a batch 3 of them take 148, 6 take 113 and 8 take 95 ms.
_FEW = 6

#: Pixels times channels in times channels out of layers that are worth a call for one
#: image. Where it is less, the call itself takes longer than is saved, or reading the
#: transformed kernel does, which is 4 times as large as the kernel.
_WORTH_A_CALL = 4e7

#: Images that TensorFlow's own convolution takes together on a CPU. In fewer bits than
#: float32, larger parts are faster.
_DIRECT_TOGETHER, _REDUCED_TOGETHER = 8, 16

#: Bytes that the larger of their maps may take, what goes in or what comes out: at
#: 224x224, 4 images in block 1. More are no faster, and the peak of the process is 300
#: MB higher with 16.
_DIRECT_BYTES = 52e6

#: Bytes that the transformed input of one call of the Winograd engine may take: what
#: stays in a cache of 32 MB.
_WINOGRAD_BYTES = 30e6

#: Where fewer images than this would fit, it takes two of them, stripe by stripe.
#: (One would do, but each call spends 1 ms in Python.)
_LEAST_TOGETHER, _IN_STRIPES_TOGETHER = 4, 2

#: Bytes of transformed input and output that stay in a core's own cache: what a stripe
#: may take. If the transformed kernel takes more, the stripe may as well, since the
#: kernel goes through that cache once a stripe.
_STRIPE_BYTES = 1.5e6

#: Where the Winograd engine pools in the same step: maps of at least so many pixels. On
#: smaller ones that saves less than 0.4 ms an image and costs a second of compiling.
_POOLS_FROM = 100 * 100


def check_engine(engine: EngineName, precision: Precision) -> None:
    """Raise a ValueError if an engine does not compute in a precision."""
    if engine == "winograd" and precision in REDUCED:
        raise ValueError(
            f"engine='winograd' computes in float32, so it does not go with "
            f"precision={precision!r}. Use precision='float32' for speed on a CPU, or "
            f"engine='auto' to compute in {precision}."
        )


def choose_method(
    engine: EngineName, precision: Precision, n_done: int, batch_size: int
) -> Method:
    """Return the method for the next images of a job.

    Depends on nothing else in the process, so the same call gives the same features.
    Engines differ by rounding only, so those of a job may differ where that is of
    float32.

    Parameters
    ----------
    engine : {"auto", "direct", "winograd"}
        What the user asks for.
    precision : {"float32", "tensorfloat32", "float16", "bfloat16"}
        What the network computes in.
    n_done : int
        Images of this job that have gone through the network.
    batch_size : int
        Images of the job's first batch: later ones have as many, but for the last,
        for which nothing is compiled.
    """
    if engine == "direct" or precision in REDUCED:
        return "direct"
    if engine == "auto" and n_done < IMAGES_BEFORE_COMPILING:
        return "direct"
    return "winograd_one_by_one" if batch_size <= _FEW else "winograd"


class Direct:
    """TensorFlow's own convolution, by oneDNN on a CPU and by cuDNN on a GPU."""

    def __init__(self, parameters: LayerTensors) -> None:
        self._parameters = parameters

    def n_together(self, layer: str, height: int, width: int) -> int | None:
        """Return how many images a call takes at most; None means all."""
        if has_gpu():
            return None
        kernel = self._parameters[layer][0]
        n_bytes = kernel.dtype.size
        if n_bytes < np.float32().nbytes:
            return _REDUCED_TOGETHER
        of_one = height * width * max(kernel.shape[2:]) * n_bytes
        return max(1, min(int(_DIRECT_BYTES / of_one), _DIRECT_TOGETHER))

    def is_serial(self, layer: str, height: int, width: int) -> bool:
        """Return whether a call keeps one core busy and leaves the others idle."""
        return False

    def convolve(self, x: Any, layer: str, *, pools: bool) -> Any:
        """Return relu(conv(x) + bias) of images, or its 2x2 max-pooling."""
        kernel, bias = self._parameters[layer]
        shape, n_out = tuple(x.shape[1:]), kernel.shape[-1]
        function = _direct_function(shape, n_out, x.dtype, pools)
        return function(x, kernel, bias)


class _Plan(NamedTuple):
    """How the Winograd engine computes a layer."""

    n_together: int
    #: Of tiles, in a stripe; None if images are not cut into stripes.
    rows: int | None


class Winograd:
    """Fewer multiplications, on a CPU: see :mod:`skvgg._network.winograd`.

    In float32 only. Leaves to `direct` what it would not do faster: layers of less than
    64 channels, parts of a batch that would be half full or less, small layers if
    images come one by one, and everything on a GPU, where cuDNN has a Winograd of its
    own.
    """

    def __init__(self, parameters: LayerTensors, direct: Direct) -> None:
        self._parameters = parameters
        self._direct = direct
        self._transformed: dict[str, tuple[list[Any], Any]] = {}
        self._one_by_one = False

    def one_by_one(self) -> Winograd:
        """Return this engine, with the same kernels, for batches of few images."""
        engine = copy(self)
        engine._one_by_one = True
        return engine

    def n_together(self, layer: str, height: int, width: int) -> int | None:
        """Return how many images a call takes; None means all."""
        plan = self._plan(layer, height, width)
        if plan is None:
            return self._direct.n_together(layer, height, width)
        return plan.n_together

    def is_serial(self, layer: str, height: int, width: int) -> bool:
        """Return whether a call keeps one core busy and leaves the others idle."""
        plan = self._plan(layer, height, width)
        return plan is not None and plan.rows is not None

    def convolve(self, x: Any, layer: str, *, pools: bool) -> Any:
        """Return relu(conv(x) + bias) of images, or its 2x2 max-pooling."""
        tf = import_tensorflow()
        n, height, width, _ = x.shape
        plan = self._plan(layer, height, width)
        if plan is None:
            return self._direct.convolve(x, layer, pools=pools)
        n_missing = plan.n_together - n
        if n_missing >= n:
            return self._direct.convolve(x, layer, pools=pools)
        if n_missing:
            x = tf.pad(x, [[0, n_missing], [0, 0], [0, 0], [0, 0]])
        kernel, bias = self._transform(layer)
        pools_too = pools and height * width >= _POOLS_FROM
        shape, n_out = tuple(x.shape), bias.shape[0]
        function = _winograd_function(shape, n_out, pools_too, plan.rows)
        y = function(x, kernel, bias)
        y = y[:n] if n_missing else y
        return tf.nn.max_pool2d(y, 2, 2, "VALID") if pools and not pools_too else y

    def _plan(self, layer: str, height: int, width: int) -> _Plan | None:
        """Return how a layer is computed; None leaves it to `direct`."""
        n_in, n_out = self._parameters[layer][0].shape[2:]
        if n_in < 64 or has_gpu():
            return None
        if self._one_by_one:
            is_worth_it = height * width * n_in * n_out >= _WORTH_A_CALL
            return _Plan(1, None) if is_worth_it else None
        bytes_of_one = winograd.transformed_bytes(height, width, max(n_in, n_out))
        n_fitting = int(_WINOGRAD_BYTES / bytes_of_one)
        if n_fitting >= _LEAST_TOGETHER:
            # A power of two, so that a deeper layer's number is a multiple of it.
            return _Plan(2 ** (n_fitting.bit_length() - 1), None)
        bytes_of_kernel = winograd.transformed_bytes(1, 1, n_in * n_out)
        stripe = max(_STRIPE_BYTES, bytes_of_kernel)
        rows = int(stripe / winograd.transformed_bytes(1, width, n_in + n_out))
        return _Plan(_IN_STRIPES_TOGETHER, max(rows, 1))

    def _transform(self, layer: str) -> tuple[list[Any], Any]:
        """Return a layer's transformed kernel and its bias."""
        with _LOCK:
            if layer not in self._transformed:
                tf = import_tensorflow()
                kernel, bias = self._parameters[layer]
                parts = winograd.transform_kernel(kernel.numpy())
                self._transformed[layer] = [tf.constant(part) for part in parts], bias
        return self._transformed[layer]


@cache
def _direct_function(
    shape: tuple[int, ...], n_out: int, dtype: Any, pools: bool
) -> Any:
    """Return the compiled convolution of images of a shape (height, width, n_in)."""
    tf = import_tensorflow()

    def convolve(x, kernel, bias):
        y = layers.convolve(x, kernel, bias)
        return tf.nn.max_pool2d(y, 2, 2, "VALID") if pools else y

    shapes = (None, *shape), (3, 3, shape[-1], n_out), (n_out,)
    return compiled(convolve, [tf.TensorSpec(shape, dtype) for shape in shapes])


def _winograd_function(*key: Any) -> Any:
    """Return the result of :func:`_compile_winograd`, compiled by one thread only."""
    with _LOCK:
        return _compile_winograd(*key)


@cache
def _compile_winograd(
    shape: tuple[int, ...], n_out: int, pools: bool, rows: int | None
) -> Any:
    """Return the compiled convolution of shape (n, height, width, n_in)."""
    tf = import_tensorflow()

    def convolve(x, kernel, bias):
        return winograd.convolve(x, kernel, bias, pools=pools, rows=rows)

    side = winograd.SIDE
    specs = [
        tf.TensorSpec(shape, tf.float32),
        [tf.TensorSpec((side, shape[-1], n_out), tf.float32)] * side,
        tf.TensorSpec((n_out,), tf.float32),
    ]
    function = compiled(convolve, specs, by_xla=True)
    function(*tf.nest.map_structure(lambda spec: tf.zeros(spec.shape), specs))
    return function
