"""What is done to RGB pixels in 0..255 before the first convolution."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocessing:
    """(pixel / `divisor` - `mean`) / `std`, channel by channel.

    `mean` and `std` are in the order of `channels`.
    """

    channels: str = "RGB"
    divisor: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


#: That of the original VGG networks and so of Keras' weights: the means of the
#: ImageNet training images, from ``keras.applications.imagenet_utils``.
CAFFE = Preprocessing(channels="BGR", mean=(103.939, 116.779, 123.68))

#: That of torchvision's weights, from ``torchvision.transforms``' presets.
TORCH = Preprocessing(
    divisor=255.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)

#: Pixels as they are.
NONE = Preprocessing()

#: By the name that :class:`skvgg.VGG19Features` gives them; "auto" is that of
#: the weights in use.
PREPROCESSINGS = {"caffe": CAFFE, "torch": TORCH, "none": NONE}
