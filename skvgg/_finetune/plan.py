"""Which layers are trained, and which outputs are computed once per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from skvgg._definition.architecture import (
    BLOCKS,
    LAYER_NAMES,
    LAYERS,
    PIXELS,
    Output,
    get_layer,
    layers_up_to,
    map_shape,
    n_features,
)
from skvgg._definition.names import did_you_mean

_BLOCK_NAMES = tuple(f"block{i}" for i in range(1, len(BLOCKS) + 1))

#: Valid values of `trainable`, besides None.
TRAINABLE = (
    "all",
    *_BLOCK_NAMES,
    *(layer.name for layer in LAYERS if layer.kind in ("conv", "dense")),
)


@dataclass(frozen=True)
class Plan:
    """Which layers are frozen and which are trained.

    Attributes
    ----------
    outputs : tuple of Output
        Inputs of the head.
    trained : tuple of str
        Layers whose weights change, from bottom to top.
    start : str or None
        The layer whose map is stored: the one below the first trained layer;
        :data:`PIXELS` if the first trained layer is the first of all; None if no layer
        is trained.
    """

    outputs: tuple[Output, ...]
    trained: tuple[str, ...]
    start: str | None

    @classmethod
    def of(cls, trainable: str | None, outputs: Sequence[Output]) -> Plan:
        """Return the plan for a value of `trainable`.

        Raises
        ------
        ValueError
            If `trainable` is unknown, or above all input layers of the head.
        """
        outputs = tuple(outputs)
        if trainable is None:
            return cls(outputs, (), None)
        if trainable not in TRAINABLE:
            raise ValueError(
                f"trainable={trainable!r} is unknown."
                f"{did_you_mean(trainable, TRAINABLE)} Expected None or one of "
                f"{', '.join(TRAINABLE)}."
            )
        needed = layers_up_to([output.layer for output in outputs])
        first = _first_layer(trainable)
        if get_layer(first) not in needed:
            raise ValueError(
                f"trainable={trainable!r} is above the input layers of the head, "
                f"layer={[output.layer for output in outputs]}. Choose an earlier "
                "`trainable` layer, or a later `layer`."
            )
        index = LAYER_NAMES.index(first)
        trained = [
            layer.name for layer in needed[index:] if layer.kind in ("conv", "dense")
        ]
        start = LAYER_NAMES[index - 1] if index else PIXELS
        return cls(outputs, tuple(trained), start)

    @property
    def trained_outputs(self) -> tuple[Output, ...]:
        """Outputs that change with the trained layers."""
        return tuple(output for output in self.outputs if self._changes(output.layer))

    @property
    def frozen_outputs(self) -> tuple[Output, ...]:
        """Outputs that do not change in training."""
        return tuple(o for o in self.outputs if not self._changes(o.layer))

    @property
    def map_output(self) -> Output | None:
        """The map that is stored for training."""
        return None if self.start is None else Output(self.start, None)

    @property
    def start_layer(self) -> str | None:
        """The layer below the first trained one; None for pixels."""
        return None if self.start == PIXELS else self.start

    def depth_of(self, layer: str) -> int:
        """Return the number of trained blocks above the block of a trained layer.

        The fully connected layers form one block.
        """
        blocks = list(dict.fromkeys(_block_of(name) for name in self.trained))
        return len(blocks) - 1 - blocks.index(_block_of(layer))

    def _changes(self, layer: str) -> bool:
        if self.start is None:
            return False
        if self.start == PIXELS:
            return True
        return LAYER_NAMES.index(layer) > LAYER_NAMES.index(self.start)


def shape_of_map(plan: Plan, image_size: tuple[int, int]) -> tuple[int, ...]:
    """Return the shape of the map that is stored for each image."""
    if plan.start == PIXELS:
        return (*image_size, 3)
    assert plan.start is not None
    layer = get_layer(plan.start)
    if layer.kind == "dense" or layer.kind == "flatten":
        return (n_features(layer.name, image_size, None),)
    return map_shape(layer, image_size)


def _first_layer(trainable: str) -> str:
    if trainable == "all":
        return LAYER_NAMES[0]
    return f"{trainable}_conv1" if trainable in _BLOCK_NAMES else trainable


def _block_of(layer: str) -> str:
    return layer.partition("_")[0] if get_layer(layer).is_spatial else "dense"
