"""VGG19Features under scikit-learn's checks, and those it skips for images.

For input that is no 2-D array scikit-learn yields few checks. Those that need no
data are called here by hand; each of the others is repeated for images.
"""

import copy
import inspect
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from joblib import dump, load
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import SkipTestWarning
from sklearn.utils import estimator_checks
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvgg import VGG19Classifier, VGG19Features, VGG19Regressor


def small(**params):
    defaults = {"layer": "block1_pool", "pooling": "avg", "image_size": 32}
    return VGG19Features(None, **{**defaults, "random_state": 0, **params})


with warnings.catch_warnings():
    # It says that it skips most for such input; the rest of this file is for that.
    warnings.simplefilter("ignore", SkipTestWarning)
    checks = parametrize_with_checks([small()])


@checks
def test_scikit_learns_checks(estimator, check):
    check(estimator)


#: scikit-learn's checks of an estimator that touch no data.
DATA_FREE = (
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
)


@pytest.mark.parametrize("make", [VGG19Features, VGG19Classifier, VGG19Regressor])
@pytest.mark.parametrize("name", DATA_FREE)
def test_checks_of_the_defaults_that_need_no_data(name, make):
    check = getattr(estimator_checks, name, None)
    if check is None:  # the set differs from version to version
        pytest.skip(f"scikit-learn has no {name}")
    check(make.__name__, make())


def test_most_checks_that_need_no_data_exist():
    found = [name for name in DATA_FREE if hasattr(estimator_checks, name)]
    assert len(found) >= 8


@pytest.fixture
def X(tiles):
    return tiles[0][:6]


def test_fit_returns_self_and_changes_no_parameter(X):
    features = small()
    before = copy.deepcopy(features.get_params())
    assert features.fit(X) is features
    assert features.get_params() == before


def test_fit_is_idempotent(X):
    features = small().fit(X)
    first = features.transform(X)
    np.testing.assert_array_equal(features.fit(X).transform(X), first)


@pytest.mark.parametrize("random_state", [0, None])
def test_transform_changes_no_attribute(X, random_state):
    features = small(random_state=random_state).fit(X)
    before = dict(vars(features))
    features.transform(X)
    assert vars(features) == before


def test_x_is_not_changed(X):
    before = X.copy()
    small().fit_transform(X)
    np.testing.assert_array_equal(X, before)
    floats = X.astype("float64")
    small().fit_transform(floats)
    np.testing.assert_array_equal(floats, before)


def test_fit_transform_is_fit_then_transform(X):
    np.testing.assert_array_equal(small().fit_transform(X), small().fit(X).transform(X))
    np.testing.assert_array_equal(
        small().fit_transform(X, y=np.zeros(6)), small().transform(X)
    )


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_a_copy_transforms_the_same(X, copied):
    features = small(random_state=None).fit(X)
    np.testing.assert_array_equal(copied(features).transform(X), features.transform(X))


def test_a_clone_is_not_fitted(X):
    features = small(random_state=None).fit(X)
    assert not hasattr(clone(features), "seed_")


def test_one_by_one_is_all_at_once(X):
    rows = small().transform(X)
    single = np.vstack([small().transform(X[i : i + 1]) for i in range(len(X))])
    np.testing.assert_allclose(single, rows, rtol=1e-4, atol=1e-3)


def test_order_does_not_matter(X):
    order = np.random.default_rng(0).permutation(len(X))
    rows = small().transform(X)[order]
    np.testing.assert_allclose(small().transform(X[order]), rows, rtol=1e-4, atol=1e-3)


def test_readonly_memmaps_are_read(X, tmp_path):
    dump(X, tmp_path / "X")
    mapped = load(tmp_path / "X", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(small().fit_transform(mapped), small().transform(X))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
def test_rows_are_float32_whatever_comes_in(X, dtype):
    features = small(image_size=48)  # floats are resized without rounding
    rows = features.transform(X.astype(dtype))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, features.transform(X), rtol=1e-5)


def test_there_is_no_n_features_in(X, tmp_path):
    features = small().fit(X)
    assert not hasattr(features, "n_features_in_")
    path = tmp_path / "0.png"
    Image.fromarray(X[0]).save(path)
    features.fit(pd.DataFrame({"path": [str(path)]}))
    assert not hasattr(features, "feature_names_in_")
    assert features.transform([str(path)]).shape == (1, 64)


def test_a_pickle_keeps_no_private_state(X):
    features = small().fit(X)
    features.transform(X)
    names = set(features.get_params()) | {"seed_", "weights_fingerprint_"}
    assert {name for name in vars(features) if not name.startswith("_sk")} == names


def test_every_parameter_has_a_constraint_and_stands_in_the_docstring():
    parameters = set(inspect.signature(VGG19Features).parameters)
    assert set(VGG19Features._parameter_constraints) == parameters
    lines = inspect.getdoc(VGG19Features).splitlines()
    for name in parameters:
        assert any(line.startswith(f"{name} : ") for line in lines), name


@pytest.mark.parametrize("name", sorted(VGG19Features._parameter_constraints))
def test_each_parameter_is_validated_with_scikit_learns_error(X, name):
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter"):
        small(**({name: object()})).fit(X) if name != "weights" else VGG19Features(
            object(), layer="block1_pool"
        ).fit(X)


# flattened_shape: flattened images


def test_flattened_rows_are_images():
    digits = load_digits()
    rows = digits.data[:5] * (255 / 16)
    images = digits.images[:5] * (255 / 16)
    flat = small(flattened_shape=(8, 8)).fit_transform(rows)
    np.testing.assert_array_equal(flat, small().transform(images))
    frame = pd.DataFrame(rows, columns=digits.feature_names)
    np.testing.assert_array_equal(small(flattened_shape=(8, 8)).transform(frame), flat)


def test_flattened_rgb_rows_are_images(X):
    features = small(flattened_shape=[48, 48, 3])
    rows = features.transform(X.reshape(6, -1))
    np.testing.assert_array_equal(rows, features.transform(X))
    assert features.__sklearn_tags__().input_tags.two_d_array


@pytest.mark.parametrize("flattened_shape", [(8,), (8, 8, 4), (8, 0), (8.0, 8)])
def test_a_wrong_flattened_shape_is_refused(X, flattened_shape):
    with pytest.raises(
        ValueError, match=r"flattened_shape=.*expected \(height, width\)"
    ):
        small(flattened_shape=flattened_shape).fit(X)


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"63 features, expected 64.*\(8, 8\)"):
        small(flattened_shape=(8, 8)).fit(np.zeros((2, 63)))
