"""Parameters of an extraction, validated together."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Literal, Protocol

from skvgg._definition.architecture import (
    LAYER_NAMES,
    MIN_IMAGE_SIZE,
    POOLINGS,
    PRETRAINED_IMAGE_SIZE,
    STAGES,
    WITHOUT_DENSE,
    Output,
    Pooling,
    PoolingLike,
    n_features,
    needs_dense,
)
from skvgg._definition.names import did_you_mean
from skvgg._definition.vocabulary import (
    EngineName,
    Interpolation,
    Precision,
    PreprocessingName,
    Resize,
)
from skvgg._images import Framing, check_flattened_shape, is_whole
from skvgg._network.engines import check_engine
from skvgg._store.urls import check_url, is_url
from skvgg._typing import LayerLike, MemoryLike
from skvgg.weights import Source


class Parameters(Protocol):
    """The parameters that :meth:`Settings.of` reads; those of VGG19Features."""

    layer: LayerLike
    pooling: PoolingLike
    image_size: int | Sequence[int]
    flattened_shape: Sequence[int] | None
    resize: Resize
    fill_value: int | Sequence[int]
    interpolation: Interpolation
    preprocessing: PreprocessingName
    on_error: Literal["raise", "nan"]
    max_pixels: int | None
    batch_size: int
    precision: Precision
    engine: EngineName
    memory: MemoryLike
    memory_layers: LayerLike | None
    n_jobs: int | None
    verbose: int


@dataclass(frozen=True)
class Settings:
    """Validated parameters of an estimator.

    Attributes
    ----------
    outputs : tuple of Output
        Outputs that make up a row.
    also_stored : tuple of Output
        Outputs that a pass stores besides the row.
    framing : Framing
        How images are resized, and how large they may be.
    flattened_shape : tuple of int or None
        Shape of flattened images.
    preprocessing, precision, engine, batch_size, n_jobs, verbose
        Parameters of the estimator.
    skips_bad : bool
        Whether images that cannot be used get rows of NaN.
    """

    outputs: tuple[Output, ...]
    also_stored: tuple[Output, ...]
    framing: Framing
    flattened_shape: tuple[int, ...] | None
    preprocessing: str
    precision: Precision
    engine: EngineName
    batch_size: int
    skips_bad: bool
    n_jobs: int | None
    verbose: int

    @classmethod
    def of(cls, estimator: Parameters, source: Source) -> Settings:
        """Validate the parameters of an estimator, also against its weights."""
        layers = check_layers(estimator.layer, "layer")
        memory_layers = _check_memory_layers(estimator.memory_layers)
        check_engine(estimator.engine, estimator.precision)
        image_size = _check_image_size(estimator.image_size)
        for parameter, names in (("layer", layers), ("memory_layers", memory_layers)):
            _check_layers_fit(parameter, names, image_size, source)
        flattened_shape = check_flattened_shape(estimator.flattened_shape)
        framing = Framing(
            image_size,
            estimator.resize,
            estimator.interpolation,
            max_pixels=estimator.max_pixels,
        )
        fill_value = _check_fill_value(estimator.fill_value)
        if estimator.resize == "pad":  # otherwise rows do not depend on it
            framing = replace(framing, fill_value=fill_value)
        check_memory(estimator.memory)
        stored_layers = memory_layers if estimator.memory is not None else ()
        stored = [(name, pooling) for name in stored_layers for pooling in POOLINGS]
        poolings = _check_poolings(estimator.pooling)
        wanted = [(name, pooling) for name in layers for pooling in poolings]
        return cls(
            # Layers without height and width are not pooled, so they occur once.
            outputs=tuple(dict.fromkeys(Output.of(*output) for output in wanted)),
            also_stored=tuple(Output.of(*output) for output in stored),
            framing=framing,
            flattened_shape=flattened_shape,
            preprocessing=estimator.preprocessing,
            precision=estimator.precision,
            engine=estimator.engine,
            batch_size=estimator.batch_size,
            skips_bad=estimator.on_error == "nan",
            n_jobs=estimator.n_jobs,
            verbose=estimator.verbose,
        )

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images in the network."""
        return self.framing.image_size

    def n_features_of(self, output: Output) -> int:
        """Return the number of features of an output."""
        return n_features(output.layer, self.image_size, output.pooling)

    @property
    def n_features(self) -> int:
        """The length of a row."""
        return sum(map(self.n_features_of, self.outputs))


def check_layers(
    layer: LayerLike, parameter: str, *, instead: str | None = None
) -> tuple[str, ...]:
    """Return the names of layers, or raise.

    Parameters
    ----------
    layer : str or sequence of str
        Value of the parameter.
    parameter : str
        Name of the parameter in the error message.
    instead : str, optional
        Another valid value of the parameter, for the error message.
    """
    layers = (str(layer),) if _is_alone(layer) else tuple(map(str, layer))
    unknown = [name for name in layers if name not in LAYER_NAMES]
    if unknown or not layers or len(set(layers)) < len(layers):
        problem, hint = "empty or has duplicates", ""
        if unknown:
            problem = f"unknown: {unknown[0]!r}"
            valid = LAYER_NAMES if instead is None else (instead, *LAYER_NAMES)
            hint = did_you_mean(unknown[0], valid)
            if unknown[0] == instead:
                problem, hint = "invalid", f" Pass {instead!r} alone, not in a list."
        others = "" if instead is None else f"{instead!r}, or "
        raise ValueError(
            f"{parameter}={layer!r} is {problem}.{hint} Expected {others}one or "
            f"several different layers out of {', '.join(LAYER_NAMES)}."
        )
    return layers


def expand_layers(layer: LayerLike, parameter: str) -> tuple[str, ...]:
    """Return the names of layers, or raise; "stages" means the five poolings."""
    if _is_alone(layer) and str(layer) == "stages":
        return STAGES
    return check_layers(layer, parameter, instead="stages")


def _is_alone(layer: LayerLike) -> bool:
    return isinstance(layer, str) or getattr(layer, "ndim", 1) == 0


def _check_poolings(pooling: PoolingLike) -> tuple[Pooling, ...]:
    if pooling is None or isinstance(pooling, str):
        return (pooling,)
    poolings = tuple(pooling)
    unknown = [name for name in poolings if name not in POOLINGS]
    if unknown or not poolings or len({*poolings}) < len(poolings):
        raise ValueError(
            f"pooling={pooling!r}; expected None, 'avg', 'max', or several different "
            "poolings, such as ('avg', 'max')."
        )
    return poolings


def _check_memory_layers(layers: LayerLike | None) -> tuple[str, ...]:
    return () if layers is None else expand_layers(layers, "memory_layers")


def _check_image_size(image_size: Any) -> tuple[int, int]:
    sides = (image_size,) * 2 if isinstance(image_size, Integral) else (*image_size,)
    if len(sides) != 2 or not all(is_whole(side) for side in sides):
        raise ValueError(
            f"image_size={image_size!r}; expected an int or (height, width) in pixels."
        )
    return int(sides[0]), int(sides[1])


def _check_fill_value(fill_value: Any) -> tuple[int, int, int]:
    is_gray = isinstance(fill_value, Integral)
    colour = (fill_value,) * 3 if is_gray else (*fill_value,)
    if len(colour) != 3 or not all(is_whole(c) and 0 <= c <= 255 for c in colour):
        raise ValueError(
            f"fill_value={fill_value!r}; expected an int or (red, green, blue), each "
            "in 0..255."
        )
    red, green, blue = map(int, colour)
    return red, green, blue


def check_memory(memory: Any) -> None:
    """Raise if `memory` cannot be a store; the store reports other problems."""
    if is_url(memory):
        check_url(memory)
        return
    is_path = isinstance(memory, str | os.PathLike)
    path = memory if is_path else getattr(memory, "location", None)
    try:
        if isinstance(path, str | os.PathLike) and not is_url(path):
            os.stat(path)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
            return
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"memory={memory!r} cannot be a folder ({reason}). Choose another path."
        ) from error


def _check_layers_fit(
    parameter: str,
    layers: Sequence[str],
    image_size: tuple[int, int],
    source: Source,
) -> None:
    if not source.has_dense and needs_dense(layers):
        raise ValueError(
            f"weights='hed' have no fully connected layers, got {parameter}={layers}. "
            f'Choose other layers: VGG19Features("hed", {WITHOUT_DENSE})'
        )
    if min(image_size) < MIN_IMAGE_SIZE:
        raise ValueError(
            f"image_size={image_size} is too small: VGG19 halves images five times, so "
            f"both sides must be at least {MIN_IMAGE_SIZE} pixels."
        )
    full_size = (PRETRAINED_IMAGE_SIZE, PRETRAINED_IMAGE_SIZE)
    bound = not source.fits_any_size and needs_dense(layers)
    if bound and image_size != full_size:
        raise ValueError(
            f"image_size={image_size} does not work with {parameter}={layers}: 'fc1' "
            f"and 'fc2' of pretrained weights need image_size={PRETRAINED_IMAGE_SIZE}. "
            "Set it, or choose other layers."
        )
