"""load_image_folder, beside scikit-learn's load_files."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_files

from skvgg.datasets import load_image_folder


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


def test_hidden_files_and_other_files_are_counted_and_left_out(folder):
    (folder / "cats" / ".hidden.png").write_bytes(b"")
    (folder / "cats" / ".thumbs").mkdir()
    (folder / "cats" / ".thumbs" / "1.png").write_bytes(b"")
    (folder / "cats" / "notes.txt").write_text("a text")
    (folder / ".git").mkdir()
    (folder / ".git" / "1.png").write_bytes(b"")
    (folder / "README.png").write_bytes(b"")
    photos = load_image_folder(folder)
    assert len(photos.data) == 4
    assert photos.n_skipped == 3


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
    with pytest.raises(ValueError, match=r"0 sub-folder\(s\).*one a class"):
        load_image_folder(tmp_path)


def test_a_file_is_refused(folder):
    with pytest.raises(ValueError, match="is a file"):
        load_image_folder(folder / "cats" / "2.png")
