"""Two engines that compute the layers with weights, and the choice between them.

An :class:`Engine` takes and returns tensors. Compiled functions are shared by all
networks of a process, because weights are arguments.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any, Literal, Protocol

import numpy as np

from skvgg._definition.architecture import CONV_NAMES, get_layer
from skvgg._definition.vocabulary import EngineName, Precision
from skvgg._network import layers
from skvgg._network.dense_forward import multiply
from skvgg._network.kernels import kernels
from skvgg._network.layers import apply_layer
from skvgg._network.overflow import may_leave_float32
from skvgg._network.precision import REDUCED
from skvgg._network.thread_pool import ThreadPool
from skvgg._network.winograd import KERNEL, SIDE, n_tiles
from skvgg._network.winograd_forward import PackedKernel, convolve
from skvgg._runtime import processor
from skvgg._runtime.tensorflow import (
    Tensor,
    as_array,
    as_tensor,
    compiled,
    has_gpu,
    import_tensorflow,
)
from skvgg._runtime.warn import warn_once

#: How convolutions are actually computed.
Method = Literal["direct", "winograd"]

#: Kernel and bias of each convolution, as tensors.
LayerTensors = dict[str, tuple[Tensor, Tensor]]

#: Images per call of TensorFlow's convolution on a CPU. With fewer bits than float32,
#: larger calls are faster.
_DIRECT_TOGETHER, _REDUCED_TOGETHER = 8, 16

#: Rows per call of TensorFlow's matrix product with fewer bits than float32, padded
#: with zeros. Its rounding depends on the number of rows.
_REDUCED_ROWS = 16

#: Maximum size of the input or output maps of a call in bytes: at 224x224, 4 images in
#: block 1. More are not faster, and 16 raise the peak memory of the process by 300 MB.
_DIRECT_BYTES = 52e6

#: The same for the Winograd engine. At 224x224, these are 2 images in block 1, so that
#: a map is still in the shared cache when the next layer reads it, and 16 images in
#: block 4, so that its large kernels are read less often.
_TOGETHER_BYTES = 26e6

#: Rows per call of a fully connected layer. With more, the output would not stay in the
#: cache of a core while the kernel is read.
_ROWS_TOGETHER = 48

#: Maximum ratio of the multiplications of the Winograd engine to those of the direct
#: convolution. On small maps, parts of the 4x4 tiles lie outside of the map, and the
#: engine is not faster.
_WORTH_IT = 0.5


def check_engine(engine: EngineName, precision: Precision) -> None:
    """Raise a ValueError if an engine does not support a precision."""
    if engine == "winograd" and precision in REDUCED:
        raise ValueError(
            f"engine='winograd' computes in float32 and does not support "
            f"precision={precision!r}. Use precision='float32', or engine='auto' to "
            f"compute in {precision} where that is faster."
        )
    may_run = engine != "winograd" or processor.may_run_generated_code() or has_gpu()
    if not may_run:
        raise ValueError(
            "engine='winograd' runs machine code that it generates, which this system "
            "does not permit. Use engine='direct'."
        )


def choose_method(engine: EngineName, precision: Precision) -> Method:
    """Return how the convolutions of a network are computed.

    The choice depends on these settings and on the system, never on the images.
    """
    if engine == "direct" or precision in REDUCED or not _may_generate_code():
        return "direct"
    return "winograd"


def _may_generate_code() -> bool:
    """Return whether the Winograd engine runs here; warn once if it does not."""
    if processor.may_run_generated_code() or has_gpu():
        return True
    warn_once(
        "engine",
        "generated code",
        "This system does not permit to run generated machine code, so TensorFlow "
        "computes the convolutions (engine='direct'), which is slower.",
    )
    return False


class Engine(Protocol):
    """Computes the layers with weights, of as many images as it is fastest with."""

    def n_together(self, layer: str, height: int, width: int) -> int | None:
        """Return the maximum number of images per call; None means all."""

    def convolve(
        self, x: Tensor, layer: str, pool: ThreadPool, *, pools: bool
    ) -> Tensor:
        """Return relu(conv(x) + bias) of images, or its 2x2 max-pooling."""

    def n_rows_together(self) -> int | None:
        """Return the maximum number of rows per call of a dense layer, or None."""

    def multiply(self, x: Tensor, layer: str, pool: ThreadPool) -> Tensor:
        """Return relu(x @ kernel + bias) of rows."""


class Direct:
    """TensorFlow's convolution: oneDNN on a CPU, cuDNN on a GPU."""

    def __init__(self, parameters: LayerTensors) -> None:
        self._parameters = parameters

    def n_together(self, layer: str, height: int, width: int) -> int | None:
        if has_gpu():
            return None
        kernel = self._parameters[layer][0]
        if kernel.dtype.size < np.float32().nbytes:
            return _REDUCED_TOGETHER
        of_one = _bytes_of_one(kernel, height, width)
        return max(1, min(int(_DIRECT_BYTES / of_one), _DIRECT_TOGETHER))

    def convolve(
        self, x: Tensor, layer: str, pool: ThreadPool, *, pools: bool
    ) -> Tensor:
        kernel, bias = self._parameters[layer]
        shape, n_out = tuple(x.shape[1:]), kernel.shape[-1]
        function = _direct_function(shape, n_out, x.dtype, pools)
        return function(x, kernel, bias)

    def n_rows_together(self) -> int | None:
        dtype = self._parameters[CONV_NAMES[0]][0].dtype
        is_reduced = dtype.size < np.float32().nbytes
        return _REDUCED_ROWS if is_reduced and not has_gpu() else None

    def multiply(self, x: Tensor, layer: str, pool: ThreadPool) -> Tensor:
        n, most = x.shape[0], self.n_rows_together()
        if most is not None:
            x = import_tensorflow().pad(x, [[0, most - n], [0, 0]])
        return apply_layer(get_layer(layer), x, self._parameters)[:n]


class Winograd:
    """Winograd's convolution on a CPU; see :mod:`skvgg._network.winograd_kernels`.

    It supports float32 only. It delegates to `direct` layers with few channels, maps
    that its tiles do not fit, and everything on a GPU, where cuDNN has its own Winograd
    convolution.
    """

    def __init__(self, parameters: LayerTensors, direct: Direct) -> None:
        self._parameters = parameters
        self._direct = direct
        self._packed: dict[str, PackedKernel] = {}
        self._packing = threading.Lock()
        self._n_bounded, self._may_leave = 0, False

    def n_together(self, layer: str, height: int, width: int) -> int | None:
        if not self._serves(layer, height, width):
            return self._direct.n_together(layer, height, width)
        kernel = self._parameters[layer][0]
        return max(1, int(_TOGETHER_BYTES / _bytes_of_one(kernel, height, width)))

    def convolve(
        self, x: Tensor, layer: str, pool: ThreadPool, *, pools: bool
    ) -> Tensor:
        if not self._serves(layer, *x.shape[1:3]):
            return self._direct.convolve(x, layer, pool, pools=pools)
        return as_tensor(convolve(as_array(x), self._pack(layer), pool, pools=pools))

    def n_rows_together(self) -> int | None:
        return _ROWS_TOGETHER

    def multiply(self, x: Tensor, layer: str, pool: ThreadPool) -> Tensor:
        kernel, bias = self._parameters[layer]
        if (
            has_gpu()
            or kernel.shape[1] % kernels().n_columns
            or self._may_leave_float32()
        ):
            return self._direct.multiply(x, layer, pool)
        tf = import_tensorflow()
        product = as_tensor(multiply(as_array(x), as_array(kernel), pool))
        return tf.nn.relu(product + bias)

    def _serves(self, layer: str, height: int, width: int) -> bool:
        """Return whether this engine computes a layer, instead of `direct`."""
        n_in, n_out = self._parameters[layer][0].shape[2:]
        # VGG19's layers with 64 channels or more fill vectors and panels.
        if has_gpu() or n_in < 64 or n_out % kernels().n_columns:
            return False
        if self._may_leave_float32():
            return False
        n_multiplied = n_tiles(height) * n_tiles(width) * SIDE**2
        return n_multiplied <= _WORTH_IT * height * width * KERNEL**2

    def _may_leave_float32(self) -> bool:
        """Return whether numbers in the loaded layers may leave float32.

        Sums that overflow, or vanish, in one order do not in another, so that the
        engines would differ. Then `direct` computes everything.
        """
        with self._packing:
            if self._n_bounded != len(self._parameters):
                self._n_bounded = len(self._parameters)
                self._may_leave = may_leave_float32(self._parameters)
        return self._may_leave

    def _pack(self, layer: str) -> PackedKernel:
        with self._packing:
            if layer not in self._packed:
                arrays = map(as_array, self._parameters[layer])
                self._packed[layer] = PackedKernel.of(*arrays)
        return self._packed[layer]


def _bytes_of_one(kernel: Tensor, height: int, width: int) -> int:
    """Return the size of the larger of the input and output maps of an image."""
    channels: int = max(kernel.shape[2:])
    return height * width * channels * int(kernel.dtype.size)


@cache
def _direct_function(
    shape: tuple[int, ...], n_out: int, dtype: Any, pools: bool
) -> Any:
    """Return the compiled convolution for images of shape (height, width, n_in)."""
    tf = import_tensorflow()

    def convolve(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        y = layers.convolve(x, kernel, bias)
        return tf.nn.max_pool2d(y, 2, 2, "VALID") if pools else y

    shapes = (None, *shape), (3, 3, shape[-1], n_out), (n_out,)
    return compiled(convolve, [tf.TensorSpec(shape, dtype) for shape in shapes])
