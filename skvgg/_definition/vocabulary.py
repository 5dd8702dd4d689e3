"""The values of parameters that are one of several words.

Checks of parameters and choices of the command derive from them with ``get_args``.
"""

from __future__ import annotations

from typing import Literal

Resize = Literal["stretch", "crop", "pad"]
#: Filters of Pillow.
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
PreprocessingName = Literal["auto", "caffe", "torch", "none"]
Flips = Literal["flip", "flips"]
Precision = Literal["float32", "tensorfloat32", "float16", "bfloat16"]
TrainingPrecision = Literal["float32", "tensorfloat32", "bfloat16"]
EngineName = Literal["auto", "direct", "winograd"]
