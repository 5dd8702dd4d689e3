"""Folders, beside scikit-learn's load_files; tables; bad images, beside transform."""

import os
import re
import socket
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.datasets import load_files

from skvgg import BadImageWarning, VGG19Features
from skvgg._images import together
from skvgg._runtime import threads
from skvgg.datasets import find_bad_images, load_image_folder, load_image_table

from .conftest import features


@pytest.fixture
def folder(tmp_path):
    for name in ("dogs", "cats"):
        (tmp_path / name).mkdir()
        for i in (10, 2):
            Image.new("RGB", (40, 30), (i, i, i)).save(tmp_path / name / f"{i}.png")
    return tmp_path


def test_classes_and_targets_are_those_of_load_files(folder):
    photos = load_image_folder(folder)
    files = load_files(folder, load_content=False)
    assert list(photos.target_names) == files.target_names == ["cats", "dogs"]
    expected = dict(zip(files.filenames, files.target, strict=True))
    assert dict(zip(photos.data, photos.target, strict=True)) == expected
    assert photos.n_skipped == 0


def test_order_is_sorted(folder):
    photos = load_image_folder(str(folder))
    assert list(photos.data) == sorted(photos.data)
    np.testing.assert_array_equal(photos.target, [0, 0, 1, 1])
    assert photos.filenames is photos.data


def test_other_files_are_counted_and_left_out_and_hidden_ones_are_nobodys(folder):
    (folder / "cats" / ".hidden.png").write_bytes(b"")
    (folder / "cats" / ".thumbs").mkdir()
    (folder / "cats" / ".thumbs" / "1.png").write_bytes(b"")
    (folder / "cats" / "notes.txt").write_text("a text")
    (folder / ".git").mkdir()
    (folder / ".git" / "1.png").write_bytes(b"")
    (folder / "README.png").write_bytes(b"")
    photos = load_image_folder(folder)
    assert len(photos.data) == 4
    assert photos.n_skipped == 1


def test_images_behind_links_are_found_and_loops_end(folder):
    outside = folder.parent / f"{folder.name} outside"
    (outside / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png"):
        Image.new("RGB", (8, 8)).save(outside / name)
    cats = folder / "cats"
    (cats / "linked").symlink_to(outside)
    (cats / "again").symlink_to(outside / "deep")  # listed once
    (outside / "deep" / "up").symlink_to(outside)
    (cats / "all").symlink_to(folder)  # not the dogs
    (cats / "itself").symlink_to("itself")
    (cats / "c.png").symlink_to(outside / "a.png")
    (cats / "gone.png").symlink_to(outside / "gone.png")
    with pytest.warns(UserWarning, match=r"2 link\(s\) that lead nowhere.*gone\.png"):
        photos = load_image_folder(folder)
    relative = [str(Path(path).relative_to(folder)) for path in photos.data]
    expected = ["2.png", "10.png", "c.png", "linked/a.png", "again/b.png"]
    assert relative[:-2] == sorted(f"cats/{name}" for name in expected)
    assert photos.n_skipped == 2


@pytest.mark.parametrize(
    ("link", "to", "first"),
    [
        ("self", ".", None),
        ("up", "..", None),
        ("cats/all", "..", None),
        ("cats/d", "../dogs", "dogs"),
        ("kittens", "cats", "cats"),
        ("cats/deep/d", "../../dogs", "dogs"),
    ],
)
def test_links_put_no_image_into_a_second_class(folder, recwarn, link, to, first):
    expected = load_image_folder(folder)
    (folder / link).parent.mkdir(exist_ok=True)
    (folder / link).symlink_to(to)
    photos = load_image_folder(folder)
    np.testing.assert_array_equal(photos.data, expected.data)
    np.testing.assert_array_equal(photos.target, expected.target)
    assert list(photos.target_names) == ["cats", "dogs"]
    said = [str(warning.message) for warning in recwarn]
    assert len(said) == (first is not None)
    for text in said:
        assert repr(str(folder / link)) in text
        assert repr(str(folder / first)) in text


def test_a_folder_that_two_classes_link_to_belongs_to_the_one_nearer_the_top(folder):
    outside = folder.parent / f"{folder.name} outside"
    outside.mkdir()
    Image.new("RGB", (8, 8)).save(outside / "a.png")
    (outside / "gone.png").symlink_to("nowhere.png")
    (folder / "cats" / "birds").symlink_to(outside)
    (folder / "wings").symlink_to(outside)
    with (
        pytest.warns(UserWarning, match="cats/birds' is left out.*wings'"),
        pytest.warns(UserWarning, match=r"1 link\(s\) that lead nowhere"),
    ):
        photos = load_image_folder(folder)
    assert list(photos.target_names) == ["cats", "dogs", "wings"]
    assert np.bincount(photos.target).tolist() == [2, 2, 1]
    assert photos.n_skipped == 1


def test_what_programs_leave_beside_images_is_skipped_in_silence(folder, recwarn):
    for name in ("__MACOSX/._0.jpg", "cats/.ipynb_checkpoints/0-checkpoint.png"):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(b"")
    for name in ("Thumbs.db", "desktop.ini", "._2.png", ".DS_Store"):
        (folder / "cats" / name).write_bytes(b"")
    photos = load_image_folder(folder)
    assert list(photos.target_names) == ["cats", "dogs"]
    assert (len(photos.data), photos.n_skipped, len(recwarn)) == (4, 0, 0)


def test_excluded_twins_are_left_out_by_name_or_path(folder):
    for name in ("cats/2_mirror.png", "dogs/10_mirror.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    (folder / "mirrored_mirror").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "mirrored_mirror" / "1.png")
    photos = load_image_folder(folder, exclude="*_mirror*")
    assert list(photos.data) == [
        str(folder / name / image)
        for name in ("cats", "dogs")
        for image in ("10.png", "2.png")
    ]
    assert photos.n_skipped == 0
    some = load_image_folder(folder, exclude=["cats/2*", "*_mirror"])
    names = ["10.png", "10.png", "10_mirror.png", "2.png"]
    assert [Path(path).name for path in some.data] == names
    with pytest.warns(UserWarning, match=r"exclude='\*_miror\*' matches no file"):
        load_image_folder(folder, exclude="*_miror*")
    for wrong, message in ((5, "'exclude' parameter"), ([5], r"exclude=\[5\]; expec")):
        with pytest.raises(ValueError, match=message):
            load_image_folder(folder, exclude=wrong)


def test_deeper_folders_belong_to_their_class_and_case_does_not_matter(folder):
    (folder / "cats" / "2024").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "cats" / "2024" / "A.JPG")
    photos = load_image_folder(folder)
    assert photos.target_names[photos.target[1]] == "cats"
    assert len(photos.data) == 5


def test_empty_classes_are_no_classes(folder):
    (folder / "empty").mkdir()
    assert list(load_image_folder(folder).target_names) == ["cats", "dogs"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        load_image_folder(tmp_path / "gone")


def test_a_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"0 subfolder\(s\).*one per class"):
        load_image_folder(tmp_path)


def test_a_file_is_refused(folder):
    with pytest.raises(ValueError, match="is a file"):
        load_image_folder(folder / "cats" / "2.png")


# Tables


@pytest.fixture
def images(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / "photos" / name)
    return tmp_path


def test_a_csv_file_lists_images_beside_it(images):
    table = images / "photos" / "table.csv"
    table.write_text("file,label,share\na.png,dog,1.5\nc.png,cat,2\nb.png,dog,3\n")
    photos = load_image_table(table, "file", "label")
    names = ("a.png", "c.png", "b.png")
    assert photos.data.tolist() == [str(table.parent / name) for name in names]
    assert photos.filenames is photos.data
    assert photos.target.tolist() == [1, 0, 1]
    assert photos.target_names.tolist() == ["cat", "dog"]
    shares = load_image_table(str(table), "file", "share")
    assert shares.target.tolist() == [1.5, 2, 3]
    assert shares.target_names is None


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_a_dataframe_and_a_root(images, frame):
    table = frame({"file": ["a.png", "b.png"], "label": [3, 1]})
    photos = load_image_table(table, "file", "label", images / "photos")
    assert photos.target.tolist() == [3, 1]
    assert Path(photos.data[1]) == images / "photos" / "b.png"


@pytest.mark.parametrize("dtype", ["Int64", "Int8", "UInt16", "int64[pyarrow]"])
def test_labels_that_are_nullable_integers_stay_integers(images, dtype):
    labels = pd.array([3, 1], dtype)
    table = pd.DataFrame({"file": ["a.png", "b.png"], "label": labels})
    photos = load_image_table(table, "file", "label", images / "photos")
    assert photos.target.dtype.kind in "iu"
    assert photos.target.tolist() == [3, 1]


@pytest.mark.parametrize("dtype", ["uint64", "UInt64", "uint64[pyarrow]"])
def test_labels_that_need_all_of_uint64_stay_integers(images, dtype):
    labels = pd.Series([2**63 + 1, 1], dtype=dtype)
    table = pd.DataFrame({"file": ["a.png", "b.png"], "label": labels})
    photos = load_image_table(table, "file", "label", images / "photos")
    assert photos.target.dtype == np.uint64
    assert photos.target.tolist() == [2**63 + 1, 1]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"file": ["a.png"], "label": [1]}, "type dict; expected.*pandas.DataFrame"),
        ([("a.png", 1)], "type list; expected the path of a CSV file"),
        (None, "type NoneType"),
        (pd.Series(["a.png"]), "type Series"),
        (pa.table({"file": ["a.png"], "label": [1]}), r"type Table.*to_pandas\(\)"),
        (pd.DataFrame({0: ["a.png"], 1: [1]}), "no column 'file'; it has 0, 1"),
    ],
)
def test_what_is_no_table_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        load_image_table(table, "file", "label")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_a_table_of_another_encoding_is_refused_by_its_name(images, encoding):
    table = images / "photos" / "table.csv"
    table.write_text("file,label\na.png,Bär\n", encoding=encoding)
    with pytest.raises(ValueError, match=r"table\.csv': not a CSV.* UTF-8.*read_csv"):
        load_image_table(table, "file", "label")


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"path": ["a.png"]}, ValueError, "no column 'file'; it has path, label"),
        ({"file": []}, ValueError, "no rows"),
        ({"file": ["a.png", "z.png"]}, FileNotFoundError, r"Row 1 .*z\.png.*root"),
        ({"file": ["a.png", None]}, ValueError, "Row 1 of the table has no path"),
        ({"file": ["a.png"] * 2, "label": ["x", None]}, ValueError, "Row 1 .*label"),
        ({"file": ["a.png"], "label": [np.nan]}, ValueError, "Row 0 .*no label"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(images, columns, error, message):
    n = len(next(iter(columns.values())))
    table = pd.DataFrame({"label": ["x"] * n} | columns)[[*columns, "label"][:2]]
    with pytest.raises(error, match=message):
        load_image_table(table, "file", "label", images / "photos")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        load_image_table(tmp_path / "none.csv", "file", "label")


def column(images, cells, label="label"):
    """Return what a CSV file with these cells gives: names, or numbers."""
    table = images / "photos" / "table.csv"
    rows = "".join(f"a.png,{cell}\n" for cell in cells)
    table.write_text(f"file,{label}\n{rows}")
    photos = load_image_table(table, "file", label)
    if photos.target_names is None:
        return photos.target
    return photos.target_names[photos.target].tolist()


@pytest.mark.parametrize(
    "cells",
    [
        ["1_1", "11", "01"],
        ["001", "002"],
        ["1e5", "1e3"],
        ["nan", "1"],
        ["inf", "-inf"],
        ["+1", "2"],
        ["1.", "2"],
        [".5", "1"],
        ["0x1", "2"],
        [" 1", "1"],
        ["1", "a"],
        ["1.1", "1.10"],
        ["-0", "0"],
        ["12345678901234567890", "12345678901234567891.5"],
        ["9" * 400, "1.5"],
        ["9" * 30, "1"],
        ["9" * 9000],
        ["0.1", "0.10000000000000001"],
        ["\N{ARABIC-INDIC DIGIT ONE}", "\N{ARABIC-INDIC DIGIT TWO}"],
    ],
)
def test_labels_that_are_not_plain_numbers_stay_the_text_that_they_are(images, cells):
    assert column(images, cells) == cells


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        (["1", "-2", "0", "10"], np.int64),
        (["0.5", "-1.25", "3"], np.float64),
        (["1.50", "2.00", "1.50"], np.float64),
        (["20240131", "20240201"], np.int64),
    ],
)
def test_labels_that_are_plain_numbers_are_numbers(images, cells, dtype):
    labels = column(images, cells)
    np.testing.assert_array_equal(labels, [float(cell) for cell in cells])
    assert labels.dtype == dtype


def test_a_column_of_paths_is_never_one_of_numbers(images):
    for name in ("001", "1", "1.5"):
        Image.new("RGB", (4, 4)).save(images / name, "PNG")
    table = images / "table.csv"
    table.write_text("file,label\n001,x\n1,y\n1.5,y\n")
    photos = load_image_table(table, "file", "label")
    assert [Path(path).name for path in photos.data] == ["001", "1", "1.5"]
    frame = pd.read_csv(table)  # which has made numbers of them
    with pytest.raises(ValueError, match=r"Row 0 .*no path: 1\.0\. Read .*as text"):
        load_image_table(frame, "file", "label", images)


@pytest.mark.parametrize(
    "missing", [None, np.nan, pd.NA, pd.NaT, np.datetime64("NaT"), ""]
)
@pytest.mark.parametrize("dtype", [object, "string", "Int64", "category"])
def test_a_missing_label_is_named_by_its_row_however_it_is_missing(
    images, missing, dtype
):
    labels = pd.Series([1, 2], dtype=object)
    labels[1] = missing
    if dtype == "Int64" and not (missing is None or missing is pd.NA):
        labels[1] = pd.NA
    table = pd.DataFrame({"file": ["a.png"] * 2, "label": labels.astype(dtype)})
    with pytest.raises(ValueError, match=r"Row 1 of the table has no label"):
        load_image_table(table, "file", "label", images / "photos")


def test_a_row_with_too_many_cells_is_named(images):
    with pytest.raises(ValueError, match=r"Row 1 .*more cells than the header"):
        column(images, ["dog", "dog, black"])
    assert column(images, ["dog", '"dog, black"']) == ["dog", "dog, black"]


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("https://a.org/a.png", ValueError, r"Row 1 .*https://a\.org.*a URL"),
        (".", ValueError, r"Row 1 .*a folder"),
        ("a" * 300, FileNotFoundError, r"Row 1 .*no such file"),
        ("nul\0", FileNotFoundError, r"Row 1 .*no such file"),
    ],
)
def test_a_path_that_transform_would_refuse_is_refused_with_its_row(
    images, path, error, message
):
    table = pd.DataFrame({"file": ["a.png", path], "label": [0, 1]})
    with pytest.raises(error, match=message):
        load_image_table(table, "file", "label", images / "photos")


# Bad images


@pytest.fixture
def mixed(images):
    """Images of all kinds, with what the reason of each bad one has in it, or None."""
    good, folder = images / "photos" / "a.png", images / "photos"
    (folder / "text.jpg").write_text("a text")
    noise = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    Image.fromarray(noise).save(folder / "half.png")
    (folder / "half.png").write_bytes((folder / "half.png").read_bytes()[:900])
    (folder / "copy.jpg").write_text("a text")
    Image.new("L", (30, 30)).save(folder / "large.png")
    lazy = Image.open(folder / "large.png")
    dark = np.full((4, 4, 3), np.nan)
    images = [
        (good, None),
        (folder / "text.jpg", r"X\[1\] \('.*text\.jpg'\): not an image"),
        (folder / "half.png", r"X\[2\] \('.*half\.png'\).*truncated"),
        (str(folder / "copy.jpg"), r"X\[3\] \('.*copy\.jpg'\): not an image"),
        ("gone.jpg", r"X\[4\] \('gone\.jpg'\): no such file"),
        ("a" * 300, r"X\[5\] .*no such file"),
        (good.read_bytes(), None),
        (b"no image", r"X\[7\]: not an image"),
        (None, r"X\[8\]: an object of type NoneType"),
        (dark, r"X\[9\]: it contains NaN"),
        (np.full((4, 4), 300), r"X\[10\]: pixels lie in 300"),
        (Image.new("RGB", (30, 30)), None),
        (lazy, r"X\[12\] \('.*large\.png'\).*max_pixels=899"),
        ("https://example.org/a.jpg", r"X\[13\] .*a URL"),
        (folder, r"X\[14\] .*a folder"),
        (np.zeros((3, 8, 8), np.uint8), r"X\[15\]: an array of shape .*channels-first"),
        (np.zeros((4, 4), np.uint8), None),
    ]
    yield [image for image, _ in images], [reason for _, reason in images]
    lazy.close()


def test_bad_images_are_those_of_which_transform_warns(mixed):
    images, reasons = mixed
    bad = find_bad_images(images, max_pixels=899)
    assert [*bad] == [i for i, reason in enumerate(reasons) if reason is not None]
    for i, reason in bad.items():
        assert re.match(reasons[i], str(reason)), reason
    features = VGG19Features(
        None,
        layer="block1_pool",
        pooling="avg",
        image_size=32,
        random_state=0,
        on_error="nan",
        max_pixels=899,
    )
    with pytest.warns(BadImageWarning) as record:
        rows = features.transform(images)
    warned_of = record[0].message.bad_images
    assert {i: str(error) for i, error in warned_of.items()} == {
        i: str(error) for i, error in bad.items()
    }
    assert np.isnan(rows[[*bad]]).all()
    assert not np.isnan(np.delete(rows, [*bad], axis=0)).any()


@pytest.mark.parametrize(
    "wrap",
    [
        list,
        lambda paths: np.array(paths, dtype=object),
        lambda paths: pd.DataFrame({"path": paths}, index=[7, 8]),
        lambda paths: pl.Series(paths),
    ],
)
def test_bad_images_of_every_container_go_by_their_place(images, wrap):
    paths = [str(images / "photos" / "a.png"), "gone.jpg"]
    assert [*find_bad_images(wrap(paths))] == [1]


def test_there_are_no_bad_images_among_good_ones(images):
    assert find_bad_images([images / "photos" / "a.png"] * 2) == {}
    assert find_bad_images(np.zeros((3, 8, 8), np.uint8)) == {}


def test_bad_rows_of_a_table_of_flattened_images_are_found():
    rows = np.zeros((3, 64))
    rows[1, 5] = np.nan
    assert [*find_bad_images(rows, flattened_shape=(8, 8))] == [1]
    with pytest.raises(ValueError, match="63 features, expected 64"):
        find_bad_images(rows[:, :63], flattened_shape=(8, 8))


@pytest.mark.parametrize(
    ("X", "params", "message"),
    [
        ([], {}, r"0 sample\(s\)"),
        ("a.jpg", {}, r"single str"),
        (None, {}, "got None"),
        (Path("tests").glob("*"), {}, r"list\(X\)"),
        ([b""], {"max_pixels": 0}, "'max_pixels' parameter"),
        ([b""], {"flattened_shape": (8,)}, "flattened_shape=.*expected"),
    ],
)
def test_what_is_no_set_of_images_is_refused_as_by_transform(X, params, message):
    with pytest.raises(ValueError, match=message):
        find_bad_images(X, **params)


def test_images_are_checked_in_as_many_threads_as_are_allowed(monkeypatch):
    met, decode = threading.Barrier(3, timeout=60), together.decode

    def meet(content, *settings):
        met.wait()
        return decode(content, *settings)

    monkeypatch.setattr(threads, "max_threads", lambda: 3)
    monkeypatch.setattr(together, "decode", meet)
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    assert find_bad_images(images) == {}


def test_open_files_stand_where_they_stood(images):
    with (images / "photos" / "a.png").open("rb") as file:
        assert find_bad_images([file, file]) == {}
        assert file.tell() == 0


def test_a_nearly_black_image_is_warned_of_as_by_transform():
    with pytest.warns(UserWarning, match=r"X\[0\].*nearly black") as record:
        assert find_bad_images([np.full((8, 8), 0.5)]) == {}
    assert record[0].filename == __file__


def test_a_check_shows_its_progress_if_asked(capfd):
    X = np.zeros((3, 8, 8), np.uint8)
    find_bad_images(X)
    assert capfd.readouterr() == ("", "")
    find_bad_images([*X, b""], verbose=1)
    assert "4/4" in capfd.readouterr().err


def test_paths_of_a_table_without_a_root_stay_as_they_are(images, monkeypatch):
    monkeypatch.chdir(images / "photos")
    table = pd.DataFrame({"file": ["a.png", "b.png"], "label": [0, 1]})
    photos = load_image_table(table, "file", "label")
    assert photos.data.tolist() == ["a.png", "b.png"]


@pytest.mark.parametrize("as_csv", [False, True])
def test_a_column_that_stands_twice_is_refused(tmp_path, as_csv):
    rows = [
        ["path", "label", "label"],
        ["a.png", "cat", "cat"],
        ["b.png", "dog", "dog"],
    ]
    table = pd.DataFrame(rows[1:], columns=rows[0])
    if as_csv:
        table = tmp_path / "table.csv"
        table.write_text("\n".join(map(",".join, rows)))
    with pytest.raises(ValueError, match="several columns named 'label'"):
        load_image_table(table, "path", "label", root=tmp_path)


def test_a_folder_without_a_readable_image_is_no_class_and_that_is_said(tmp_path):
    for name in ("cat", "dog", "raw"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / ("1.nef" if name == "raw" else "1.png")
        Image.new("RGB", (32, 32)).save(path, format="PNG")
    with pytest.warns(UserWarning, match=r"raw' contains 1 file\(s\), but none with"):
        photos = load_image_folder(tmp_path)
    assert list(photos.target_names) == ["cat", "dog"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_devices_are_named_as_what_they_are(tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        for path, kind in (
            (pipe, r"pipe \(FIFO\)"),
            ("/dev/null", "device"),
            (tmp_path / "s", "socket"),
        ):
            with pytest.raises(ValueError, match=rf"X\[0\] .*: a {kind}; expected"):
                features().transform([path])
            with pytest.raises(ValueError, match=rf"weights=.* is a {kind}; expected"):
                VGG19Features(path).fit([np.zeros((9, 9), "u1")])
            with pytest.raises(ValueError, match=f"is a {kind}; expected a CSV file"):
                load_image_table(path, "path", "label")


@pytest.mark.parametrize(
    "as_bytes",
    [
        lambda paths: np.array(paths).astype("S"),
        lambda paths: [path.encode() for path in paths],
        lambda paths: pd.DataFrame({"path": [path.encode() for path in paths]}),
    ],
    ids=["array", "list", "table"],
)
def test_bytes_that_look_like_paths_are_not_taken_for_images(images, as_bytes):
    paths = sorted(map(str, (images / "photos").iterdir()))
    message = r"X\[0\]: b'.*a\.png' looks like a path; .*os\.fsdecode"
    with pytest.raises(ValueError, match=message):
        features().transform(as_bytes(paths))
    with pytest.raises(ValueError, match="looks like a path"):
        features().transform([b"a.png"])  # of another working directory
    rows = features().transform([Path(path).read_bytes() for path in paths])
    np.testing.assert_array_equal(rows, features().transform(paths))
    table = pd.DataFrame({"file": [path.encode() for path in paths], "y": 1})
    with pytest.raises(ValueError, match=r"Row 0 .* no path.* It is bytes; decode"):
        load_image_table(table, "file", "y")
