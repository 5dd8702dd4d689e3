"""Normalization of RGB pixels in 0..255 before the first convolution."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import numpy as np


@dataclass(frozen=True)
class Preprocessing:
    """(pixel / `divisor` - `mean`) / `std`, for each channel.

    `mean` and `std` are in the order of `channels`.
    """

    channels: str = "RGB"
    divisor: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        """Raise if the numbers cannot be used; JSON has lists instead of tuples."""
        if self.channels not in ("RGB", "BGR"):
            raise ValueError(f"channels={self.channels!r}; expected 'RGB' or 'BGR'")
        for name, n in (("divisor", 1), ("mean", 3), ("std", 3)):
            given = getattr(self, name)
            numbers = [given] if n == 1 else [*given]
            is_real = [isinstance(x, Real) and not isinstance(x, bool) for x in numbers]
            # The network computes with float32.
            with np.errstate(over="ignore"):
                as_used = np.array(numbers if all(is_real) else [], np.float32)
            if as_used.shape != (n,) or not np.isfinite(as_used).all():
                raise ValueError(f"{name}={given!r}; expected {n} finite number(s)")
            if name != "mean" and (as_used <= 0).any():
                raise ValueError(f"{name}={given!r}; expected positive numbers")
            floats = tuple(map(float, numbers))
            object.__setattr__(self, name, floats if n > 1 else floats[0])


#: Normalization of the original VGG networks and of Keras' weights: the means of the
#: ImageNet training images, from ``keras.applications.imagenet_utils``.
CAFFE = Preprocessing(channels="BGR", mean=(103.939, 116.779, 123.68))

#: Normalization of torchvision's weights, from the presets of
#: ``torchvision.transforms``.
TORCH = Preprocessing(
    divisor=255.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)

#: Unchanged pixels.
NONE = Preprocessing()

#: By the value of `preprocessing` of :class:`skvgg.VGG19Features`; "auto" means that of
#: the weights.
PREPROCESSINGS = {"caffe": CAFFE, "torch": TORCH, "none": NONE}
