"""Thumbnails: small pictures of the images that a display draws."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from skvgg.plotting._thumbnails import make_thumbnails


def test_thumbnails_are_turned_as_exif_says_and_keep_their_proportions(
    photos, tmp_path
):
    image = Image.fromarray(photos[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    (thumbnail,) = make_thumbnails([tmp_path / "turned.png"], [0], None, side=64)
    with Image.open(tmp_path / "turned.png") as saved:
        expected = ImageOps.pad(
            ImageOps.exif_transpose(saved), (64, 64), Image.Resampling.LANCZOS, "white"
        )
    np.testing.assert_array_equal(thumbnail, np.asarray(expected))


@pytest.mark.parametrize("kind", ["bytes", "pil", "gray", "float", "path"])
def test_thumbnails_are_of_every_kind_that_the_transformer_takes(
    photos, tmp_path, kind
):
    pixels = photos[0][:64, :64]
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    item = {
        "bytes": path.read_bytes(),
        "pil": Image.fromarray(pixels),
        "gray": pixels[..., 0],
        "float": pixels.astype(float),
        "path": path,
    }[kind]
    (thumbnail,) = make_thumbnails([item], [0], None, side=64)
    expected = np.repeat(pixels[..., :1], 3, axis=2) if kind == "gray" else pixels
    np.testing.assert_array_equal(thumbnail, expected)
