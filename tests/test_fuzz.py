"""Damaged files end in a result or in a named error; the long run is a benchmark."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import fuzz_images

FILES = {kind: make() for kind, (make, _) in fuzz_images.KINDS.items()}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in FILES for name in sorted(FILES[kind])]
)
def test_what_is_not_damaged_is_read(kind, name):
    outcome = fuzz_images.KINDS[kind][1](FILES[kind][name])
    assert outcome == ("pixels" if kind == "images" else "weights")


@pytest.mark.filterwarnings("ignore")  # of Pillow and h5py, about odd files
@settings(max_examples=300, deadline=5000, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_damaged_images(number):
    outcome = fuzz_images.attempt("images", number, FILES["images"])
    assert outcome in ("pixels", "named")


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=30, deadline=60_000, derandomize=True)  # starts processes
@given(st.integers(0, 2**32 - 1))
def test_damaged_weights(number):
    outcome = fuzz_images.attempt("weights", number, FILES["weights"])
    assert outcome in ("weights", "named")
