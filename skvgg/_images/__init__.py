"""From what people have (files, PIL images, arrays) to RGB arrays of one size.

In two steps, so that what is known already need not be decoded: :func:`load`
gives the content of an image and a digest of it, :func:`decode` the pixels;
:func:`load_together` and :func:`decode_together` do it for several at a time.
Every error about an image is born here, and names the image's index and
path. Decoding and resampling are Pillow's.
"""

from skvgg._images.content import Content, decode, describe_unscaled, load
from skvgg._images.folders import image_files
from skvgg._images.items import (
    Images,
    as_images,
    check_file,
    check_flattened_shape,
    is_whole,
    name_of,
    path_of,
    renumbered,
)
from skvgg._images.pillow import FORMATS, MAX_PIXELS, Framing, Interpolation, Resize
from skvgg._images.together import decode_together, load_together

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Content",
    "Framing",
    "Images",
    "Interpolation",
    "Resize",
    "as_images",
    "check_file",
    "check_flattened_shape",
    "decode",
    "decode_together",
    "describe_unscaled",
    "image_files",
    "is_whole",
    "load",
    "load_together",
    "name_of",
    "path_of",
    "renumbered",
]
