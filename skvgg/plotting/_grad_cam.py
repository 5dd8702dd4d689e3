"""Grad-CAM: the locations in the map of a layer that a score depends on.

R. R. Selvaraju et al., "Grad-CAM: Visual explanations from deep networks via
gradient-based localization", ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from skvgg._extraction.fitted_weights import checked_source, source_of
from skvgg._extraction.settings import Settings
from skvgg._extraction.views import FixedView
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


def read_image(features: VGG19Features, image: Any) -> tuple[np.ndarray, bytes]:
    """Return the RGB pixels of an image in 0..255, and the digest of its content."""
    settings = _settings_of(features)
    images = as_images([image], settings.flattened_shape)
    content = load(images[0], 0, features.max_pixels)
    pixels = decode(content, settings.framing)
    return pixels, content.digest


class ViewedImage:
    """The features of an image, averaged over views, and its maps in a layer.

    The view None is the image itself. `pixels` and `digest` are those of
    :func:`read_image`. `row` are the features.
    """

    def __init__(
        self,
        features: VGG19Features,
        views: Sequence[FixedView | None],
        pixels: np.ndarray,
        digest: bytes,
        layer: str,
    ) -> None:
        self._settings = settings = _settings_of(features)
        self._views, self._digest, self._layer = views, digest, layer
        viewed = [pixels if view is None else view(pixels, digest) for view in views]
        self._network, preprocessing = _load_network(features, settings)
        wanted = dict.fromkeys([*settings.outputs, Output(layer, None)])
        found = self._network.features(np.stack(viewed), [*wanted], preprocessing)
        rows = dict(zip(wanted, found, strict=True))
        shape = map_shape(get_layer(layer), settings.image_size)
        self._maps = rows[Output(layer, None)].reshape(-1, *shape)
        blocks = [rows[output] for output in settings.outputs]
        self.row = np.concatenate(blocks, axis=1).mean(axis=0)

    def grad_cam(self, row_gradient: np.ndarray) -> np.ndarray:
        """Return the evidence for a score (positive) and against it, a map.

        The map is weighted by the gradient of the score with respect to `row`.
        """
        slopes = self._slopes(row_gradient / len(self._views))
        total = np.zeros(self._maps.shape[1:3])
        for view, maps in zip(self._views, self._maps, strict=True):
            gradient = _map_gradient(self._network, maps, self._layer, slopes)
            channel_weights = gradient.mean(axis=(0, 1))  # equation 1
            found = maps @ channel_weights
            if view is not None:
                size = self._settings.image_size
                found = view.place_back(found, self._digest, size)
            total += found
        return total

    def _slopes(self, row_gradient: np.ndarray) -> dict[Output, np.ndarray]:
        """Return the gradient for each output that depends on the map."""
        outputs, layer = self._settings.outputs, self._layer
        widths = [self._settings.n_features_of(output) for output in outputs]
        parts = np.split(row_gradient.astype(np.float32), np.cumsum(widths)[:-1])
        slopes = {
            output: part
            for output, part in zip(outputs, parts, strict=True)
            if _is_reached(output.layer, layer)
        }
        if not any(part.any() for part in slopes.values()):
            raise ValueError(
                f"The score depends only on layers below {layer!r}. Choose one of "
                "these layers, or a layer below."
            )
        return slopes


def _settings_of(features: VGG19Features) -> Settings:
    return Settings.of(features, source_of(features))


def _is_reached(name: str, layer: str) -> bool:
    return LAYER_NAMES.index(name) >= LAYER_NAMES.index(layer)


def _load_network(
    features: VGG19Features, settings: Settings
) -> tuple[VGG19, Preprocessing]:
    source = checked_source(features)
    layers = [output.layer for output in settings.outputs]
    network = get_network(
        features,
        source,
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
    """Return the gradient of the score with respect to the maps of a layer.

    `slopes` are the gradients with respect to the features of each output.
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
