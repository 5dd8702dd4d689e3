"""Errors and warnings about images: data first, text where it is shown."""

import copy
import pickle

import pytest

from skvgg.exceptions import ImageError, ImageNotFoundError, ImageWarning

KINDS = [ImageError, ImageNotFoundError, ImageWarning]


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_names_the_image_the_reason_and_the_remedy(kind):
    error = kind(3, "a.jpg", "too large", "Pass a smaller one.", "X_test")
    assert str(error) == "X_test[3] ('a.jpg'): too large. Pass a smaller one."
    assert str(kind(0, None, "too large")) == "X[0]: too large."


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copied", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_keep_all_fields_and_notes(kind, copied):
    error = kind(3, b"a.jpg", "too large", "Pass a smaller one.", "X_test")
    error.add_note("In a block.")
    again = copied(error)
    assert type(again) is kind
    assert vars(again) == vars(error)
    assert str(again) == str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_within_a_part_becomes_that_of_the_whole(kind):
    error = kind(3, "a.jpg", "too large", "Pass a smaller one.")
    whole = error.shifted(100).of(103, "b.jpg", "X_test")
    assert (whole.index, whole.path, whole.input_name) == (103, "b.jpg", "X_test")
    assert whole.explanation == error.explanation


def test_errors_are_caught_as_pythons_own():
    with pytest.raises(FileNotFoundError):
        raise ImageNotFoundError(0, "a.jpg", "no such file")
    with pytest.raises(ValueError, match=r"X\[0\]"):
        raise ImageNotFoundError(0, "a.jpg", "no such file")
