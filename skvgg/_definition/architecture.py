"""VGG19 as data: the table of its layers, and everything derived from it.

Layer names, shapes, feature counts and the contents of weights files are all derived
from :data:`BLOCKS`, so that they agree. This module does not use TensorFlow.

The architecture is configuration E of Simonyan and Zisserman, "Very deep
convolutional networks for large-scale image recognition" (ICLR 2015), table 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

#: (channels, number of 3x3 convolutions) of each block; a 2x2 max-pooling
#: with stride 2 ends each block.
BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))

#: Units of the two fully connected layers kept from the classifier.
DENSE_UNITS = (4096, 4096)

#: Side length in pixels of the images that the fully connected layers of pretrained
#: weights were trained on.
PRETRAINED_IMAGE_SIZE = 224

#: Minimum side length in pixels: smaller images leave nothing for the last pooling.
MIN_IMAGE_SIZE = 2 ** len(BLOCKS)

Kind = Literal["conv", "pool", "flatten", "dense"]
PoolingName = Literal["avg", "max"]
PoolingLike = PoolingName | Sequence[PoolingName] | None
Pooling = PoolingName | None

#: Kinds of global pooling.
POOLINGS: tuple[PoolingName, ...] = get_args(PoolingName)


@dataclass(frozen=True)
class Layer:
    """One named output of the network."""

    name: str
    kind: Kind
    #: Channels of a conv or pool layer, units of a dense one, 0 for flatten.
    width: int
    #: Number of poolings between the image and this output.
    n_pools: int

    @property
    def is_spatial(self) -> bool:
        """Whether the output has a height and a width."""
        return self.kind in ("conv", "pool")


def _layers() -> tuple[Layer, ...]:
    layers = []
    for block, (channels, depth) in enumerate(BLOCKS, start=1):
        for conv in range(1, depth + 1):
            layers.append(
                Layer(f"block{block}_conv{conv}", "conv", channels, block - 1)
            )
        layers.append(Layer(f"block{block}_pool", "pool", channels, block))
    layers.append(Layer("flatten", "flatten", 0, len(BLOCKS)))
    for i, units in enumerate(DENSE_UNITS, start=1):
        layers.append(Layer(f"fc{i}", "dense", units, len(BLOCKS)))
    return tuple(layers)


#: The layers from bottom to top.
LAYERS = _layers()
LAYER_NAMES = tuple(layer.name for layer in LAYERS)
CONV_NAMES = tuple(layer.name for layer in LAYERS if layer.kind == "conv")
DENSE_NAMES = tuple(layer.name for layer in LAYERS if layer.kind == "dense")

#: The meaning of "stages": the last layer of each block.
STAGES = tuple(layer.name for layer in LAYERS if layer.kind == "pool")

#: Suggestion in errors for weights without fully connected layers.
WITHOUT_DENSE = 'layer=("block3_pool", "block4_pool", "block5_pool"), pooling="avg"'

#: The pixels themselves, as if they were the output of a layer below the first one.
PIXELS = "pixels"

_BY_NAME = {layer.name: layer for layer in LAYERS}


def get_layer(name: str) -> Layer:
    """Return the row of the table called `name`."""
    return _BY_NAME[name]


class Output(NamedTuple):
    """The output of a layer and its pooling, which together determine its row."""

    layer: str
    pooling: Pooling

    @classmethod
    def of(cls, name: str, pooling: Pooling) -> Output:
        """Return the output; layers without height and width are never pooled."""
        return cls(name, pooling if get_layer(name).is_spatial else None)

    @property
    def is_map(self) -> bool:
        """Whether the output has a height and a width, and is not pooled."""
        layer = _BY_NAME.get(self.layer)
        return self.pooling is None and layer is not None and layer.is_spatial

    @property
    def name(self) -> str:
        """The name of its features, without their index."""
        return self.layer if self.pooling is None else f"{self.layer}_{self.pooling}"


def layers_up_to(names: Sequence[str]) -> tuple[Layer, ...]:
    """Return the part of the network that the outputs `names` need."""
    deepest = max(LAYER_NAMES.index(name) for name in names)
    return LAYERS[: deepest + 1]


def layers_between(start: str | None, names: Sequence[str]) -> tuple[Layer, ...]:
    """Return the layers above `start` that the outputs `names` need."""
    layers = layers_up_to(names)
    return layers if start is None else layers[LAYER_NAMES.index(start) + 1 :]


def needs_dense(names: Sequence[str]) -> bool:
    """Return whether any of the outputs `names` needs a fully connected layer."""
    return any(get_layer(name).kind == "dense" for name in names)


def map_shape(layer: Layer, image_size: tuple[int, int]) -> tuple[int, int, int]:
    """Return (height, width, channels) of a spatial layer's output."""
    height, width = image_size
    return height >> layer.n_pools, width >> layer.n_pools, layer.width


def n_features(name: str, image_size: tuple[int, int], pooling: Pooling) -> int:
    """Return the number of features of the layer `name`."""
    layer = get_layer(name)
    if layer.kind == "dense":
        return layer.width
    if layer.kind == "flatten":
        layer, pooling = get_layer(f"block{len(BLOCKS)}_pool"), None
    height, width, channels = map_shape(layer, image_size)
    return channels if pooling else height * width * channels


def parameter_shapes(
    names: Sequence[str], image_size: tuple[int, int]
) -> dict[str, tuple[int, ...]]:
    """Return the shape of the kernel of each needed layer with weights.

    Kernels are (3, 3, channels in, channels out) for convolutions and
    (features in, units) for dense layers, as in Keras and TFLearn; a bias has
    the length of its kernel's last axis.

    Parameters
    ----------
    names : sequence of str
        The requested outputs. The result always includes all convolutions, so that one
        network serves the outputs of every block. It includes dense layers only if one
        of `names` needs them.
    image_size : tuple of (int, int)
        Height and width of the image in pixels. Only the first dense layer depends on
        it.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    channels = 3
    for layer in LAYERS:
        if layer.kind == "conv":
            shapes[layer.name] = (3, 3, channels, layer.width)
            channels = layer.width
    units = n_features("flatten", image_size, None)
    for layer in layers_up_to(names):
        if layer.kind == "dense":
            shapes[layer.name] = (units, layer.width)
            units = layer.width
    return shapes
