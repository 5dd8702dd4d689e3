"""What users should know about an image that can be used."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

#: Maximum values of narrower ranges, and factors that scale them to the full range.
_RANGES_OF_FLOATS: tuple[tuple[int, int], ...] = ((1, 255),)
_RANGES_OF_16_BITS = ((255, 257), (4095, 16))  # 8 and 12 bits


@dataclass
class Notes:
    """Collects what to warn of about an image.

    Parameters
    ----------
    array : str
        The expression that converts what the user has to an array.

    Attributes
    ----------
    pairs : list of (str, str)
        What was noticed, and what to do, as in :class:`skvgg.exceptions.ImageWarning`.
    """

    array: str = "np.asarray(image)"
    pairs: list[tuple[str, str]] = field(default_factory=list)

    def add(self, reason: str, remedy: str) -> None:
        """Add what was noticed, and what to do."""
        self.pairs.append((reason, remedy))

    def check_range(self, values: np.ndarray, *, white_is_zero: bool = False) -> None:
        """Note if 16-bit or float values seem to have a narrower range."""
        if values.dtype.kind == "f":
            kind, top, ranges = "float", 255, _RANGES_OF_FLOATS
        elif values.dtype == np.uint16:
            kind, top, ranges = "16-bit", 65535, _RANGES_OF_16_BITS
        else:
            return
        highest = values.max()
        for seen, factor in ranges:
            if 0 < highest <= seen:
                looks, end, array = "black", "white", self.array
                if white_is_zero:
                    looks, end, array = "white", "black", f"({seen} - {array})"
                self.add(
                    f"a {kind} image whose values all lie in 0..{seen}, which is "
                    f"nearly {looks}; expected pixels in 0..{top}",
                    f"If {seen} means {end}, pass {array} * {factor}.",
                )
                return

    def check_high_bytes(self, pixels: np.ndarray) -> None:
        """Note if the high bytes of 16-bit colors lie in 0..15, as for 12 bits."""
        if pixels[..., :3].max() <= 15:  # without alpha
            self.add(
                "a 16-bit color image whose values all lie in 0..4095, which is "
                "nearly black; expected pixels in 0..65535",
                "If its values have 8 or 12 bits, read it with a library that supports "
                "16-bit color, and pass it as a uint16 array multiplied by 257 or 16.",
            )

    def check_alpha(self, alpha: np.ndarray) -> None:
        """Note if an image is transparent everywhere."""
        if not alpha.any():
            self.add(
                "transparent everywhere (its alpha channel is 0), so that only the "
                "background is left",
                "If its fourth channel is not alpha, pass only its colors.",
            )
