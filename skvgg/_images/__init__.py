"""Convert images (files, PIL images, arrays) to RGB arrays of one size.

This has two steps, so that images with cached rows are not decoded: :func:`load`
returns the content of an image and its digest, and :func:`decode` returns its pixels.
:func:`load_together` and :func:`decode_together` process several images at a time. All
errors about images are raised here, as :class:`skvgg.exceptions.ImageError`. Pillow
decodes and resizes.
"""

from skvgg._definition.vocabulary import Interpolation, Resize
from skvgg._images.content import Content, decode, load
from skvgg._images.errors import MissingFileError, UnusableError
from skvgg._images.folders import (
    Exclusion,
    ImageFiles,
    describe_lost,
    describe_others,
    describe_repeated,
    image_files,
)
from skvgg._images.items import (
    Images,
    as_images,
    check_file,
    check_flattened_shape,
    is_whole,
    path_of,
)
from skvgg._images.pillow import FORMATS, MAX_PIXELS, Framing
from skvgg._images.switches import Switch, all_switches, using_switches
from skvgg._images.together import decode_together, load_together

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Content",
    "Exclusion",
    "Framing",
    "ImageFiles",
    "Images",
    "Interpolation",
    "MissingFileError",
    "Resize",
    "Switch",
    "UnusableError",
    "all_switches",
    "as_images",
    "check_file",
    "check_flattened_shape",
    "decode",
    "decode_together",
    "describe_lost",
    "describe_others",
    "describe_repeated",
    "image_files",
    "is_whole",
    "load",
    "load_together",
    "path_of",
    "using_switches",
]
