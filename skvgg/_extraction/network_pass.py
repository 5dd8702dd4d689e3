"""Batches through the network: from pixels, or from stored maps, to outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import gen_batches

from skvgg._definition.architecture import (
    LAYER_NAMES,
    PIXELS,
    Output,
    get_layer,
    map_shape,
    parameter_shapes,
)
from skvgg._definition.preprocessing import PREPROCESSINGS
from skvgg._definition.vocabulary import Precision
from skvgg._extraction.recipe import to_stored
from skvgg._extraction.settings import Settings
from skvgg._network.engines import choose_method
from skvgg._network.registry import get_network
from skvgg._network.vgg19 import VGG19
from skvgg.weights import Source

#: The dtype of the stored maps that fine-tuning starts from.
MAP_DTYPE = "float16"

#: Number of images whose maps are in memory between the two parts of a pass.
_MAPS_TOGETHER = 16


class TrainedOn(NamedTuple):
    """The maps that the layers of a fine-tuned estimator were trained on."""

    #: The layer that computed the maps.
    start: str
    #: Fingerprint of the weights that computed the maps.
    fingerprint: str


@dataclass(eq=False)
class NetworkPass:
    """Runs batches through a network, which is loaded for the first one.

    With fine-tuned weights, a pass has two parts: the layers below, whose map is
    rounded as in training, and the trained layers.

    Attributes
    ----------
    owner : object
        The network stays in memory as long as its owner does.
    settings : Settings
        The validated parameters.
    source : Source
        The weights, pinned.
    precision : {"float32", "tensorfloat32", "float16", "bfloat16"}
        The precision of the computations.
    outputs : tuple of Output
        All outputs of the run, whose layers are loaded.
    map : Output or None
        The map below the trained layers, if a pass has two parts.
    warning : str or None
        A warning for the user that came up in another thread.
    """

    owner: Any
    settings: Settings
    source: Source
    precision: Precision
    outputs: tuple[Output, ...]
    map: Output | None = None
    warning: str | None = None
    _network: VGG19 | None = None

    def from_pixels(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Return an array of shape (n, n_features) for each of `outputs`."""
        layers = [output for output in self.outputs if output.layer != PIXELS]
        if self.map is None:
            by_output = dict(zip(layers, self._run(pixels, layers), strict=True))
            flat = pixels.reshape(len(pixels), -1)
            return [by_output.get(output, flat) for output in self.outputs]
        below = (self.map, *outputs_up_to(self.map.layer, self.outputs))
        done = [
            self.from_maps(self._run(pixels[part], below))
            for part in gen_batches(len(pixels), _MAPS_TOGETHER)
        ]
        return [np.concatenate(blocks) for blocks in zip(*done, strict=True)]

    def from_maps(self, blocks: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the same from the map below the trained layers.

        Parameters
        ----------
        blocks : sequence of ndarray of shape (n, n_features)
            The map, and those of `outputs` that are not above it.
        """
        assert self.map is not None
        start = self.map.layer
        below = outputs_up_to(start, self.outputs)
        above = [output for output in self.outputs if output not in below]
        rounded = [to_stored(self.map, row, MAP_DTYPE) for row in blocks[0]]
        shape = map_shape(get_layer(start), self.settings.image_size)
        maps = np.stack(rounded).astype(np.float32).reshape(-1, *shape)
        by_output = dict(zip(below, blocks[1:], strict=True))
        by_output |= dict(zip(above, self._run(maps, above, start), strict=True))
        return [by_output[output] for output in self.outputs]

    def _run(
        self, inputs: np.ndarray, wanted: Sequence[Output], start: str | None = None
    ) -> list[np.ndarray]:
        """Compute outputs from pixels, or from maps of the layer `start`."""
        settings = self.settings
        if self._network is None:
            layers = [o.layer for o in self.outputs if o.layer != PIXELS]
            self._network = get_network(
                self.owner,
                self.source,
                self.precision,
                parameter_shapes(layers, settings.image_size),
                settings.verbose,
            )
        own = self._network.preprocessing
        arguments = (
            inputs,
            wanted,
            PREPROCESSINGS.get(settings.preprocessing, own),
            choose_method(settings.engine, self.precision),
            self._keep_warning,
        )
        if start is None:
            return self._network.features(*arguments)
        size = settings.image_size
        return self._network.features(*arguments, start=start, image_size=size)

    def _keep_warning(self, warning: str) -> None:
        self.warning = warning


def outputs_up_to(layer: str, outputs: Sequence[Output]) -> tuple[Output, ...]:
    """Return the outputs that are not above a layer."""
    return tuple(
        output
        for output in outputs
        if output.layer == PIXELS
        or LAYER_NAMES.index(output.layer) <= LAYER_NAMES.index(layer)
    )
