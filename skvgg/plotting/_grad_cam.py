"""Grad-CAM: the locations in the map of a layer that a score depends on.

R. R. Selvaraju et al., "Grad-CAM: Visual explanations from deep networks via
gradient-based localization", ICCV 2017.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skvgg._definition.architecture import (
    CONV_NAMES,
    LAYER_NAMES,
    LAYERS,
    Output,
    get_layer,
    map_shape,
    parameter_shapes,
)
from skvgg._definition.names import did_you_mean
from skvgg._definition.preprocessing import PREPROCESSINGS, Preprocessing
from skvgg._extraction.settings import Settings
from skvgg._images import as_images, decode, load
from skvgg._network.layers import apply_layers, to_row
from skvgg._network.precision import computed_in
from skvgg._network.registry import get_network
from skvgg._network.vgg19 import VGG19
from skvgg._runtime.tensorflow import eagerly, import_tensorflow
from skvgg.features import VGG19Features

_WITH_MAPS = tuple(layer.name for layer in LAYERS if layer.is_spatial)


def last_convolution(features: VGG19Features) -> str:
    """Return the last convolution that the features depend on."""
    layers = [output.layer for output in _settings_of(features).outputs]
    last = max(map(LAYER_NAMES.index, layers))
    return [name for name in LAYER_NAMES[: last + 1] if name in CONV_NAMES][-1]


def check_layer(features: VGG19Features, layer: str) -> None:
    """Raise an error if the features do not depend on the map of a layer."""
    if layer not in _WITH_MAPS:
        raise ValueError(
            f"layer={layer!r} has no map.{did_you_mean(layer, _WITH_MAPS)} Expected "
            f"one of {', '.join(_WITH_MAPS)}."
        )
    layers = [output.layer for output in _settings_of(features).outputs]
    if not any(_is_reached(name, layer) for name in layers):
        raise ValueError(
            f"layer={layer!r} is above the layers of the features, "
            f"{', '.join(layers)}, so predictions do not depend on it. Choose one of "
            "these layers, or a layer below."
        )


def read_image(features: VGG19Features, image: Any) -> tuple[Any, np.ndarray]:
    """Return an image as input of `transform`, and its pixels.

    Returns
    -------
    X : images
        One image.
    pixels : ndarray of shape (height, width, 3), uint8 or float32
        RGB in 0..255, the input of the network.
    """
    settings = _settings_of(features)
    X = [image]
    images = as_images(X, settings.flattened_shape)
    content = load(images[0], 0, features.max_pixels)
    return X, decode(content, settings.framing, features.max_pixels)


def grad_cam(
    features: VGG19Features, pixels: np.ndarray, layer: str, row_gradient: np.ndarray
) -> np.ndarray:
    """Return the map of a layer, weighted by the gradient of a score.

    Parameters
    ----------
    features : VGG19Features
        The score depends on its outputs at `layer` or above.
    pixels : ndarray of shape (height, width, 3)
        Result of :func:`read_image`.
    layer : str
        A convolution or pooling layer.
    row_gradient : ndarray of shape (n_features,)
        Gradient of the score with respect to the row of `features`.

    Returns
    -------
    ndarray of shape (map height, map width), float32
        Nonnegative map.

    Raises
    ------
    ValueError
        If the gradient is zero for all outputs at `layer` or above.
    """
    settings = _settings_of(features)
    parts = np.split(
        row_gradient.astype(np.float32),
        np.cumsum([settings.n_features_of(output) for output in settings.outputs])[:-1],
    )
    slopes = {
        output: part
        for output, part in zip(settings.outputs, parts, strict=True)
        if _is_reached(output.layer, layer)
    }
    if not any(part.any() for part in slopes.values()):
        raise ValueError(
            f"The score depends only on layers below {layer!r}. Choose one of these "
            "layers, or a layer below."
        )
    network, preprocessing = _load_network(features, settings)
    wanted = [Output(layer, None)]
    (flat,) = network.features(pixels[None], wanted, preprocessing)
    maps = flat.reshape(map_shape(get_layer(layer), settings.image_size))
    gradient = _map_gradient(network, maps, layer, slopes)
    channel_weights = gradient.mean(axis=(0, 1))  # equation 1
    return np.maximum(maps @ channel_weights, 0)  # equation 2


def _settings_of(features: VGG19Features) -> Settings:
    return Settings.of(features, features._source())


def _is_reached(name: str, layer: str) -> bool:
    return LAYER_NAMES.index(name) >= LAYER_NAMES.index(layer)


def _load_network(
    features: VGG19Features, settings: Settings
) -> tuple[VGG19, Preprocessing]:
    source = features._source()
    layers = [output.layer for output in settings.outputs]
    network = get_network(
        features,
        source,
        source.identify(),
        computed_in(features.precision),
        parameter_shapes(layers, settings.image_size),
        features.verbose,
    )
    own = network.preprocessing
    return network, PREPROCESSINGS.get(features.preprocessing, own)


@eagerly()
def _map_gradient(
    network: VGG19, maps: np.ndarray, layer: str, slopes: dict[Output, np.ndarray]
) -> np.ndarray:
    """Return the gradient of the score with respect to the map of a layer.

    Parameters
    ----------
    maps : ndarray of shape (map height, map width, channels)
        The map of the layer.
    slopes : dict of Output to ndarray
        Gradient of the score with respect to the features of each output.
    """
    tf = import_tensorflow()
    above = [output for output in slopes if output.layer != layer]
    x = tf.cast(maps[None], network.parameters["block1_conv1"][0].dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        rows = {o: to_row(x, o.pooling) for o in slopes if o.layer == layer}
        if above:
            computed = apply_layers(x, layer, above, network.parameters)
            rows.update(zip(above, computed, strict=True))
        score = tf.add_n([tf.reduce_sum(row * slopes[o]) for o, row in rows.items()])
    return tf.cast(tape.gradient(score, x)[0], tf.float32).numpy()
