"""Files whose headers say more than Pillow applies: against pixels computed by hand."""

import copy
import io
import pickle
import re
import resource
import struct
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import dask.array
import numpy as np
import pytest
from joblib import parallel_config
from PIL import Image, ImageCms, ImageFile, PngImagePlugin, features

from skvgg import VGG19Features
from skvgg._images import Framing, all_switches, decode, load
from skvgg._images.switches import _Using
from skvgg.datasets import find_bad_images
from skvgg.plotting._thumbnails import make_thumbnails

from .test_workers import tasks_of

SIZE = (16, 24)  # height, width
WHITE = (255, 255, 255)


def read(item, size=SIZE, max_pixels=None):
    """Return the pixels of an image and its warnings."""
    content = load(item, 7, max_pixels)
    pixels = decode(content, Framing(size, "stretch", max_pixels=max_pixels))
    return pixels, [str(warning) for warning in content.warnings]


def read_both(data, size=SIZE):
    """Return the pixels of a file, which are those of the open PIL image."""
    pixels, texts = read(data, size)
    with warnings.catch_warnings(action="ignore"):  # of damaged EXIF data
        opened, others = read(Image.open(io.BytesIO(data)), size)
    np.testing.assert_array_equal(pixels, opened)
    assert len(texts) == len(others)
    return pixels


def encode(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def three(gray):
    return np.repeat(np.asarray(gray)[..., None], 3, axis=2)


def ramp(top, dtype):
    return np.linspace(0, top, SIZE[0] * SIZE[1]).round().reshape(SIZE).astype(dtype)


# TIFF


def tiff(samples, photometric, order="<", *, bits=None, kind=1, packed=None, rows=16):
    """Write a gray TIFF in strips; `kind` is 1 unsigned, 2 signed or 3 float."""
    height, width = SIZE
    size = samples.dtype.itemsize
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    data = packed or data
    n_strips = height // rows
    length = len(data) // n_strips

    def short(*values):
        return struct.pack(f"{order}{len(values)}H", *values), 3, len(values)

    def long(*values):
        return struct.pack(f"{order}{len(values)}I", *values), 4, len(values)

    start = 8 + 2 + 12 * 11 + 4
    first = start + 8 * n_strips if n_strips > 1 else start
    tags = {
        256: short(width),
        257: short(height),
        258: short(bits or 8 * size),
        259: short(1),
        262: short(photometric),
        273: long(*(first + length * strip for strip in range(n_strips))),
        277: short(1),
        278: short(rows),
        279: long(*[length] * n_strips),
        284: short(1),
        339: short(kind),
    }
    entries, later = b"", b""
    for tag, (value, code, count) in tags.items():
        if len(value) > 4:
            later += value
            value = struct.pack(f"{order}I", start + len(later) - len(value))
        entries += struct.pack(f"{order}HHI", tag, code, count) + value.ljust(4, b"\0")
    magic = {"<": b"II*\0", ">": b"MM\0*"}[order]
    head = magic + struct.pack(f"{order}IH", 8, len(tags)) + entries + bytes(4)
    return head + later + data


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("rows", [16, 4])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_sixteen_bit_tiffs_with_white_as_zero_are_not_negatives(order, rows, dtype):
    top = np.iinfo(dtype).max
    values = ramp(top, dtype)
    expected = three(np.round((top - values.astype(float)) * 255 / top))
    data = tiff(values, 0, order, rows=rows)
    pixels, texts = read(data)
    np.testing.assert_array_equal(pixels, expected)
    assert texts == []
    positive, _ = read(tiff(top - values, 1, order, rows=rows))
    np.testing.assert_array_equal(positive, expected)


@pytest.mark.parametrize("order", ["<", ">"])
def test_float_and_compressed_tiffs_with_white_as_zero_are_not_negatives(order):
    values = ramp(255, np.float32) / 2
    pixels, _ = read(tiff(values, 0, order, kind=3))
    np.testing.assert_array_equal(pixels, three(255 - values))
    deep = ramp(65535, np.uint16)
    image = Image.fromarray(deep)
    for compression in ("raw", "tiff_lzw", "tiff_deflate"):
        data = encode(image, "TIFF", compression=compression, tiffinfo={262: 0})
        pixels = read_both(data)
        np.testing.assert_array_equal(pixels, three(((65535 - deep) / 257).round()))


def test_a_negative_of_few_bits_is_noticed_and_the_hint_is_right():
    values = ramp(4095, np.uint16)
    pixels, (text,) = read(tiff(values, 0))
    assert pixels.min() > 230
    assert "nearly white" in text
    assert text.endswith("pass (4095 - np.asarray(PIL.Image.open(path))) * 16.")


@pytest.mark.parametrize(("photometric", "first"), [(1, 0), (0, 255)])
def test_white_of_a_tiff_of_12_bits_is_4095(photometric, first):
    values = ramp(4095, np.uint16)
    high, low = values.reshape(-1, 2).T.astype(int)
    triples = np.stack([high >> 4, (high & 15) << 4 | low >> 8, low & 255], axis=1)
    packed = triples.astype(np.uint8).tobytes()
    pixels, texts = read(tiff(values, photometric, bits=12, packed=packed))
    expected = three(values * (255 / 4095))
    assert np.abs(pixels - np.abs(first - expected)).max() <= 1
    assert texts == []


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["RGB", "RGBA"])
def test_sixteen_bit_tiffs_with_separate_planes_keep_the_high_byte(order, kind):
    n = len(kind)
    planes = np.random.default_rng(0).integers(0, 65536, (n, *SIZE), np.uint16)
    data = planes.astype(f"{order}u2").tobytes()
    head = 8 + 2 + 12 * 11 + 4
    lists = struct.pack(f"{order}{n}H", *[16] * n)
    start = head + len(lists) + 8 * n
    size = len(data) // n
    lists += struct.pack(f"{order}{2 * n}I", *range(start, start + n * size, size),
                         *[size] * n)  # fmt: skip
    tags = {256: (4, 1, SIZE[1]), 257: (4, 1, SIZE[0]), 258: (3, n, head),
            259: (4, 1, 1), 262: (4, 1, 2), 273: (4, n, head + 2 * n), 277: (4, 1, n),
            278: (4, 1, SIZE[0]), 279: (4, n, head + 6 * n), 284: (4, 1, 2),
            338: (4, 1, 2)}  # fmt: skip
    entries = b"".join(struct.pack(f"{order}HHII", tag, *tags[tag]) for tag in tags)
    magic = {"<": b"II*\0", ">": b"MM\0*"}[order]
    if n == 3:  # 338 is about the fourth
        entries = entries[:-12] + struct.pack(f"{order}HHII", 700, 4, 1, 0)
    file = magic + struct.pack(f"{order}IH", 8, 11) + entries + bytes(4) + lists + data
    pixels = np.moveaxis(planes >> 8, 0, 2).astype(float)
    share = pixels[..., 3:] / 255 if n == 4 else 1
    assert_near(read_both(file), pixels[..., :3] * share + 255 * (1 - share), 1)


def test_gray_tiffs_with_white_as_zero_and_bits_in_the_other_order_are_read():
    values = ramp(255, np.uint8)
    turned = np.packbits(np.unpackbits(values[..., None], axis=2)[..., ::-1], axis=2)
    data = bytearray(tiff(turned[..., 0], 0))
    at = data.index(struct.pack("<HHI", 284, 3, 1))
    data[at : at + 12] = struct.pack("<HHII", 266, 3, 1, 2)  # FillOrder
    np.testing.assert_array_equal(read_both(bytes(data)), three(255 - values))


def test_gray_with_premultiplied_alpha_is_put_over_white():
    image = Image.new("LA", SIZE[::-1], (100, 128))
    pixels, _ = read(image.convert("La"))
    assert np.abs(pixels.astype(int) - 177).max() <= 1  # 100 * .5 + 255 * .5


# PNG


def chunk(name, data):
    crc = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + crc


def png(rows, width, depth, kind, *chunks):
    header = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        *chunks,
        (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def pack(levels, depth):
    """Return a row of gray levels of 1, 2, 4, 8 or 16 bits as bytes."""
    if depth == 16:
        return np.asarray(levels, ">u2").tobytes()
    bits = [(level >> bit) & 1 for level in levels for bit in reversed(range(depth))]
    return np.packbits(bits).tobytes()


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("which", [0, 1, -1])
def test_the_transparent_gray_of_a_png_is_white_at_every_depth(depth, which):
    top = 2**depth - 1
    levels = [round(top * place / 15) for place in range(16)]
    clear = sorted(set(levels))[which]
    trns = b"tRNS", struct.pack(">H", clear)
    data = png([pack(levels, depth)] * 8, 16, depth, 0, trns)
    expected = [255 if g == clear else round(g * 255 / top) for g in levels]
    pixels = read_both(data, (8, 16))
    np.testing.assert_array_equal(pixels, three([expected] * 8))


@pytest.mark.parametrize("depth", [8, 16])
def test_the_transparent_color_of_a_png_is_compared_with_all_its_bits(depth):
    scale = 257 if depth == 16 else 1
    clear = (10 * scale, 20 * scale, 30 * scale)
    colors = [clear, (10 * scale + 1, *clear[1:]), (0, 0, 0), clear]
    row = np.array(colors, ">u2" if depth == 16 else "u1").tobytes()
    data = png([row] * 2, 4, depth, 2, (b"tRNS", struct.pack(">HHH", *clear)))
    near = (10 + (depth == 8), 20, 30)
    pixels = read_both(data, (2, 4))
    np.testing.assert_array_equal(pixels, [[WHITE, near, (0, 0, 0), WHITE]] * 2)


def test_a_transparent_gray_of_16_bits_is_no_other_with_the_same_high_byte():
    rows = [pack([1000, 1001, 65535, 1000], 16)] * 2
    pixels = read_both(png(rows, 4, 16, 0, (b"tRNS", struct.pack(">H", 1000))), (2, 4))
    np.testing.assert_array_equal(pixels, three([[255, 4, 255, 255]] * 2))


def test_only_the_low_byte_of_a_transparent_color_of_8_bits_counts():
    row = bytes([10, 20, 30, 1, 2, 3])
    trns = b"tRNS", struct.pack(">HHH", 0x0A0A, 0x0114, 0xFF1E)
    data = png([row] * 2, 2, 8, 2, trns)
    np.testing.assert_array_equal(read_both(data, (2, 2)), [[WHITE, (1, 2, 3)]] * 2)


@pytest.mark.parametrize(
    ("name", "is_last"),
    [
        ("bbox", True),  # before the pixels, Pillow cannot decode it
        *product(["transparency", "icc_profile", "exif"], [False, True]),
    ],
)
@pytest.mark.parametrize("kind", [0, 2, 3])
def test_texts_of_a_png_mean_nothing_whatever_they_are_called(name, kind, is_last):
    row = bytes([1, 0, 1, 0, 1, 0])
    palette = [(b"PLTE", bytes([9, 8, 7, 6, 5, 4]))] if kind == 3 else []
    width = 2 if kind == 2 else 6
    data = png([row] * 2, width, 8, kind, *palette)
    text = chunk(b"tEXt", name.encode() + b"\0a text")
    at = len(data) - 12 if is_last else data.index(b"IDAT") - 4
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    pixels, texts = read(data[:at] + text + data[at:], (2, width))
    np.testing.assert_array_equal(pixels, expected)
    assert texts == []
    again = Image.open(io.BytesIO(data[:at] + text + data[at:]))
    for _ in range(2):
        np.testing.assert_array_equal(read(again, (2, width))[0], expected)
    assert again.text[name] == "a text"


def test_float_images_have_no_transparent_value_as_float_arrays():
    values = ramp(255, np.uint8)
    data = encode(Image.fromarray(values), "PNG", transparency=40)
    image = Image.open(io.BytesIO(data)).convert("F")
    assert image.info["transparency"] == 40
    np.testing.assert_array_equal(read(image)[0], read(np.asarray(image))[0])


# Color profiles


def curve_tag(gamma):
    return b"curv" + struct.pack(">4xIH2x", 1, round(gamma * 256))


def xyz_tag(*values):
    return b"XYZ " + struct.pack(">4x3i", *(round(value * 65536) for value in values))


def text_tag(text):
    data = text.encode() + b"\0"
    return b"desc" + struct.pack(">4xI", len(data)) + data + bytes(78)


def profile(space, tags):
    """Write an ICC profile of version 2 for a display."""
    tags = {"wtpt": xyz_tag(0.9642, 1, 0.8249), "cprt": b"text" + bytes(5), **tags}
    table, data = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name.encode(), start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    white = xyz_tag(0.9642, 1, 0.8249)[8:]
    head = struct.pack(
        ">I4xI4s4s4s12x4s28x12s48x",
        start + len(data), 0x02400000, b"mntr", space, b"XYZ ", b"acsp", white,
    )  # fmt: skip
    return head + struct.pack(">I", len(tags)) + table + data


def gray_profile(gamma, name="gray"):
    return profile(b"GRAY", {"desc": text_tag(name), "kTRC": curve_tag(gamma)})


def rgb_profile(gamma, name="colors", *, exchanged=False):
    """A profile with sRGB's primaries, of which red and blue may be exchanged."""
    red, blue = (0.4361, 0.2225, 0.0139), (0.1431, 0.0606, 0.7141)
    if exchanged:
        red, blue = blue, red
    colors = {"rXYZ": red, "gXYZ": (0.3851, 0.7169, 0.0971), "bXYZ": blue}
    tags = {tag: xyz_tag(*values) for tag, values in colors.items()}
    curves = {tag: curve_tag(gamma) for tag in ("rTRC", "gTRC", "bTRC")}
    return profile(b"RGB ", {"desc": text_tag(name), **tags, **curves})


def srgb_of_linear(share):
    """Return what a share of white, which is linear light, is in sRGB."""
    share = np.asarray(share, float)
    curved = 1.055 * share ** (1 / 2.4) - 0.055
    return 255 * np.where(share <= 0.0031308, 12.92 * share, curved)


def assert_near(pixels, expected, tolerance=1.6):
    assert np.abs(pixels.astype(float) - expected).max() <= tolerance


LINEAR = gray_profile(1.0)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("depth", [8, 16])
def test_gray_profiles_are_applied_at_every_depth(form, depth):
    top = 2**depth - 1
    values = ramp(top, f"u{depth // 8}")
    data = encode(Image.fromarray(values), form, icc_profile=LINEAR)
    pixels, texts = read(data)
    assert texts == []
    assert_near(pixels, three(srgb_of_linear(values / top)))


def test_gray_profiles_are_applied_to_gray_with_transparency():
    gray = ramp(255, np.uint8)
    expected = three(srgb_of_linear(gray / 255))
    image = Image.fromarray(gray)
    image.putalpha(Image.new("L", image.size, 128))
    half = read_both(encode(image, "PNG", icc_profile=LINEAR))
    assert_near(half, expected * 128 / 255 + 255 * 127 / 255, 2)
    image = Image.fromarray(gray)
    pixels = read_both(encode(image, "PNG", transparency=40, icc_profile=LINEAR))
    expected[gray == 40] = 255
    assert_near(pixels, expected)
    deep = ramp(65535, np.uint16)
    data = png(
        [pack(row, 16) for row in deep], SIZE[1], 16, 0,
        (b"iCCP", b"x\0\0" + zlib.compress(LINEAR)), (b"tRNS", bytes(2)),
    )  # fmt: skip
    expected = three(srgb_of_linear(deep / 65535))
    expected[0, 0] = 255
    assert_near(read_both(data), expected)


def test_gray_profiles_are_applied_to_gray_that_pillow_keeps_as_colors():
    gray = ramp(255, np.uint8)
    expected = three(srgb_of_linear(gray / 255))
    deep = np.stack([gray.astype(np.uint16) * 257, np.full(SIZE, 65535)], axis=2)
    rows = [pack(row.ravel(), 16) for row in deep]
    data = png(rows, SIZE[1], 16, 4, (b"iCCP", b"x\0\0" + zlib.compress(LINEAR)))
    assert Image.open(io.BytesIO(data)).mode == "RGBA"
    assert_near(read_both(data), expected)
    palette = Image.fromarray(gray).convert("P")
    assert_near(read_both(encode(palette, "TIFF", icc_profile=LINEAR)), expected)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_profiles_are_applied_to_the_colors_of_a_palette(form):
    image = Image.new("RGB", SIZE[::-1], (200, 60, 10))
    image.paste((10, 60, 200), (0, 0, 12, 16))
    expected = np.asarray(image)[..., ::-1]
    profile = rgb_profile(2.2, exchanged=True)
    options = {"transparency": 0} if form == "PNG" else {}
    data = encode(image.quantize(2), form, icc_profile=profile)
    assert Image.open(io.BytesIO(data)).mode == "P"
    straight = read_both(encode(image, form, icc_profile=profile))
    pixels = read_both(data)
    np.testing.assert_array_equal(pixels, straight)
    assert np.abs(pixels.astype(int) - expected).max() < 25  # of sRGB's other curve
    if options:
        clear = read_both(
            encode(image.quantize(2), form, icc_profile=profile, **options)
        )
        is_clear = (clear == 255).all(axis=2)
        assert is_clear.mean() == 0.5
        np.testing.assert_array_equal(clear[~is_clear], straight[~is_clear])


def test_a_profile_of_colors_is_applied_to_gray():
    values = ramp(255, np.uint8)
    data = encode(Image.fromarray(values), "JPEG", quality=100)
    gray = np.asarray(Image.open(io.BytesIO(data)))
    profile = rgb_profile(1.0)
    data = encode(Image.fromarray(values), "JPEG", quality=100, icc_profile=profile)
    pixels, texts = read(data)
    assert texts == []
    assert_near(pixels, three(srgb_of_linear(gray / 255)), 2)


@pytest.mark.parametrize("name", ["sRGB-elle-V2-g10.icc", "linear", "sRGB"])
def test_a_profile_called_srgb_with_another_curve_is_converted(name):
    image = Image.fromarray(three(ramp(255, np.uint8)))
    data = encode(image, "PNG", icc_profile=rgb_profile(1.0, name))
    assert_near(read_both(data), srgb_of_linear(np.asarray(image) / 255))


@pytest.mark.parametrize("name", ["sRGB", "something else"])
def test_a_profile_that_changes_nothing_leaves_the_pixels_as_they_are(name, photos):
    profile = bytearray(
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    )
    if name != "sRGB":
        for text in ("sRGB built-in".encode("utf-16-be"), b"sRGB built-in"):
            profile = profile.replace(text, text.replace(b"s", b"x", 1))
    image = Image.fromarray(photos[0])
    data = encode(image, "PNG", icc_profile=bytes(profile))
    pixels, texts = read(data, photos[0].shape[:2])
    np.testing.assert_array_equal(pixels, photos[0])
    assert texts == []


@pytest.mark.parametrize(
    ("mode", "profile", "told"),
    [
        ("RGB", LINEAR, "'gray'.*it is for GRAY, the image is RGB"),
        ("RGB", b"no profile", "without a name, 10 bytes"),
        ("CMYK", rgb_profile(2.2), "'colors'.*it is for RGB, the image is CMYK"),
        ("I;16", rgb_profile(2.2)[:300], "without a name, 300 bytes"),
        ("P", LINEAR, "'gray'.*it is for GRAY"),
    ],
)
def test_a_profile_that_cannot_be_applied_is_named(mode, profile, told):
    image = Image.new("RGB", SIZE[::-1], (200, 0, 0))
    image = image.quantize(2) if mode == "P" else image.convert("L").convert(mode)
    if mode == "RGB":
        image = Image.new("RGB", SIZE[::-1], (200, 0, 0))
    for path in (0, 1):
        item = encode(image, "TIFF", icc_profile=profile)
        item = Image.open(io.BytesIO(item)) if path else item
        text = read(item)[1][-1]
        assert text.startswith("X[7]: the color profile ")
        assert re.search(told, text)


def jpeg2000(image, **boxes):
    """Write a file in whose header some boxes are replaced, or added at the end."""
    data = encode(image, "JPEG2000")
    start, end = data.index(b"jp2h"), data.index(b"jp2c") - 4
    at, header = start + 4, b""
    parts = {}
    while at < end:
        size = int.from_bytes(data[at : at + 4], "big")
        parts[data[at + 4 : at + 8].decode()] = data[at + 8 : at + size]
        at += size
    for name, value in {**parts, **boxes}.items():
        header += struct.pack(">I", len(value) + 8) + name.encode() + value
    size = struct.pack(">I", len(header) + 8)
    return data[: start - 4] + size + b"jp2h" + header + data[end:]


def channels(*definitions):
    definitions = [struct.pack(">HHH", *one) for one in definitions]
    return struct.pack(">H", len(definitions)) + b"".join(definitions)


def bmp_with_profile(pixels, profile):
    """Write a BMP of version 5; the profile follows the pixels."""
    data = encode(Image.fromarray(pixels), "BMP")[54:]
    height, width = pixels.shape[:2]
    info = struct.pack("<IiiHHII16x", 124, width, height, 1, 24, 0, len(data))
    info = info.ljust(56, b"\0") + b"DEBM"
    info = info.ljust(112, b"\0") + struct.pack(
        "<III", 124 + len(data), len(profile), 0
    )
    head = struct.pack("<2sIHHI", b"BM", 138 + len(data) + len(profile), 0, 0, 138)
    return head + info + data + profile


def test_profiles_are_applied_that_pillow_does_not_find():
    pixels = rgba(255)[..., :3]
    profile = rgb_profile(1.0)
    image = Image.fromarray(pixels)
    straight = read(encode(image, "PNG", icc_profile=profile))[0]
    assert_near(straight, srgb_of_linear(pixels / 255))
    for data in (jpeg2000(image, colr=b"\2\0\0" + profile),
                 bmp_with_profile(pixels, profile)):  # fmt: skip
        assert "icc_profile" not in Image.open(io.BytesIO(data)).info
        np.testing.assert_array_equal(read_both(data), straight)


# Alpha that is none


def tga(pixels, n_attribute_bits, kind=None):
    """Write a TGA of 32 bits; `kind` is the kind of alpha that version 2 has."""
    height, width = pixels.shape[:2]
    descriptor = n_attribute_bits | 0x20  # from the top
    head = struct.pack("<BBB5x4xHHBB", 0, 0, 2, width, height, 32, descriptor)
    data = head + pixels[..., [2, 1, 0, 3]].tobytes()
    if kind is not None:
        extension = struct.pack("<H", 495) + bytes(492) + bytes([kind])
        data += extension + struct.pack("<II", len(data), 0) + b"TRUEVISION-XFILE.\0"
    return data


def rgba(alpha):
    pixels = np.full((*SIZE, 4), alpha, np.uint8)
    pixels[..., :3] = np.random.default_rng(0).integers(0, 256, (*SIZE, 3))
    return pixels


@pytest.mark.parametrize("alpha", [0, 77, 255])
@pytest.mark.parametrize(("bits", "kind"), [(0, None), (8, 0), (8, 1), (8, 2)])
def test_a_fourth_channel_that_the_header_calls_unused_is_not_alpha(alpha, bits, kind):
    pixels = rgba(alpha)
    actual = read_both(tga(pixels, bits, kind))
    np.testing.assert_array_equal(actual, pixels[..., :3])


@pytest.mark.parametrize(("bits", "kind"), [(8, None), (8, 3)])
def test_a_fourth_channel_that_the_header_calls_alpha_is_alpha(bits, kind):
    pixels = rgba(51)
    expected = pixels[..., :3] * 0.2 + 255 * 0.8
    assert_near(read_both(tga(pixels, bits, kind)), expected)


@pytest.mark.parametrize("form", ["TGA", "JPEG2000"])
def test_colors_that_the_header_calls_premultiplied_are_not_multiplied_again(form):
    pixels = rgba(51)
    pixels[..., :3] //= 5  # no more than alpha
    if form == "TGA":
        data = tga(pixels, 8, 4)
    else:
        kinds = channels((0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 2, 0))
        data = jpeg2000(Image.fromarray(pixels), cdef=kinds)
    assert_near(read_both(data), pixels[..., :3].astype(float) + 255 * 0.8, 2)


@pytest.mark.parametrize(
    "kinds",
    [((0, 1, 0), (1, 0, 1), (2, 0, 2), (3, 0, 3)),
     ((0, 65535, 65535), (1, 0, 1), (2, 0, 2), (3, 0, 3)),
     ((0, 0, 3), (1, 0, 2), (2, 0, 1), (3, 1, 0))],
)  # fmt: skip
def test_a_jpeg_2000_with_channels_in_another_order_is_refused(kinds):
    data = jpeg2000(Image.fromarray(rgba(200)), cdef=channels(*kinds))
    with pytest.raises(ValueError, match=r"X\[7\].*another order than red, green"):
        read(data)


def bmp(pixels, compression, masks=()):
    height, width = pixels.shape[:2]
    data = pixels[::-1, :, [2, 1, 0, 3]].tobytes()
    size = 108 if len(masks) == 4 else 40
    info = struct.pack(
        "<IiiHHIIiiII", size, width, height, 1, 32, compression, len(data), 0, 0, 0, 0
    )
    info += struct.pack(f"<{len(masks)}I", *masks)
    info += bytes(max(size - len(info), 0))
    start = 14 + len(info)
    head = struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start)
    return head + info + data


@pytest.mark.parametrize(
    ("compression", "masks"),
    [(0, ()), (3, (0xFF0000, 0xFF00, 0xFF)), (3, (0xFF0000, 0xFF00, 0xFF, 0)),
     (3, (0, 0, 0, 0))],
)  # fmt: skip
def test_a_bmp_without_a_mask_for_alpha_has_none(compression, masks):
    pixels = rgba(0)
    actual = read_both(bmp(pixels, compression, masks))
    np.testing.assert_array_equal(actual, pixels[..., :3])


def test_a_channel_that_jpeg_2000_leaves_undefined_is_not_alpha():
    pixels = rgba(0)
    data = encode(Image.fromarray(pixels), "JPEG2000")
    at = data.index(b"cdef")
    kind = data.index(struct.pack(">HH", 3, 1), at) + 2  # of channel 3: opacity
    data = data[:kind] + b"\xff\xff" + data[kind + 2 :]
    np.testing.assert_array_equal(read_both(data), pixels[..., :3])


@pytest.mark.parametrize("form", ["PNG", "TIFF", "TGA", "WEBP"])
def test_an_image_that_is_transparent_everywhere_gets_a_warning(form):
    image = Image.fromarray(rgba(0))
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    data = encode(image, form, **options)
    opened = Image.open(io.BytesIO(data))
    for item in (data, opened, rgba(0), rgba(0).astype(np.float32)):
        pixels, (text,) = read(item)
        assert (pixels == 255).all()
        assert text.startswith("X[7]: transparent everywhere")
    assert read(rgba(1))[1] == []


# EXIF


DAMAGED_EXIF = {
    "empty": b"",
    "text": b"this is text, not EXIF data",
    "no header": bytes(40),
    "cut": b"II*\0",
    "short": b"II",
    "far": b"II*\0\xff\xff\xff\x7f",
    "very far": b"MM\0*\xff\xff\xff\xff",
    "cut directory": b"II*\0\x08\0\0\0\x05\0\x12\x01",
    "no number": b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0x\0\0\0" + bytes(4),
}


def with_exif(form, photo, exif):
    if form == "PNG":
        data = encode(photo, form)
        return data[:33] + chunk(b"eXIf", exif) + data[33:]
    placeholder = b"II*\0" + b"\x08\0\0\0" + bytes(2) + b"#" * 190
    options = {"lossless": True} if form == "WEBP" else {"quality": 100}
    data = encode(photo, form, exif=b"Exif\0\0" + placeholder, **options)
    assert placeholder in data
    exif = exif if len(exif) > 100 else exif + b"\xee" * (len(placeholder) - len(exif))
    return data.replace(placeholder, exif)


@pytest.mark.parametrize("damage", DAMAGED_EXIF)
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_picture_with_damaged_exif_is_used_as_it_stands(form, damage):
    image = Image.fromarray(rgba(255)[..., :3])
    options = {"lossless": True} if form == "WEBP" else {"quality": 100}
    expected = np.asarray(Image.open(io.BytesIO(encode(image, form, **options))))
    data = with_exif(form, image, DAMAGED_EXIF[damage])
    np.testing.assert_array_equal(read_both(data), expected)


@pytest.mark.skipif(not features.check("avif"), reason="no AVIF")
def test_an_avif_with_damaged_exif_is_used_as_it_stands():
    image = Image.fromarray(rgba(255)[..., :3])
    exif = Image.Exif()
    exif[0x010E] = "a description"
    data = encode(image, "AVIF", quality=90, exif=exif)
    damaged = data.replace(exif.tobytes()[6:14], b"no TIFF!")
    assert damaged != data
    np.testing.assert_array_equal(read(damaged)[0], read(data)[0])


@pytest.mark.skipif(not features.check("avif"), reason="no AVIF")
def test_an_avif_with_exif_that_only_pillow_cannot_read_is_used_as_it_stands():
    image = Image.fromarray(rgba(255)[..., :3])
    exif = Image.Exif()
    exif[0x010E] = "a description"
    data = encode(image, "AVIF", quality=90, exif=exif)
    at = data.index(exif.tobytes()[6:14])
    # libavif looks for the header of a TIFF, Pillow trusts the place that is said.
    damaged = data[: at - 4] + b"\xff" * 4 + data[at:]
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(damaged))
    np.testing.assert_array_equal(read(damaged)[0], read(data)[0])


def test_a_right_orientation_next_to_what_cannot_be_written_again_is_applied():
    image = Image.fromarray(rgba(255)[..., :3])
    entries = [(0x0112, 3, 1, 3), (0x8769, 4, 1, 0x7FFFFFFF), (0x8825, 2, 4, 0)]
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    exif += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    expected = np.asarray(image)[::-1, ::-1]
    np.testing.assert_array_equal(read(with_exif("PNG", image, exif))[0], expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deep_images_are_turned_as_pillow_turns_others(orientation, dtype):
    values = ramp(255, np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(values)
    flat, _ = read(encode(image, "TIFF", exif=exif))
    deep = values.astype(dtype) * (257 if dtype == np.uint16 else 1)
    image = Image.fromarray(deep)
    form = "TIFF" if dtype == np.float32 else "PNG"
    data = encode(image, form, exif=exif)
    turned, _ = read(data)
    assert np.abs(turned.astype(float) - flat).max() <= 1


# First frames


def gif(box, *, transparent=None, background=0):
    """Write a GIF of 24 x 16 whose only frame fills a box with color 1."""
    left, top, right, bottom = box
    palette = bytes([0, 0, 200, 200, 0, 0, 0, 200, 0, 9, 9, 9])
    head = b"GIF89a" + struct.pack("<HHBBB", 24, 16, 0x81, background, 0) + palette
    if transparent is not None:
        head += b"!\xf9\x04\x01\0\0" + bytes([transparent]) + b"\0"
    n = (right - left) * (bottom - top)
    codes = "".join(f"{code:03b}"[::-1] for _ in range(n) for code in (4, 1))
    codes += f"{5:03b}"[::-1]  # each pixel after a reset, so that codes have 3 bits
    codes += "0" * (-len(codes) % 8)
    packed = bytes(int(codes[k : k + 8][::-1], 2) for k in range(0, len(codes), 8))
    blocks = b"".join(
        bytes([len(packed[k : k + 255])]) + packed[k : k + 255]
        for k in range(0, len(packed), 255)
    )
    frame = b"," + struct.pack("<HHHHB", left, top, right - left, bottom - top, 0)
    return head + frame + b"\x02" + blocks + b"\0;"


def white_around(box, color):
    left, top, right, bottom = box
    pixels = np.full((*SIZE, 3), 255, np.uint8)
    pixels[top:bottom, left:right] = color
    return pixels


BOX = (4, 6, 16, 12)


@pytest.mark.parametrize("transparent", [None, 2])
@pytest.mark.parametrize("background", [0, 2])
def test_around_the_first_frame_of_a_gif_is_white(transparent, background):
    data = gif(BOX, transparent=transparent, background=background)
    pixels = read_both(data)
    np.testing.assert_array_equal(pixels, white_around(BOX, (200, 0, 0)))
    whole = (0, 0, 24, 16)
    np.testing.assert_array_equal(read_both(gif(whole))[0, 0], (200, 0, 0))
    decoded = Image.open(io.BytesIO(data))
    decoded.load()
    np.testing.assert_array_equal(read(decoded)[0], pixels)


@pytest.mark.parametrize(("depth", "kind"), [(8, 2), (8, 0), (16, 0), (8, 3)])
def test_around_the_first_frame_of_an_apng_is_white(depth, kind):
    left, top, right, bottom = BOX
    width, height = right - left, bottom - top
    control = struct.pack(">IIIIIHHBB", 0, width, height, left, top, 1, 10, 0, 0)
    n_bytes = (3 if kind == 2 else 1) * depth // 8
    rows = [b"\x01" * n_bytes * width] * height
    palette = [(b"PLTE", bytes([0, 0, 9, 1, 1, 1]))] if kind == 3 else []
    header = struct.pack(">IIBBBBB", 24, 16, depth, kind, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        *palette,
        (b"acTL", struct.pack(">II", 1, 0)),
        (b"fcTL", control),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
    np.testing.assert_array_equal(read_both(data), white_around(BOX, (1, 1, 1)))


@pytest.mark.parametrize("flag", [0x02, 0x12])
@pytest.mark.parametrize("background", [bytes(4), bytes([0, 0, 0, 255])])
def test_around_the_first_frame_of_a_webp_is_white(flag, background):
    left, top, right, bottom = BOX
    width, height = right - left, bottom - top
    color = (200, 0, 0)
    still = encode(Image.new("RGB", (width, height), color), "WEBP", lossless=True)

    def part(name, data):
        return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)

    def number(value):
        return value.to_bytes(3, "little")

    frame = b"".join(map(number, (left // 2, top // 2, width - 1, height - 1, 100)))
    body = b"WEBP" + part(b"VP8X", bytes([flag, 0, 0, 0]) + number(23) + number(15))
    body += part(b"ANIM", background + bytes(2))
    body += part(b"ANMF", frame + b"\0" + still[12:])
    data = b"RIFF" + struct.pack("<I", len(body)) + body
    np.testing.assert_array_equal(read_both(data), white_around(BOX, color))


def test_what_is_around_a_first_frame_is_left_alone_once_it_is_changed():
    def opened():
        image = Image.open(io.BytesIO(gif(BOX)))
        image.load()
        return image

    expected = np.asarray(opened().convert("RGB")).copy()
    changed = opened()
    changed.putpixel((0, 0), 1)
    expected[0, 0] = 200, 0, 0
    np.testing.assert_array_equal(read(changed)[0], expected)
    changed.paste(1, (0, 0, 24, 16))
    assert (read(changed)[0] == (200, 0, 0)).all()
    smaller = Image.open(io.BytesIO(gif(BOX)))
    smaller.thumbnail((12, 8))
    expected = np.asarray(smaller.convert("RGB"))
    np.testing.assert_array_equal(read(smaller, (8, 12))[0], expected)


# PIL images


def opened_files():
    gray = ramp(255, np.uint8)
    image = Image.fromarray(rgba(255)[..., :3])
    still = {"save_all": True, "append_images": [image.rotate(180)]}
    for form in ("GIF", "PNG", "TIFF", "WEBP"):
        yield form, encode(image, form, **still)
    yield "TIFF 16", encode(Image.fromarray(gray.astype(np.uint16) * 257), "TIFF")
    yield "TIFF F", encode(Image.fromarray(gray.astype(np.float32)), "TIFF")
    yield "TIFF I", encode(Image.fromarray(gray.astype(np.int32) * 257), "TIFF")
    for form in ("AVIF", "BMP", "JPEG", "JPEG2000", "PPM", "TGA", "WEBP"):
        if form != "AVIF" or features.check("avif"):
            yield f"{form} still", encode(image, form)


OPENED = dict(opened_files())


@pytest.mark.parametrize("form", OPENED)
def test_pickled_and_copied_pil_images_are_used(form):
    data = OPENED[form]
    expected, _ = read(data)
    for change in (copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))):
        image = change(Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(read(image)[0], expected)


def test_a_pickled_apng_is_used_as_pillow_decoded_it():
    image = Image.open(io.BytesIO(encode(Image.new("RGB", (24, 16), "red"), "PNG")))
    image.info["bbox"] = BOX
    image = pickle.loads(pickle.dumps(image))
    assert (read(image)[0] == (255, 0, 0)).all()


ODD_PNGS = {
    "gray": png([pack([0, 1, 2, 3], 2)] * 2, 4, 2, 0, (b"tRNS", b"\0\2")),
    "colors": png([bytes([0, 1] * 12)] * 2, 4, 16, 2, (b"tRNS", b"\0\1" * 3)),
    "8-bit colors": png([bytes(range(12))] * 2, 4, 8, 2, (b"tRNS", b"\7\0\7\1\7\2")),
}


@pytest.mark.parametrize("form", [*ODD_PNGS, "TGA", "JPEG2000", "TIFF"])
def test_a_pil_image_has_the_same_pixels_the_second_time(form):
    pixels = rgba(40)
    if form == "TGA":
        data = tga(pixels, 0)
    elif form == "JPEG2000":
        kinds = channels((0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 65535, 65535))
        data = jpeg2000(Image.fromarray(pixels), cdef=kinds)
    else:
        data = ODD_PNGS.get(form) or tiff(ramp(65535, np.uint16), 0)
    size = (2, 4) if form in ODD_PNGS else SIZE
    expected, _ = read(data, size)
    image = Image.open(io.BytesIO(data))
    for _ in range(3):
        np.testing.assert_array_equal(read(image, size)[0], expected)
    image.paste(0, (0, 0, *image.size))  # then it is no longer the same
    assert (read(image, size)[0] == read(image, size)[0][0, 0]).all()


# Open files


class Pipe(io.RawIOBase):
    """A stream that cannot seek."""

    def __init__(self, data):
        self.left = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.left.readinto(buffer)


def test_an_open_file_is_read_from_its_start_wherever_it_stands():
    image = Image.fromarray(rgba(255)[..., :3])
    stream = io.BytesIO()
    image.save(stream, "PNG")
    for position in (stream.tell(), 4, 0):
        stream.seek(position)
        for _ in range(2):  # and again
            np.testing.assert_array_equal(read(stream)[0], np.asarray(image))
            assert stream.tell() == position


def test_a_stream_that_cannot_seek_is_read_once_and_then_says_so():
    image = Image.fromarray(rgba(255)[..., :3])
    pipe = Pipe(encode(image, "PNG"))
    np.testing.assert_array_equal(read(pipe)[0], np.asarray(image))
    with pytest.raises(ValueError, match=r"X\[7\].*read only once: pass its bytes"):
        read(pipe)


# Switches


@pytest.fixture
def switches():
    with _Using()(all_switches()):
        yield  # then they are as before


@pytest.fixture
def cut(photos, tmp_path):
    path = tmp_path / "cut.jpg"
    data = encode(Image.fromarray(photos[0]), "JPEG")
    path.write_bytes(data[: len(data) // 2])
    return path


def small(**parameters):
    parameters = {"layer": "block1_pool", "pooling": "avg", **parameters}
    return VGG19Features(None, image_size=32, random_state=0, **parameters)


def test_workers_read_truncated_files_if_the_main_process_does(cut, switches):
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    expected = small().transform([cut])
    tasks = tasks_of(small(n_jobs=2, batch_size=1), [cut, cut])
    work, task = pickle.loads(pickle.dumps(tasks[0]))
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # as in a new process
    done = work(*task)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert done.bad == {}
    (key,) = done.keys[0, 0]
    np.testing.assert_array_equal([done.arrays[key]], expected)


def test_blocks_of_dask_are_read_as_where_the_collection_was_made(cut, switches):
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    expected = small().transform([cut])
    paths = dask.array.from_array(np.array([str(cut)]))
    rows = small().transform(paths)
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # as in a new process
    np.testing.assert_array_equal(rows.compute(scheduler="threads"), expected)


def test_rows_of_truncated_files_are_not_cached_as_those_of_whole_ones(
    cut, switches, tmp_path
):
    features = small(memory=tmp_path / "cache")
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    features.transform([cut])
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with pytest.raises(ValueError, match="truncated"):
        features.transform([cut])


def test_all_switches_travel(switches):
    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_CHUNK = 7
    sent = pickle.loads(pickle.dumps(all_switches()))
    Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = 5, 5
    assert Framing(SIZE, "stretch").switches == ()  # neither changes rows
    with _Using()(sent):
        assert Image.MAX_IMAGE_PIXELS is None
        assert PngImagePlugin.MAX_TEXT_CHUNK == 7
    assert Image.MAX_IMAGE_PIXELS == PngImagePlugin.MAX_TEXT_CHUNK == 5


def test_tasks_with_other_switches_wait_for_each_other(switches):
    seen = []

    def task(value):
        (module, name, _), *others = all_switches()
        using = ((module, name, value), *others)
        with using_together(using):
            before = ImageFile.LOAD_TRUNCATED_IMAGES
            time.sleep(0.01)
            seen.append((value, before, ImageFile.LOAD_TRUNCATED_IMAGES))

    using_together = _Using()
    with ThreadPoolExecutor(4) as executor:
        list(executor.map(task, [True, True, False, True, False, False]))
    assert all(value == before == after for value, before, after in seen)


# Files that take long


def progressive(side, n_scans):
    data = encode(Image.new("L", (side, side), 100), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    n_more = n_scans - data.count(b"\xff\xda")
    return data[:-2] + last * n_more + b"\xff\xd9"


def test_a_jpeg_of_hundreds_of_scans_is_rejected_at_once():
    data = progressive(3000, 300)
    start = time.perf_counter()
    for item in (data, Image.open(io.BytesIO(data))):
        with pytest.raises(ValueError, match=r"X\[7\].*270000000.*max_pixels=89478485"):
            read(item, max_pixels=89_478_485)
    assert time.perf_counter() - start < 1


def test_the_limit_for_scans_is_raised_by_max_pixels():
    data = progressive(64, 300)
    few = 64 * 64 * 30
    assert find_bad_images([data], max_pixels=few - 1).keys() == {0}
    assert find_bad_images([data], max_pixels=few) == {}
    assert find_bad_images([data], max_pixels=None) == {}
    usual = progressive(64, 10)
    assert find_bad_images([usual], max_pixels=64 * 64) == {}


def test_bytes_that_look_like_scans_in_metadata_do_not_count():
    data = encode(
        Image.new("L", (64, 64)), "JPEG", exif=b"Exif\0\0" + b"\xff\xda" * 900
    )
    assert find_bad_images([data], max_pixels=64 * 64) == {}


def test_what_follows_the_only_scan_of_a_jpeg_is_not_searched_for_scans():
    data = encode(Image.new("L", (64, 64), 100), "JPEG")
    scan = data[data.rindex(b"\xff\xda") : -2]
    data = data[:-2] + scan * 300 + b"\xff\xd9"
    with pytest.raises(ValueError, match="broken data"):  # libjpeg ends here, too
        read(data, max_pixels=64 * 64)


def test_the_scans_of_single_components_of_a_jpeg_count():
    data = encode(Image.new("L", (64, 64), 100), "JPEG")
    frame, start = data.index(b"\xff\xc0"), data.rindex(b"\xff\xda")
    scan = bytearray(data[start:-2])
    head = data[:frame] + b"\xff\xc0\0\x11" + data[frame + 4 : frame + 9] + b"\3"
    head += b"".join(bytes([i, 0x11, 0]) for i in (1, 2, 3))
    scans = b""
    for component in [1, 2, 3] * 100:
        scan[5] = component
        scans += scan
    data = head + data[frame + 13 : start] + scans + b"\xff\xd9"
    assert Image.open(io.BytesIO(data)).convert("YCbCr").getpixel((9, 9))[0] == 100
    assert find_bad_images([data], max_pixels=64 * 64 * 30) == {}
    assert find_bad_images([data], max_pixels=64 * 64 * 30 - 1).keys() == {0}


def test_a_tiff_with_a_tile_larger_than_itself_is_rejected_before_decoding():
    side = 10_000
    packed = zlib.compress(bytes(side * side))
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side,
            324: 8 + 2 + 12 * 10 + 4, 325: len(packed)}  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in tags)
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + packed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="100000000 pixels"):
        read(data, max_pixels=89_478_485)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_icons_are_not_read_because_opening_them_decodes_them():
    side = 2000
    inner = encode(Image.new("L", (side, side)), "PNG")
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22)
    with pytest.raises(ValueError, match="in no format that skvgg reads"):
        read(icon + inner, max_pixels=10_000)


# Warnings


def test_each_kind_of_oddity_is_said_once(recwarn):
    clear = encode(Image.fromarray(rgba(0)), "PNG")
    also_clear = encode(Image.fromarray(rgba(0)), "PNG", compress_level=1)
    dark = ramp(255, np.uint16)
    wrong = encode(Image.new("RGB", (9, 9), "red"), "PNG", icc_profile=LINEAR)
    for call in (
        lambda: find_bad_images([clear, dark, also_clear, wrong]),
        lambda: make_thumbnails([clear, dark, also_clear, wrong], range(4), None),
    ):
        recwarn.clear()
        call()
        texts = [str(warning.message) for warning in recwarn]
        assert len(texts) == 3
        starts = "X[0]: transparent", "X[1]: a 16-bit image", "X[3]: the color"
        assert all(map(str.startswith, texts, starts))


def test_what_is_odd_about_pil_images_is_said_with_workers_too(recwarn):
    image = Image.open(
        io.BytesIO(encode(Image.new("RGB", (9, 9), "red"), "PNG", icc_profile=LINEAR))
    )
    with parallel_config("threading", n_jobs=2):
        small(n_jobs=2).transform([image])
    texts = [str(warning.message) for warning in recwarn]
    assert sum("color profile" in text for text in texts) == 1
