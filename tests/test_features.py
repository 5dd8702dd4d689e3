"""VGG19Features as scikit-learn sees it."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from skvgg import VGG19Features


def small(**params):
    """Return a transformer that is quick: two blocks of a random network."""
    defaults = {"weights": None, "layer": "block2_pool", "pooling": "avg"}
    return VGG19Features(**{**defaults, "image_size": 32, "random_state": 0, **params})


def test_transform_needs_no_fit(tiles):
    X, _ = tiles
    rows = small().transform(X[:4])
    assert rows.dtype == np.float32
    assert rows.shape == (4, 128)
    np.testing.assert_array_equal(rows, small().fit(X[:4]).transform(X[:4]))


def test_several_layers_are_concatenated_in_the_order_given(tiles):
    X = tiles[0][:3]
    names = ["block2_pool", "block1_conv1"]
    both = small(layer=names).transform(X)
    parts = [small(layer=name).transform(X) for name in names]
    np.testing.assert_allclose(both, np.hstack(parts), rtol=1e-5)


@pytest.mark.parametrize("layer", ["fc1", ["block1_pool", "flatten"], "block3_conv2"])
@pytest.mark.parametrize("pooling", [None, "max"])
def test_feature_names_are_as_many_as_features(tiles, layer, pooling):
    features = small(layer=layer, pooling=pooling)
    names = features.get_feature_names_out()
    assert features.transform(tiles[0][:1]).shape == (1, len(names))
    assert len(set(names)) == len(names)


def test_feature_names_say_layer_and_index():
    names = small(layer=["block1_pool", "block2_pool"]).get_feature_names_out()
    assert names[0] == "block1_pool_0"
    assert names[64] == "block2_pool_0"
    assert names[-1] == "block2_pool_127"


def test_set_output_gives_dataframes(tiles, tmp_path):
    X = tiles[0][:2]
    plain = small().transform(X)
    pandas = small().set_output(transform="pandas").transform(X)
    polars = small().set_output(transform="polars").transform(X)
    assert isinstance(pandas, pd.DataFrame)
    assert isinstance(polars, pl.DataFrame)
    np.testing.assert_array_equal(pandas, plain)
    np.testing.assert_array_equal(polars, plain)
    assert (
        list(pandas.columns) == polars.columns == list(small().get_feature_names_out())
    )


def test_pandas_output_keeps_the_index(tiles, tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    for path, tile in zip(paths, tiles[0], strict=False):
        Image.fromarray(tile).save(path)
    X = pd.DataFrame({"path": paths}, index=["first", "second"])
    rows = small().set_output(transform="pandas").transform(X)
    assert list(rows.index) == ["first", "second"]


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_batch_size_does_not_change_the_features(tiles, batch_size):
    X = tiles[0][:7]
    rows = small(batch_size=batch_size).transform(X)
    np.testing.assert_allclose(rows, small().transform(X), rtol=1e-4, atol=1e-3)


def test_order_and_subset_do_not_change_a_pictures_features(tiles):
    X = tiles[0][:6]
    order = [5, 0, 3]
    rows = small().transform(X)[order]
    np.testing.assert_allclose(small().transform(X[order]), rows, rtol=1e-4, atol=1e-3)


def test_gray_and_rgb_forms_of_a_gray_picture_give_the_same(tiles):
    gray = tiles[0][:2, ..., 0]
    rgb = np.repeat(gray[..., None], 3, axis=3)
    np.testing.assert_array_equal(small().transform(gray), small().transform(rgb))


# Random weights and their seed


def test_an_int_seed_makes_it_stateless(tiles):
    X = tiles[0][:2]
    features = small().fit(X)
    assert features.seed_ == 0
    np.testing.assert_array_equal(features.transform(X), small().transform(X))
    assert not np.allclose(features.transform(X), small(random_state=1).transform(X))


def test_without_a_seed_fit_draws_one_and_keeps_it(tiles):
    X = tiles[0][:2]
    features = small(random_state=None).fit(X)
    rows = features.transform(X)
    np.testing.assert_array_equal(rows, features.transform(X))
    explained = small(random_state=features.seed_)
    np.testing.assert_array_equal(rows, explained.transform(X))
    again = clone(features).fit(X)
    assert again.seed_ != features.seed_


def test_a_random_state_instance_gives_its_next_seed(tiles):
    seeds = [small(random_state=np.random.RandomState(3)).fit(tiles[0]).seed_] * 2
    shared = np.random.RandomState(3)
    drawn = [small(random_state=shared).fit(tiles[0]).seed_ for _ in range(2)]
    assert drawn[0] == seeds[0]
    assert drawn[1] != drawn[0]


def test_transform_before_fit_without_a_seed_says_what_to_do(tiles):
    with pytest.raises(NotFittedError, match="Call fit first, or set random_state"):
        small(random_state=None).transform(tiles[0])


def test_random_kernels_have_the_deviation_of_keras_he_normal():
    from skvgg import weights
    from skvgg._architecture import parameter_shapes
    from skvgg._tensorflow import import_keras

    keras = import_keras()
    drawn = weights.load(None, parameter_shapes(["block5_pool"], (32, 32)), seed=0)
    for name in ("block1_conv1", "block4_conv2"):
        kernel, bias = drawn.parameters[name]
        expected = keras.initializers.HeNormal(seed=0)(kernel.shape)
        assert kernel.std() == pytest.approx(np.std(expected), rel=0.05)
        assert not bias.any()


# Manners


def test_it_is_a_transformer_that_says_what_it_takes():
    tags = small().__sklearn_tags__()
    assert not tags.requires_fit
    assert not tags.input_tags.two_d_array
    assert tags.input_tags.string
    assert small(random_state=None).__sklearn_tags__().requires_fit
    assert not VGG19Features().__sklearn_tags__().requires_fit


def test_parameters_survive_clone_and_set_params():
    features = small().set_params(layer="fc2", batch_size=3)
    assert clone(features).get_params() == features.get_params()


def test_pickle_holds_parameters_only(tiles):
    features = small()
    rows = features.fit_transform(tiles[0][:2])
    data = pickle.dumps(features)
    assert len(data) < 2000
    np.testing.assert_array_equal(pickle.loads(data).transform(tiles[0][:2]), rows)


def test_verbose_shows_a_progress_bar_and_silence_is_the_default(tiles, capfd):
    small().transform(tiles[0][:2])
    assert capfd.readouterr() == ("", "")
    small(verbose=1).transform(tiles[0][:2])
    assert "2/2" in capfd.readouterr().err


# Bad parameters


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"layer": "block6_conv1"}, "'layer' parameter.*block1_conv1"),
        ({"layer": ["block1_pool", "fc3"]}, "unknown: 'fc3'.*block1_conv1"),
        ({"layer": []}, "empty"),
        ({"layer": ["fc1", "fc1"]}, "repeats"),
        ({"pooling": "mean"}, "'pooling' parameter"),
        ({"image_size": 31}, "at least 32 pixels"),
        ({"image_size": (224, 16)}, "at least 32 pixels"),
        ({"image_size": (224, 224, 3)}, r"\(height, width\)"),
        ({"image_size": (64.5, 64)}, r"\(height, width\)"),
        ({"resize": "squash"}, "'resize' parameter"),
        ({"preprocessing": "tf"}, "'preprocessing' parameter"),
        ({"batch_size": 0}, "'batch_size' parameter"),
        ({"memory": 3}, "'memory' parameter"),
        ({"weights": 3}, "'weights' parameter"),
        (
            {"weights": "imagenet", "layer": "flatten", "image_size": 128},
            "'flatten'.*need 224",
        ),
    ],
)
@pytest.mark.parametrize("method", ["fit", "transform", "fit_transform"])
def test_a_wrong_parameter_is_refused(tiles, params, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(small(**params), method)(tiles[0][:1])


def test_wrong_parameters_raise_scikit_learns_error(tiles):
    with pytest.raises(InvalidParameterError):
        small(pooling="mean").fit(tiles[0])


def test_fit_names_a_missing_weights_file(tiles, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.h5"):
        VGG19Features(tmp_path / "gone.h5").fit(tiles[0])


def test_fit_names_a_missing_picture():
    with pytest.raises(FileNotFoundError, match=r"X\[0\] \('gone\.jpg'\)"):
        small().fit(["gone.jpg"])
