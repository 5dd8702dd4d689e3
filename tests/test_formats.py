"""Files as they really are: against pixels that Pillow's encoders or NumPy made."""

import io
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image, ImageCms, ImageFile, features

from skvgg._images import (
    Framing,
    as_images,
    decode,
    load,
    pillow,
)

from .conftest import run_python

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
SIZE = (16, 24)  # height, width


def read(item, framing=None, max_pixels=None):
    (image,) = as_images([item])
    content = load(image, 0, max_pixels)
    framing = framing or Framing(SIZE, "stretch")
    return decode(content, replace(framing, max_pixels=max_pixels))


def encode(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def flat(colour, mode="RGB"):
    return Image.new(mode, SIZE[::-1], colour)


def quarters():
    """Four colours, so that a turned or mirrored image is noticed."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[:8, :12], pixels[:8, 12:] = RED, GREEN
    pixels[8:, :12], pixels[8:, 12:] = BLUE, WHITE
    return pixels


def assert_colour(pixels, colour, tolerance=3):
    assert pixels.shape == (*SIZE, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - colour).max() <= tolerance


LOSSLESS = {
    "png": ("PNG", {}),
    "png interlaced look": ("PNG", {"optimize": True}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "tiff lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff deflate": ("TIFF", {"compression": "tiff_deflate"}),
    "webp lossless": ("WEBP", {"lossless": True}),
    "ppm": ("PPM", {}),
    "tga": ("TGA", {}),
    "jpeg2000": ("JPEG2000", {}),
    "gif": ("GIF", {}),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_give_the_pixels_that_were_saved(name):
    form, options = LOSSLESS[name]
    data = encode(Image.fromarray(quarters()), form, **options)
    np.testing.assert_array_equal(read(data), quarters())


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("WEBP", {"quality": 95}),
        pytest.param(
            "AVIF",
            {"quality": 95},
            marks=pytest.mark.skipif(not features.check("avif"), reason="no AVIF"),
        ),
    ],
)
def test_lossy_formats_give_nearly_the_pixels_that_were_saved(form, options):
    smooth = np.zeros((*SIZE, 3), np.uint8)
    smooth[..., 0] = np.linspace(40, 200, 24)
    smooth[..., 1] = np.linspace(200, 40, 16)[:, None]
    pixels = read(encode(Image.fromarray(smooth), form, **options))
    assert np.abs(pixels.astype(int) - smooth).mean() < 3


def adobe_inverted(inks):
    """A CMYK JPEG with Adobe's marker, whose samples are 255 less the ink."""
    data = encode(flat(inks, "CMYK"), "JPEG", quality=100)
    assert b"Adobe" in data
    return data


@pytest.mark.parametrize(
    ("inks", "colour"),
    [
        ((0, 255, 255, 0), RED),
        ((255, 0, 255, 0), GREEN),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0, 0, 0, 0), WHITE),
    ],
)
def test_inks_become_the_colours_that_they_print(inks, colour):
    assert_colour(read(adobe_inverted(inks)), colour)
    assert_colour(read(encode(flat(inks, "CMYK"), "TIFF")), colour)


@pytest.mark.parametrize(("y", "colour"), [(0, WHITE), (255, (0, 0, 0))])
def test_a_ycck_jpeg_is_converted(y, colour):
    """The samples are marked as Y, Cb, Cr and K of inverted inks: Y is the ink."""
    data = adobe_inverted((255 - y, 127, 127, 0))
    at = data.index(b"Adobe") + 11
    assert_colour(read(data[:at] + b"\x02" + data[at + 1 :]), colour)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_gray_becomes_three_equal_channels(form):
    assert_colour(read(encode(flat(77, "L"), form)), (77, 77, 77))


def test_one_bit_is_black_and_white():
    pixels = np.zeros(SIZE, bool)
    pixels[:8] = True
    expected = np.repeat(pixels[..., None] * np.uint8(255), 3, axis=2)
    for form in ("PNG", "TIFF", "BMP"):
        np.testing.assert_array_equal(
            read(encode(Image.fromarray(pixels), form)), expected
        )


def test_a_palette_is_looked_up():
    image = Image.fromarray(quarters()).quantize(4)
    assert image.mode == "P"
    for form in ("PNG", "GIF", "BMP", "TIFF"):
        np.testing.assert_array_equal(read(encode(image, form)), quarters())


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_put_over_white(form):
    options = {"lossless": True} if form == "WEBP" else {}
    half = encode(flat((255, 0, 0, 128), "RGBA"), form, **options)
    assert_colour(read(half), (255, 127, 127), tolerance=1)
    assert_colour(read(encode(flat((9, 9, 9, 0), "RGBA"), form, **options)), WHITE)


def test_another_background_is_honoured():
    data = encode(flat((255, 0, 0, 0), "RGBA"), "PNG")
    framing = Framing(SIZE, "stretch", background=(1, 2, 3))
    assert_colour(read(data, framing), (1, 2, 3), tolerance=0)


def test_transparency_of_a_palette_and_of_gray():
    palette = Image.fromarray(quarters()).quantize(4)
    red = palette.getpixel((0, 0))
    expected = quarters()
    expected[:8, :12] = WHITE
    for form in ("PNG", "GIF"):
        data = encode(palette, form, transparency=red)
        np.testing.assert_array_equal(read(data), expected)
    assert_colour(read(encode(flat((50, 0), "LA"), "PNG")), WHITE)
    assert_colour(read(encode(flat(50, "L"), "PNG", transparency=50)), WHITE)


def png(width, height, depth, colour_type, samples):
    """Write a PNG by the specification, with what Pillow's encoder lacks."""

    def chunk(name, data):
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    rows = samples.astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_16_bits_become_8_by_their_share_of_white():
    values = np.linspace(0, 65535, 16 * 24).reshape(SIZE).round().astype(np.uint16)
    expected = np.round(values / 257).astype(np.uint8)
    expected = np.repeat(expected[..., None], 3, axis=2)
    gray = Image.fromarray(values)
    for data in (encode(gray, "PNG"), encode(gray, "TIFF"), png(24, 16, 16, 0, values)):
        np.testing.assert_array_equal(read(data), expected)
    np.testing.assert_array_equal(read(values), expected)
    colour = np.repeat(values[..., None], 3, axis=2)
    actual = read(png(24, 16, 16, 2, colour))  # of which Pillow keeps the high byte
    assert np.abs(actual.astype(int) - expected).max() <= 1


def forms_of(values):
    """Return an image of gray as an array, a PIL image and files."""
    image = Image.fromarray(values)
    opened = Image.open(io.BytesIO(encode(image, "TIFF")))
    tiffs = [encode(image, "TIFF", compression=c) for c in ("raw", "tiff_lzw")]
    return [values, image, opened, *tiffs]


def oddity(item):
    content = load(item, 7)
    decode(content, Framing(SIZE, "stretch"))
    return next(map(str, content.warnings), None)


@pytest.mark.parametrize(
    ("highest", "factor"), [(1, 257), (255, 257), (256, 16), (4095, 16), (4096, None)]
)
def test_values_of_8_or_12_bits_in_16_are_noticed_however_they_come(highest, factor):
    values = np.linspace(0, highest, 16 * 24).reshape(SIZE).round().astype(np.uint16)
    colour = np.repeat(values[..., None], 3, axis=2)
    forms = [*forms_of(values), encode(Image.fromarray(values), "PNG"), colour]
    for item in forms:
        text = oddity(item)
        if factor is None:
            assert text is None
        else:
            assert text.startswith("X[7]: a 16-bit image whose values all lie in ")
            assert text.endswith(f" * {factor}.")
            assert ("PIL.Image.open" in text) == isinstance(item, bytes)


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_colours_of_12_bits_in_16_are_noticed_though_pillow_cuts_them(kind, channels):
    for highest in (255, 4095, 4096):
        values = np.full((*SIZE, channels), highest, np.uint16)
        if channels != 3:
            values[..., -1] = 65535
        data = png(24, 16, 16, kind, values)
        for item in (data, Image.open(io.BytesIO(data))):
            if highest == 4096:
                assert oddity(item) is None
            else:
                assert "nearly black" in oddity(item)
    assert oddity(encode(flat((3, 3, 3)), "PNG")) is None  # 8 bits may be dark


def test_black_of_16_bits_is_only_black():
    for item in forms_of(np.zeros(SIZE, np.uint16)):
        assert oddity(item) is None


@pytest.mark.parametrize("top", [0.5, 1.0, 77.25, 255.0])
def test_a_float_image_means_the_same_as_a_float_array_in_every_file(top):
    values = np.linspace(0, top, 16 * 24, dtype=np.float32).reshape(SIZE)
    for item in forms_of(values):
        pixels = read(item)
        assert pixels.dtype == np.float32
        np.testing.assert_array_equal(pixels, np.repeat(values[..., None], 3, axis=2))
        assert (oddity(item) is not None) == (top <= 1)


def test_32_bit_integers_are_those_of_16_bits():
    values = np.full(SIZE, 65535, np.int32)
    assert_colour(read(encode(Image.fromarray(values), "TIFF")), WHITE, 0)
    for value in (-1, 65536):
        values[3, 4] = value
        with pytest.raises(ValueError, match=r"X\[0\].*32-bit pixels lie in .*scale"):
            read(encode(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1.0, r"pixels lie in -1\.0\.\..*; expected 0\.\.255"),
        (1e6, r"pixels lie in .*; expected 0\.\.255"),
        (np.nan, "contains NaN"),
        (np.inf, "contains infinity"),
    ],
)
def test_float_images_out_of_range_are_refused(value, message):
    values = np.full(SIZE, 100, np.float32)
    values[3, 4] = value
    for item in forms_of(values):
        with pytest.raises(ValueError, match=rf"X\[0\].*{message}"):
            read(item)


@pytest.mark.parametrize("form", ["GIF", "PNG", "TIFF", "WEBP"])
def test_the_first_of_several_images_is_taken(form):
    options = {"lossless": True} if form == "WEBP" else {}
    frames = [flat(GREEN), flat(BLUE)]
    data = encode(flat(RED), form, save_all=True, append_images=frames, **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert_colour(read(data), RED)


ORIENTATIONS = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
    8: lambda p: np.rot90(p, 3),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_an_image_is_turned_as_the_camera_was_held(orientation, form):
    """What the camera stored, turned by EXIF, is what it saw."""
    pixels = np.ascontiguousarray(ORIENTATIONS[orientation](quarters()))
    stored = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    data = encode(stored, form, exif=exif, **options)
    np.testing.assert_array_equal(read(data), quarters())


def profile_with_red_and_blue_exchanged():
    """An sRGB profile in which the primaries called red and blue are exchanged."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    data = bytearray(srgb.tobytes())
    red, blue = data.index(b"rXYZ"), data.index(b"bXYZ")  # in the table of tags
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return (
        bytes(data)
        .replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
        .replace(b"sRGB built-in", b"test built-in")
    )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_an_embedded_profile_is_converted_to_srgb(form):
    profile = profile_with_red_and_blue_exchanged()
    options = {"quality": 100} if form in ("JPEG", "WEBP") else {}
    data = encode(flat(RED), form, icc_profile=profile, **options)
    assert_colour(read(data), BLUE, tolerance=12)


def test_a_profile_keeps_alpha():
    profile = profile_with_red_and_blue_exchanged()
    half = encode(flat((255, 0, 0, 128), "RGBA"), "PNG", icc_profile=profile)
    assert_colour(read(half), (127, 127, 255), tolerance=4)


def test_a_damaged_profile_is_passed_over():
    data = encode(flat(RED), "PNG", icc_profile=b"not a profile at all")
    assert_colour(read(data), RED)


# Kinds of input


def test_bytes_files_and_columns_are_read(tmp_path):
    data = encode(Image.fromarray(quarters()), "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    stream = io.BytesIO(data)
    with path.open("rb") as file:
        items = [data, bytearray(data), memoryview(data), stream, file, path]
        for item in items * 2:  # and again
            np.testing.assert_array_equal(read(item), quarters())
        assert len({load(item, 0).digest for item in items}) == 1


@pytest.mark.parametrize(
    "wrap",
    [
        pd.Series,
        lambda items: pd.DataFrame({"image": items}),
        pl.Series,
        lambda items: pl.DataFrame({"image": items}),
        pa.array,
        lambda items: pa.chunked_array([items]),
        lambda items: pa.table({"image": items}),
        lambda items: pd.Series(items, dtype=pd.ArrowDtype(pa.binary())),
    ],
)
def test_columns_of_bytes(wrap):
    data = [encode(flat(colour), "PNG") for colour in (RED, GREEN)]
    items = as_images(wrap(data))
    assert_colour(read(items[0]), RED)
    assert_colour(read(items[1]), GREEN)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_arrays_with_alpha_are_put_over_white(dtype):
    pixels = np.zeros((*SIZE, 4), dtype)
    pixels[..., 0], pixels[..., 3] = 255, 128
    for X in (pixels, pixels.repeat(2, axis=0)[:16]):
        assert np.abs(read(X).astype(int) - (255, 127, 127)).max() <= 1


def test_bool_arrays_are_black_and_white():
    pixels = np.zeros(SIZE, bool)
    pixels[3] = True
    np.testing.assert_array_equal(
        read(pixels), np.repeat(pixels[..., None] * np.uint8(255), 3, axis=2)
    )


# Resizing


@pytest.mark.parametrize(
    "name", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
)
def test_interpolation_is_pillows(photos, name):
    framing = Framing((50, 70), "stretch", name)
    image = Image.fromarray(photos[0])
    expected = image.resize((70, 50), getattr(Image.Resampling, name.upper()))
    np.testing.assert_array_equal(read(image, framing), expected)
    np.testing.assert_array_equal(read(photos[0], framing), expected)


def test_a_large_jpeg_is_decoded_smaller_to_nearly_the_same(photos):
    """The bound that the user guide states."""
    image = Image.fromarray(photos[0]).resize((2560, 1708), Image.Resampling.LANCZOS)
    data = encode(image, "JPEG", quality=90)
    framing = Framing((224, 224), "stretch")
    whole = Image.open(io.BytesIO(data)).resize((224, 224), Image.Resampling.BILINEAR)
    drafted = read(data, framing).astype(int)
    difference = np.abs(drafted - np.asarray(whole))
    assert 0 < difference.mean() < 0.5
    same = read(data, Framing((224, 224), "stretch", draft_margin=100))
    np.testing.assert_array_equal(same, whole)


# Safety


def test_too_many_pixels_are_refused_before_decoding():
    data = png(50_000, 50_000, 8, 2, np.zeros((50_000, 0)))
    with pytest.raises(ValueError, match=r"X\[0\].*(max_pixels|limit)"):
        read(data, max_pixels=10**9)
    data = encode(Image.new("L", (300, 200)), "PNG")
    with pytest.raises(ValueError, match=r"300 x 200 = 60000.*max_pixels=59999"):
        read(data, max_pixels=59_999)
    assert_colour(read(data, max_pixels=60_000), (0, 0, 0))


def test_an_image_that_is_open_but_not_decoded_is_refused_before_it_is(tmp_path):
    path = tmp_path / "large.png"
    Image.new("L", (300, 200)).save(path)
    image = Image.open(path)
    message = rf"X\[0\] \({str(path)!r}\).*300 x 200 = 60000.*max_pixels=59999"
    with pytest.raises(ValueError, match=message):
        read(image, max_pixels=59_999)
    assert image.tile  # what is still to be decoded
    assert_colour(read(image, max_pixels=60_000), (0, 0, 0))
    assert not image.tile


@pytest.mark.parametrize("form", ["GIF", "WEBP", "JPEG2000", "TIFF", "AVIF"])
def test_open_images_of_every_format_are_refused_before_they_are_decoded(form):
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("no AVIF")
    image = Image.open(io.BytesIO(encode(flat(RED), form)))
    with pytest.raises(ValueError, match=r"X\[0\].*max_pixels=9"):
        read(image, max_pixels=9)


def test_what_is_in_memory_already_may_have_more_than_max_pixels():
    decoded = Image.open(io.BytesIO(encode(flat(RED), "PNG")))
    decoded.load()
    for item in (decoded, flat(RED), np.asarray(flat(RED)), decoded.copy()):
        assert_colour(read(item, max_pixels=9), RED)


# Plug-ins


class _Heic(ImageFile.ImageFile):
    """Stands for a plug-in: files of the word "heic" are red."""

    format = "HEIF"

    def _open(self):
        self._mode, self._size, self.tile = "RGB", SIZE[::-1], []

    def load(self):
        self.im = Image.new("RGB", self.size, RED).im
        return super().load()


@pytest.fixture
def register_heic():
    def register():
        Image.register_open("HEIF", _Heic, lambda prefix: prefix.startswith(b"heic"))
        Image.register_extension("HEIF", ".heic")

    assert "HEIF" not in Image.OPEN
    yield register
    Image.OPEN.pop("HEIF", None)
    Image.EXTENSION.pop(".heic", None)
    Image.ID.remove("HEIF")


def test_a_plug_in_may_be_registered_after_images_have_been_read(register_heic):
    read(encode(flat(BLUE), "PNG"))
    with pytest.raises(ValueError, match=r"X\[0\]: not an image"):
        read(b"heic")
    register_heic()
    assert_colour(read(b"heic"), RED)
    image = Image.open(io.BytesIO(b"heic"))
    with pytest.raises(ValueError, match=r"X\[0\].*max_pixels=9"):
        read(image, max_pixels=9)
    assert_colour(read(image), RED)


BAD_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01"


def test_what_pillow_warns_of_is_kept_back_in_threads_that_overlap(monkeypatch):
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))
    data = encode(flat(RED), "JPEG", exif=BAD_EXIF)
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        Image.open(io.BytesIO(data)).getexif()

    def overlap(image, framing):
        if not first_is_in.is_set():
            first_is_in.set()
            assert second_is_in.wait(60)
        else:
            second_is_in.set()
            assert first_is_out.wait(60)

    def first():
        read(data)
        first_is_out.set()

    monkeypatch.setattr(pillow, "_draft", overlap)
    before = [*warnings.filters]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(2) as executor:
            executor.submit(first)
            assert first_is_in.wait(60)
            executor.submit(read, data).result()
        warnings.warn("another's", UserWarning, stacklevel=1)
    assert [str(w.message) for w in told] == ["another's"]
    assert warnings.filters == before
    assert Image.warnings is warnings


def test_decoding_leaves_the_filters_of_other_threads_alone(monkeypatch):
    """They are one list for all: who puts it back while others do, leaves theirs."""
    decoding, caught = threading.Event(), threading.Event()
    data = encode(flat(RED), "JPEG", exif=BAD_EXIF)

    def wait(image, framing):
        decoding.set()
        assert caught.wait(60)

    monkeypatch.setattr(pillow, "_draft", wait)
    before = [*warnings.filters]
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(read, data)
        assert decoding.wait(60)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            mine = [*warnings.filters]
            Image.open(io.BytesIO(data)).getexif()
            caught.set()
            future.result()
            assert warnings.filters == mine
        assert warnings.filters == before
    (corrupt,) = told  # by this thread; the other was silent
    assert "Corrupt EXIF" in str(corrupt.message)
    assert "PIL" in corrupt.filename


def test_formats_that_run_programs_are_not_opened():
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 16\nshowpage\n"
    with pytest.raises(ValueError, match=r"X\[0\]: not an image"):
        read(postscript)


def test_no_other_file_is_opened_and_nothing_is_fetched(tmp_path):
    files = {f"{form}.img": form for form in ("PNG", "TIFF", "JPEG", "GIF", "WEBP")}
    for name, form in files.items():
        Image.fromarray(quarters()).save(tmp_path / name, form)
    code = """
import os, sys
from skvgg._images import Framing, as_images, decode, load
framing = Framing((16, 24), "stretch")
paths = [os.path.join(sys.argv[1], name) for name in sorted(os.listdir(sys.argv[1]))]
for path in paths:  # imports what Pillow needs
    decode(load(path, 0), framing)
seen = []
def spy(event, args):
    if event == "open" or event.startswith(("socket.", "subprocess.", "os.")):
        seen.append((event, str(args[0])))
sys.addaudithook(spy)
for path in as_images(paths):
    decode(load(path, 0), framing)
print(seen == [("open", path) for path in paths], seen)
"""
    assert run_python(code, tmp_path).stdout.startswith("True"), "see the list"


def test_memory_is_bounded_by_the_batch(tmp_path):
    """Photos of 12 megapixels, many more than would fit."""
    code = """
import io, resource, sys
import numpy as np
from PIL import Image
from skvgg._definition.architecture import Output
from skvgg._store.cache import Cache
from skvgg._extraction.recipe import Recipe
from skvgg._extraction.local import LocalPasses
from skvgg._extraction.results import Results, Rows
from skvgg._extraction.run import run
from skvgg._images import Framing
rng = np.random.default_rng(0)
small = Image.fromarray(rng.integers(0, 256, (75, 100, 3), np.uint8))
stream = io.BytesIO()
small.resize((4000, 3000)).save(stream, "JPEG", quality=90)
folder = sys.argv[1]
paths = []
for i in range(60):
    paths.append(f"{folder}/{i}.jpg")
    with open(paths[-1], "wb") as file:
        file.write(stream.getvalue() + str(i).encode())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
recipe = Recipe((Output("mean", None),), (), Framing((224, 224), "stretch"), None)
def compute(pixels):
    return [pixels.mean((1, 2)).astype(np.float32)]
cache = Cache(None)
results = Results(recipe, cache, Rows(60, 3), skips_bad=False,
                  report=lambda *_: None, warn=print)
passes = LocalPasses(recipe, cache, results, compute, 32)
run(paths, recipe, cache, results, passes)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) / 1e3)
"""
    grown = float(run_python(code, tmp_path).stdout)
    assert grown < 300  # MB; all of them decoded would take 2,160
