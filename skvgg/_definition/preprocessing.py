"""Normalization of RGB pixels in 0..255 before the first convolution."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocessing:
    """(pixel / `divisor` - `mean`) / `std`, for each channel.

    `mean` and `std` are in the order of `channels`.
    """

    channels: str = "RGB"
    divisor: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


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
