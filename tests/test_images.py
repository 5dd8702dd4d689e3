"""From what people have to RGB arrays: checked against Pillow and NumPy."""

import io
import warnings
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from PIL import Image, ImageOps

from skvgg import _images as images
from skvgg._images import Framing, as_images, decode, load

SIZE = (40, 60)  # height, width


def read(X, image_size=SIZE, resize="stretch", **settings):
    framing = Framing(image_size, resize, **settings)
    contents = [load(item, index) for index, item in enumerate(as_images(X))]
    return [decode(content, framing) for content in contents]


@pytest.fixture
def files(photos, tmp_path):
    """The two photos as PNG files."""
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for photo, path in zip(photos, paths, strict=True):
        Image.fromarray(photo).save(path)
    return paths


def pillow_stretch(photo):
    image = Image.fromarray(photo).resize(SIZE[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image)


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(list, id="list"),
        pytest.param(tuple, id="tuple"),
        pytest.param(lambda x: np.array([str(p) for p in x]), id="str array"),
        pytest.param(lambda x: np.array(x, dtype=object), id="object array"),
        pytest.param(lambda x: np.array(x, dtype=object)[:, None], id="column array"),
        pytest.param(lambda x: pd.Series(x, index=[7, 9]), id="pandas Series"),
        pytest.param(lambda x: pd.DataFrame({"path": x}), id="pandas DataFrame"),
        pytest.param(lambda x: pl.Series("path", map(str, x)), id="polars Series"),
        pytest.param(lambda x: pl.DataFrame({"p": map(str, x)}), id="polars DataFrame"),
    ],
)
def test_paths_are_taken_in_every_container(files, photos, wrap):
    pixels = read(wrap(files))
    np.testing.assert_array_equal(pixels, [pillow_stretch(p) for p in photos])


def test_paths_pil_images_and_arrays_give_the_same_pixels(files, photos):
    from_files = read(files)
    np.testing.assert_array_equal(from_files, read(list(photos)))
    np.testing.assert_array_equal(from_files, read([Image.open(p) for p in files]))
    np.testing.assert_array_equal(from_files, read(np.stack(photos)))


def test_arrays_of_differing_sizes_go_into_one_batch(photos):
    pixels = read([photos[0], photos[1][:100, :50], photos[0][..., 0]])
    assert [p.shape for p in pixels] == [(*SIZE, 3)] * 3


def test_gray_images_have_three_equal_channels(photos):
    gray = np.stack(photos)[..., 0]
    expected = [
        np.asarray(Image.fromarray(g).convert("RGB").resize(SIZE[::-1], 2))
        for g in gray
    ]
    for form in (gray, gray[..., None], list(gray), list(gray[..., None])):
        np.testing.assert_array_equal(read(form), expected)


def test_an_image_of_the_right_size_keeps_its_pixels(photos):
    pixels = read(photos[:1], image_size=photos[0].shape[:2])
    np.testing.assert_array_equal(pixels[0], photos[0])


@pytest.mark.parametrize("dtype", ["int16", "int64"])
def test_other_integers_are_pixels_too(photos, dtype):
    np.testing.assert_array_equal(
        read([p.astype(dtype) for p in photos]), read(list(photos))
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_float_images_keep_their_fractions(dtype):
    image = np.full((*SIZE, 3), 100.25, dtype=dtype)
    (pixels,) = read([image], image_size=SIZE)
    assert pixels.dtype == np.float32
    assert (pixels == 100.25).all()


def test_resizing_floats_is_resizing_without_rounding(photos):
    floats = read([p.astype("float32") for p in photos])
    np.testing.assert_allclose(floats, read(list(photos)), atol=1)


@pytest.mark.parametrize(
    ("resize", "pillow"), [("crop", ImageOps.fit), ("pad", ImageOps.pad)]
)
def test_crop_and_pad_are_pillows(photos, resize, pillow):
    expected = pillow(Image.fromarray(photos[0]), SIZE[::-1], method=2)
    (pixels,) = read(photos[:1], resize=resize)
    np.testing.assert_array_equal(pixels, expected)
    (floats,) = read([photos[0].astype("float32")], resize=resize)
    np.testing.assert_allclose(floats, expected, atol=1)


def test_crop_keeps_the_middle_and_pad_keeps_all():
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, 10:20] = 200
    (crop,) = read([stripes], image_size=(10, 10), resize="crop")
    assert (crop == 200).all()
    (pad,) = read([stripes], image_size=(30, 30), resize="pad")
    assert (pad[:10] == 0).all()
    assert (pad[20:] == 0).all()
    np.testing.assert_array_equal(pad[10:20], stripes)


@pytest.mark.parametrize("colour", [(7, 7, 7), (250, 100, 3)])
def test_padding_has_the_colour_that_pillow_gives_it(files, photos, colour):
    for photo in (photos[0], photos[0].swapaxes(0, 1)):  # bars beside, above
        image = Image.fromarray(photo)
        expected = np.asarray(ImageOps.pad(image, (60, 60), method=2, color=colour))
        stream = io.BytesIO()
        image.save(stream, "PNG")
        for item in (stream.getvalue(), image, photo):
            (pixels,) = read([item], (60, 60), "pad", fill_value=colour)
            np.testing.assert_array_equal(pixels, expected)
        (floats,) = read([photo.astype(float)], (60, 60), "pad", fill_value=colour)
        np.testing.assert_allclose(floats, expected, atol=1)
        bars = (expected == colour).all(axis=2)
        assert (floats[bars] == colour).all()


@pytest.mark.parametrize("colour", [(7, 7, 7), (250, 100, 3)])
def test_gray_images_have_the_same_colour_around_them(photos, colour):
    gray = photos[0][..., 0]
    image = Image.fromarray(gray).convert("RGB")
    expected = np.asarray(ImageOps.pad(image, (60, 60), method=2, color=colour))
    for item in (gray, gray[..., None], Image.fromarray(gray)):
        (pixels,) = read([item], (60, 60), "pad", fill_value=colour)
        np.testing.assert_array_equal(pixels, expected)
    (floats,) = read([gray.astype(float)], (60, 60), "pad", fill_value=colour)
    np.testing.assert_allclose(floats, expected, atol=1)


@pytest.mark.parametrize("shape", [(5000, 1, 3), (2, 5000, 3), (1, 5000)])
def test_an_image_that_is_very_thin_does_not_vanish_between_its_bars(shape):
    thin = np.full(shape, 200, np.uint8)
    for item in (thin, thin.astype(float), Image.fromarray(thin)):
        (pixels,) = read([item], (32, 32), "pad", fill_value=(7, 7, 7))
        assert (pixels == 200).all(axis=2).sum() == 32
        assert (pixels == 7).all(axis=2).sum() == 31 * 32


def test_reversed_channels_of_opencv_are_rgb(photos):
    bgr = np.stack(photos)[..., ::-1].copy()  # what cv2.imread returns
    np.testing.assert_array_equal(read(bgr[..., ::-1]), read(list(photos)))
    np.testing.assert_array_equal(read([bgr[0][..., ::-1]]), read(photos[:1]))


# Every dtype, and how it lies in memory


def pixels_as(photo, dtype):
    """Return pixels whose bytes differ, so that their order shows."""
    if dtype == "?":
        return photo > 127
    scaled = photo.astype("uint16") * 257 if dtype == "H" else photo // 2
    return scaled.astype(dtype)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["?", *np.typecodes["AllInteger"], *"efdg"])
def test_the_order_of_bytes_changes_nothing(photos, dtype, order):
    native = np.stack([pixels_as(photo, dtype) for photo in photos])
    other = native.astype(native.dtype.newbyteorder(order))
    np.testing.assert_array_equal(other, native)
    for image_size in (SIZE, photos[0].shape[:2]):
        expected = read(native, image_size)
        np.testing.assert_array_equal(read(other, image_size), expected)
        np.testing.assert_array_equal(read(list(other), image_size), expected)
    if dtype != "g":  # whose numbers have bytes between them that mean nothing
        assert load(other[0], 0).digest == load(native[0], 0).digest


@pytest.mark.parametrize("dtype", ["u2", "f4", "f8"])
def test_a_nearly_black_image_is_noticed_in_either_order_of_bytes(dtype):
    dark = np.ones((4, 4, 3), dtype)
    texts = set()
    for order in "<>":
        content = load(dark.astype(dark.dtype.newbyteorder(order)), 0)
        decode(content, Framing(SIZE, "stretch"))
        texts.update(map(str, content.warnings))
    (text,) = texts
    assert "nearly black" in text


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
@pytest.mark.parametrize("image_size", [SIZE, (427, 640)])
def test_a_matrix_is_the_array_that_it_holds(photos, dtype, image_size):
    array = photos[0][..., 0].astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = np.asmatrix(array)
    expected = read([array, array], image_size)
    np.testing.assert_array_equal(read([matrix, array], image_size), expected)
    table = as_images(matrix.reshape(1, -1), array.shape)
    np.testing.assert_array_equal(read(table, image_size), expected[:1])
    with pytest.raises(ValueError, match=r"shape \(427, 640\); expected \(n, h, w\)"):
        as_images(matrix)


def test_masked_pixels_are_refused_by_index(photos):
    masked = np.ma.masked_less(photos[0], 50)
    with pytest.raises(ValueError, match=r"X\[1\].*masked.*filled"):
        read([photos[0], masked])
    with pytest.raises(ValueError, match=r"X: an array with masked.*filled"):
        read(np.ma.stack([masked, masked]))
    np.testing.assert_array_equal(read([np.ma.array(photos[0])]), read(photos[:1]))


def test_exif_orientation_is_applied(photos, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    path = tmp_path / "turned.png"
    Image.fromarray(photos[0]).save(path, exif=exif)
    height, width, _ = photos[0].shape
    (pixels,) = read([path], image_size=(width, height))
    np.testing.assert_array_equal(pixels, np.rot90(photos[0], k=-1))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_become_white(tmp_path, mode):
    image = Image.new("RGBA", (40, 40), (10, 10, 10, 255))
    image.paste((10, 10, 10, 0), (0, 0, 40, 20))
    path = tmp_path / "half.png"
    image.convert(mode).save(path)
    (pixels,) = read([path], image_size=(40, 40))
    assert (pixels[:20] == 255).all()
    assert (pixels[20:] <= 12).all()  # a palette may round


@pytest.mark.parametrize("mode", ["1", "L", "CMYK"])
def test_other_modes_are_converted_by_pillow(photos, tmp_path, mode):
    image = Image.fromarray(photos[0]).convert(mode)
    path = tmp_path / "image.tif"
    image.save(path)
    (pixels,) = read([path], image_size=photos[0].shape[:2])
    np.testing.assert_array_equal(pixels, image.convert("RGB"))


def test_the_caller_keeps_the_pil_image_as_it_was(files):
    image = Image.open(files[0])
    before = np.asarray(image.copy())
    read([image])
    np.testing.assert_array_equal(image, before)


# The range of float images


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (-1.0, r"lie in -1\.0\.\."),
        (255.5, r"lie in .*\.\.255\.5"),
        (np.nan, "contains NaN"),
        (np.inf, "contains infinity"),
        (-np.inf, "contains infinity"),
    ],
)
def test_pixels_out_of_range_are_refused_by_index(photos, value, told):
    bad = photos[1].astype(float)
    bad[3, 4, 0] = value
    message = rf"X\[1\].*{told}.*expected 0\.\.255"
    with pytest.raises(ValueError, match=message):
        read([photos[0].astype(float), bad])
    with pytest.raises(ValueError, match=message):
        read(np.stack([photos[0], bad]))


# Bad input


def test_a_missing_file_is_found_before_anything_is_read(files, monkeypatch):
    monkeypatch.setattr(images, "load", None)
    with pytest.raises(FileNotFoundError, match=r"X\[1\] \('nowhere/c\.jpg'\)"):
        read([files[0], "nowhere/c.jpg"])


def test_a_file_that_vanishes_meanwhile_is_named(files):
    images = as_images(files)
    files[1].unlink()
    with pytest.raises(FileNotFoundError, match=r"X\[1\] .*b\.png"):
        [load(item, index) for index, item in enumerate(images)]


def test_a_file_that_is_no_image_is_named(files, tmp_path):
    text = tmp_path / "notes.jpg"
    text.write_text("not an image")
    message = r"X\[2\] \('.*notes\.jpg'\): not an image.* \(in no format that skvgg"
    with pytest.raises(ValueError, match=message):
        read([*files, text])


def test_a_truncated_file_is_named(files):
    files[1].write_bytes(files[1].read_bytes()[:20_000])
    with pytest.raises(ValueError, match=r"X\[1\] .*b\.png.*truncated"):
        read(files)


def test_a_folder_is_refused_with_a_hint(tmp_path):
    with pytest.raises(ValueError, match=r"X\[0\].*folder.*load_image_folder"):
        read([tmp_path])


def test_one_image_with_channels_first_is_no_surprise(tiles):
    threes = tiles[0][:3, ..., 0]
    with pytest.warns(UserWarning, match=r"shape \(3, .* is read as three gray images"):
        gray = read(threes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read(threes[..., None]), gray)
        read(tiles[0][:2, ..., 0])
        read(threes[:, :8, :8])  # three digits, rather


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            np.zeros((5, 64), np.uint8),
            r"shape \(5, 64\).*flattened_shape.*X\.reshape\(-1, h, w\)",
        ),
        (
            np.zeros((5, 3, 32, 32), np.uint8),
            r"channels-first.*transpose\(0, 2, 3, 1\)",
        ),
        (np.zeros((5, 32, 32, 2), np.uint8), r"shape \(5, 32, 32, 2\); expected"),
        (np.zeros((32, 32, 3), np.uint8), r"one RGB image.*X\[None\]"),
        (np.zeros((2, 32, 32, 3), complex), r"dtype complex"),
        ([np.zeros((3, 32, 32), np.uint8)], r"X\[0\].*shape.*channels-first"),
        (["https://example.org/a.jpg"], r"X\[0\].*a URL.*[Dd]ownload"),
        ([io.StringIO("text")], r"X\[0\]: an object of type StringIO"),
        ([(1, 2)], r"X\[0\]: an object of type tuple.*must not be nested"),
        ([np.zeros((32, 0, 3), np.uint8)], r"X\[0\]: an array of shape \(32, 0, 3\)"),
        (io.StringIO("a.jpg"), r"got an object of type StringIO\.$"),
        ([None], r"X\[0\]: an object of type NoneType; expected a path"),
        ([[[1, 2], [3, 4]]], r"X\[0\]: an object of type list; expected a path"),
        ("photo.jpg", r"single str.*\[X\]"),
        (".", r"single str.*This is a folder.*load_image_folder"),
        (Image.new("RGB", (8, 8)), r"single Image.*\[X\]"),
        ((p for p in ["a.jpg"]), r"type generator\. Pass list\(X\)\."),
        (Path("tests").glob("*.jpg"), r"Pass list\(X\)\."),
        (map(str, [1]), r"type map\. Pass list\(X\)\."),
        ({"a.jpg": 1}.values(), r"type dict_values\. Pass list\(X\)\."),
        ({"a": "a.jpg"}, r"type dict\. Pass its values: list\(X\.values\(\)\)"),
        ({"a.jpg"}, r"type set\..* no order.*sorted\(X\)"),
        (None, r"got None\."),
        (3, r"got an object of type int\.$"),
        (bytearray(b"a file"), r"single bytearray.*\[X\]"),
        (io.BytesIO(b"a file"), r"single BytesIO.*\[X\]"),
        (scipy.sparse.csr_array((4, 64)), r"toarray\(\).*flattened_shape"),
        (["a" * 300], r"X\[0\] \('aaa.*no such file"),
        (pd.DataFrame({"a": ["1"], "b": ["2"]}), r"2 columns; expected one.*Select"),
        (pd.DataFrame({"a": [1], "b": [2]}), r"2 columns;.*flattened_shape"),
        (np.array([["a", "b"]]), r"shape \(1, 2\).*\(n,\) or \(n, 1\)"),
        ([], r"0 sample\(s\)"),
        (np.zeros((0, 32, 32, 3), np.uint8), r"0 sample\(s\)"),
    ],
)
def test_what_is_no_set_of_images_is_refused(X, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        as_images(X)


def test_an_error_names_the_path_however_the_file_came(files):
    with files[0].open("rb") as file, Image.open(files[0]) as image:
        for item in (np.array([str(files[0])])[0], files[0], file, image):
            assert images.path_of(item) == str(files[0])
    for item in (io.BytesIO(), Image.new("L", (2, 2)), b"", np.zeros((2, 2))):
        assert images.path_of(item) is None


# Tables of flattened images


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame,
        pl.DataFrame,
        lambda rows: pd.DataFrame(rows).convert_dtypes(),
        lambda rows: pd.DataFrame(rows).convert_dtypes(dtype_backend="pyarrow"),
        lambda rows: pd.DataFrame(rows).astype({0: "Int64", 1: "UInt16", 2: "int8"}),
        lambda rows: rows.tolist(),
        lambda rows: tuple(rows),
        lambda rows: [pd.Series(row) for row in rows],
    ],
)
def test_a_table_of_numbers_is_its_rows_unflattened(frame):
    rows = np.arange(2 * 12).reshape(2, 12)
    images = as_images(frame(rows), (3, 4))
    np.testing.assert_array_equal(images, rows.reshape(2, 3, 4))
    assert images.dtype.kind in "iu"


def test_a_table_keeps_the_dtype_that_pandas_has_for_it():
    rows = np.arange(2 * 12).reshape(2, 12).astype(np.uint16)
    assert as_images(pd.DataFrame(rows).astype("UInt16"), (3, 4)).dtype == np.uint16
    table = pd.DataFrame(rows).astype("Float32")
    assert as_images(table, (3, 4)).dtype == np.float32


def test_a_missing_number_of_a_table_is_named_by_its_row():
    table = pd.DataFrame(np.arange(2 * 12).reshape(2, 12)).astype("Int64")
    table.iloc[1, 3] = pd.NA
    with pytest.raises(ValueError, match=r"X\[1\]: it contains NaN"):
        [
            decode(load(p, i), Framing((3, 4), "stretch"))
            for i, p in enumerate(as_images(table, (3, 4)))
        ]


@pytest.mark.parametrize(
    "X",
    [
        [Image.new("RGB", (8, 8)), Image.new("RGB", (9, 7))],
        [np.zeros((8, 8), np.uint8), np.zeros((9, 7), np.uint8)],
        [np.zeros((8, 8), np.uint8), Image.new("RGB", (9, 7))],
        [np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)],
    ],
)
def test_images_that_are_not_flattened_may_come_all_the_same(X):
    assert len(read(as_images(X, (8, 8)))) == 2


def test_rows_of_differing_lengths_are_named():
    with pytest.raises(ValueError, match=r"X\[1\]: 3 features, expected 4: flatt"):
        as_images([[1, 2, 3, 4], [1, 2, 3]], (2, 2))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones((2, 4), object), r"dtype object; expected a numeric dtype.*astype"),
        (pd.DataFrame(np.ones((2, 4), object)), r"dtype object.*astype"),
        ([np.ones(4, object)], r"dtype object.*astype"),
        (
            np.array([[1, 2, 3, 4], [1, 2, None, 4]], object),
            r"X\[1\]: feature 2 is None",
        ),
        ([[1, 2, 3, "a"]], r"X\[0\]: feature 3 is 'a'; expected a number"),
        (
            pd.DataFrame({"a": [1] * 2, "b": 2, "c": 3, "d": [4, "x"]}),
            r"X\[1\]: feature 3 is 'x'; expected a number",
        ),
        (np.ones((2, 5), object), r"X has 5 features, expected 4: flattened_shape"),
    ],
)
def test_a_table_of_objects_is_refused_by_its_first_cell_that_is_no_number(X, message):
    with pytest.raises(ValueError, match=message):
        as_images(X, (2, 2))


def test_a_column_of_paths_may_come_with_a_flattened_shape(files):
    for X in (pd.DataFrame({"path": files}), np.array(files, object)[:, None]):
        assert as_images(X, (2, 2)) == files


def test_load_checks_what_as_images_could_not_see():
    with pytest.raises(ValueError, match=r"X\[4\]: an array of shape"):
        load(np.zeros((2, 2, 2), np.uint8), 4)
    with pytest.raises(ValueError, match=r"^X\[4\]: an array of shape \(5, 0, 3\)"):
        load(Image.new("RGB", (0, 5)), 4)


# Digests


def test_a_digest_is_that_of_the_file(files, tmp_path):
    copy = tmp_path / "copy of a.jpg"
    copy.write_bytes(files[0].read_bytes())
    assert load(files[0], 0).digest == load(copy, 1).digest
    assert load(files[0], 0).digest.hex() == sha256(copy.read_bytes()).hexdigest()
    assert load(files[0], 0).digest != load(files[1], 0).digest


def test_a_digest_of_pixels_tells_what_changes_the_row(photos):
    pixels = photos[0]
    known = load(pixels, 0).digest
    assert load(np.asfortranarray(pixels), 1).digest == known
    assert load(Image.fromarray(pixels), 2).digest == known
    others = [pixels.astype(np.int16), pixels.astype(float), pixels[::-1], pixels[1:]]
    others += [pixels.reshape(640, 427, 3)]
    digests = {load(other, 0).digest for other in others}
    assert len(digests | {known}) == 1 + len(others)
