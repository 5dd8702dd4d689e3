"""The forward pass of a batch of images through the layers.

Images stream through the layers. Each layer processes the number of images it is
fastest with and passes them on before it starts the next ones. So only the last layers,
whose outputs are small, hold outputs for the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import gen_batches

from skvgg._definition.architecture import (
    CONV_NAMES,
    Layer,
    Output,
    layers_between,
    map_shape,
)
from skvgg._definition.preprocessing import Preprocessing
from skvgg._network.engines import Engine
from skvgg._network.layers import apply_layer, to_row
from skvgg._network.thread_pool import ThreadPool
from skvgg._runtime.interrupt import check_stop
from skvgg._runtime.tensorflow import (
    compiled,
    import_tensorflow,
)
from skvgg._runtime.threads import max_threads

#: Minimum number of images that enter the network together.
_ENTERING_TOGETHER = 16

#: The rows so far of each output.
OutputRows = list[list[np.ndarray]]


class _Step(NamedTuple):
    """A layer, or a convolution with the pooling after it."""

    layer: Layer
    pools: bool
    gives: str


def _steps(outputs: Sequence[Output], start: str | None) -> list[_Step]:
    """Return the steps that compute `outputs`, above the layer `start`."""
    wanted = {layer for layer, _ in outputs}
    steps: list[_Step] = []
    for layer in layers_between(start, [*wanted]):
        before = steps[-1] if steps else None
        if layer.kind == "pool" and before and before.gives not in wanted:
            steps[-1] = _Step(before.layer, True, layer.name)
        else:
            steps.append(_Step(layer, False, layer.name))
    return steps


class ForwardPass:
    """The forward pass of a batch through the layers.

    Parameters
    ----------
    parameters : mapping of str to (tensor, tensor)
        Kernel and bias of each layer that has them.
    engine : Engine
        Computes the convolutions.
    outputs : sequence of Output
        The outputs to compute.
    preprocessing : Preprocessing
        Preprocessing of the images.
    image_size : tuple of (int, int)
        Height and width of the images, in pixels.
    start : str or None
        The layer whose maps are the input; all `outputs` are above it. None if the
        input is images.
    """

    def __init__(
        self,
        parameters: Mapping[str, tuple[Any, Any]],
        engine: Engine,
        outputs: Sequence[Output],
        preprocessing: Preprocessing,
        image_size: tuple[int, int],
        start: str | None = None,
    ) -> None:
        self._parameters = parameters
        self._engine = engine
        self._outputs = outputs
        self._preprocessing = preprocessing
        self._image_size = image_size
        self._start = start
        self._dtype = parameters[CONV_NAMES[0]][0].dtype

    def __call__(self, inputs: np.ndarray) -> list[np.ndarray]:
        """Return one row per image, for each output.

        Parameters
        ----------
        inputs : ndarray of shape (n, height, width, channels)
            RGB images in 0..255, or maps of the layer `start`.
        """
        batches = gen_batches(len(inputs), max(_ENTERING_TOGETHER, max_threads()))
        prepare = self._preprocess if self._start is None else self._to_tensor
        parts: Iterator[Any] = (prepare(inputs[batch]) for batch in batches)
        rows: OutputRows = [[] for _ in self._outputs]
        with ThreadPool() as pool:
            for step in _steps(self._outputs, self._start):
                parts = self._run_step(step, parts, rows, pool)
            for _ in parts:
                pass
        return [np.concatenate(blocks) for blocks in rows]

    def _to_tensor(self, maps: np.ndarray) -> Any:
        tf = import_tensorflow()
        return tf.cast(tf.constant(maps), self._dtype)

    def _preprocess(self, pixels: np.ndarray) -> Any:
        if self._preprocessing.channels == "BGR":
            pixels = np.ascontiguousarray(pixels[..., ::-1])
        tf = import_tensorflow()
        x = tf.constant(pixels)
        shape = tuple(x.shape[1:])
        return _preprocess_function(shape, x.dtype, self._preprocessing, self._dtype)(x)

    def _task(self, step: _Step) -> tuple[str, int, int]:
        """Return the name of a convolution, and the height and width of its input."""
        height, width, _ = map_shape(step.layer, self._image_size)
        return step.layer.name, height, width

    def _run_step(
        self,
        step: _Step,
        parts: Iterable[Any],
        rows: OutputRows,
        pool: ThreadPool,
    ) -> Iterator[Any]:
        """Run a step on images as they arrive; add its outputs to `rows`."""
        name, kind = step.layer.name, step.layer.kind
        if kind == "conv":
            parts = _regroup(parts, self._engine.n_together(*self._task(step)))
        elif kind == "dense":
            parts = _regroup(parts, self._engine.n_rows_together())
        for part in parts:
            check_stop()
            if kind == "conv":
                y = self._engine.convolve(part, name, pool, pools=step.pools)
            elif kind == "dense":
                y = self._engine.multiply(part, name, pool)
            else:
                y = apply_layer(step.layer, part, self._parameters)
            for output, blocks in zip(self._outputs, rows, strict=True):
                if output.layer == step.gives:
                    blocks.append(to_row(y, output.pooling).numpy())
            yield y


def _regroup(parts: Iterable[Any], n_together: int | None) -> Iterator[Any]:
    """Yield the images in `parts`, `n_together` at a time or all together."""
    waiting: list[Any] = []
    n_waiting = 0
    for part in parts:
        waiting.append(part)
        n_waiting += part.shape[0]
        if n_together is not None and n_waiting >= n_together:
            n_full, n_over = divmod(n_waiting, n_together)
            sizes = [n_together] * n_full + [n_over] * (n_over > 0)
            groups = _split(waiting, sizes)
            yield from groups[:n_full]
            waiting, n_waiting = groups[n_full:], n_over
    if waiting:
        yield from _split(waiting, [n_waiting])


def _split(parts: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
    """Regroup the images in `parts` into parts of the given sizes."""
    tf = import_tensorflow()
    joined = parts[0] if len(parts) == 1 else tf.concat(parts, axis=0)
    return [joined] if len(sizes) == 1 else tf.split(joined, sizes)


@cache
def _preprocess_function(
    shape: tuple[int, int, int], takes: Any, preprocessing: Preprocessing, gives: Any
) -> Any:
    """Return the compiled preprocessing, without the reordering of channels.

    Processing lines of width * 3 values takes a tenth of the time of pixels of 3.
    """
    tf = import_tensorflow()
    height, width, _ = shape
    mean, std = (
        np.tile(np.array(numbers, np.float32), width)
        for numbers in (preprocessing.mean, preprocessing.std)
    )

    def preprocess(x: Any) -> Any:
        x = tf.cast(tf.reshape(x, [-1, height, width * 3]), tf.float32)
        if preprocessing.divisor != 1:
            x = x / preprocessing.divisor
        x = x - mean
        if (std != 1).any():
            x = x / std
        return tf.cast(tf.reshape(x, [-1, *shape]), gives)

    return compiled(preprocess, [tf.TensorSpec((None, *shape), takes)])
