"""Fine-tuning: each view of an image runs through the frozen layers once."""

from collections import namedtuple

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from skvgg import (
    VGG19Features,
)
from skvgg._definition.architecture import Output
from skvgg._extraction import views
from skvgg._extraction.recipe import Recipe
from skvgg._finetune import stored
from skvgg._network import vgg19
from skvgg.exceptions import BadImageWarning, ImageError

from .finetuning import assert_same, small


@pytest.fixture
def passes(monkeypatch):
    """Count the images that go through the network from its first layer."""
    seen = []
    features = vgg19.VGG19.features

    def count(self, inputs, *args, start=None, **kwargs):
        kwargs["start"] = start
        if start is None:
            seen.append(len(inputs))
        return features(self, inputs, *args, **kwargs)

    monkeypatch.setattr(vgg19.VGG19, "features", count)
    return seen


# Once an image


def test_the_frozen_layers_run_once_an_image(cuts, passes, tmp_path):
    X, y = cuts
    params = {"memory": tmp_path, "trainable": "block2", "max_iter": 5}
    small(**params).fit(X, y)
    assert sum(passes) == len(X)
    small(**params, learning_rate_init=1e-4).fit(X, y)
    assert sum(passes) == len(X)
    cross_val_score(small(**params), X, y, cv=2)
    assert sum(passes) == len(X)  # not even for the folds' test images


def test_each_view_runs_once_as_well(cuts, passes, tmp_path):
    X, y = cuts
    small(memory=tmp_path, augment="flips").fit(X, y)
    assert sum(passes) == 4 * len(X)
    small(memory=tmp_path, augment="flip", max_iter=1).fit(X, y)
    assert sum(passes) == 4 * len(X)


@pytest.mark.parametrize("params", [{}, {"augment": "flip", "average_views": True}])
@pytest.mark.parametrize("trainable", ["block2", "block1_conv2", "all"])
def test_predictions_begin_with_stored_maps(cuts, passes, tmp_path, trainable, params):
    X, y = cuts
    params = {"trainable": trainable, **params}
    n_of_others = 10  # which are not stored
    clf = small(memory=tmp_path, **params).fit(X[n_of_others:], y[n_of_others:])
    fitted = small(**params).fit(X[n_of_others:], y[n_of_others:])
    expected = fitted.predict_proba(X)
    passes.clear()
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-6)
    n_views = 1 + bool(params.get("augment"))
    n_new = len(X) if trainable == "all" else n_of_others
    assert sum(passes) == n_views * n_new
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-6)
    assert sum(passes) == n_views * n_new
    # A transformer with the same weights rounds nothing.
    rows = clf.to_features().transform(X)
    exact = fitted.to_features().transform(X)
    np.testing.assert_array_equal(rows, exact)
    if trainable != "all" and n_views == 1:
        np.testing.assert_allclose(clf.head_.predict_proba(rows), expected, atol=0.01)
        assert not np.array_equal(clf.head_.predict_proba(rows), expected)


def test_maps_of_other_preprocessing_are_not_those_of_the_training(cuts, tmp_path):
    """What "auto" means for tuned weights is not what it means for those below."""
    tuned = small(preprocessing="torch").fit(*cuts).features_.weights
    small(memory=tmp_path).fit(*cuts)
    ours = small(weights=tuned, memory=tmp_path).fit(*cuts)
    expected = small(weights=tuned).fit(*cuts).predict_proba(cuts[0])
    np.testing.assert_allclose(ours.predict_proba(cuts[0]), expected, atol=1e-6)


def test_predictions_begin_where_the_last_fit_did(cuts, passes, tmp_path):
    params = {"layer": "block3_pool", "memory": tmp_path, "warm_start": True}
    clf = small(**params).fit(*cuts).set_params(trainable="block3").fit(*cuts)
    passes.clear()
    clf.predict(cuts[0])
    assert passes == []
    alone = small(weights=clf.features_.weights, trainable=None, memory=tmp_path)
    alone.fit(*cuts)
    passes.clear()
    alone.predict(cuts[0])
    assert passes == []


def test_a_number_beyond_float16_concerns_its_own_map_alone():
    output = Output("block1_pool", None)
    recipe = Recipe((output,), (), None, None, map_dtype="float16")
    assert recipe.to_stored(output, np.float32([1, 65504])).dtype == np.float16
    row = np.float32([1, 65600])
    np.testing.assert_array_equal(recipe.to_stored(output, row), row)


def test_maps_are_not_mistaken_for_features(cuts, tmp_path):
    """Maps are kept in float16; the same layer's features are not."""
    X, y = cuts
    params = {"layer": "block1_pool", "image_size": 32, "random_state": 0}
    expected = VGG19Features(None, **params).transform(X)
    small(memory=tmp_path).fit(X, y)
    features = VGG19Features(None, **params, memory=tmp_path)
    np.testing.assert_array_equal(features.transform(X), expected)


def test_float16_maps_cost_nothing_that_can_be_measured(cuts, monkeypatch):
    X, y = cuts
    rounded = small(max_iter=3).fit(X, y)
    monkeypatch.setattr("skvgg._finetune.frozen.MAP_DTYPE", "float32")
    exact = small(max_iter=3).fit(X, y)
    np.testing.assert_allclose(rounded.loss_curve_, exact.loss_curve_, rtol=0.02)
    np.testing.assert_allclose(
        rounded.predict_proba(X), exact.predict_proba(X), atol=0.02
    )


def test_a_temporary_store_is_gone_afterwards(cuts, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    small().fit(*cuts)
    assert [*tmp_path.iterdir()] == []


def test_much_room_is_announced_and_too_little_is_refused(cuts, monkeypatch, tmp_path):
    monkeypatch.setattr(stored, "MUCH", 1e6)
    with pytest.warns(UserWarning, match=r"will take up to 0\.0 GB in .*a later"):
        small(memory=tmp_path).fit(*cuts)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(stored.shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    monkeypatch.setattr(stored, "MUCH", 1e10)
    small(memory=tmp_path, trainable="block2_conv1").fit(*cuts)  # they are there
    model = small(memory=tmp_path / "other")
    with pytest.raises(OSError, match=r"0\.0 GB are free. Choose another `memory`"):
        model.fit(*cuts)
    assert not hasattr(model, "head_")


def test_a_joblib_memory_without_a_folder_is_none(cuts, tuned):
    X, y = cuts
    without = small(memory=joblib.Memory(None, verbose=0)).fit(X, y)
    assert_same(without, tuned)
    np.testing.assert_array_equal(without.predict(X), y)


def test_a_store_that_is_full_is_named_and_nothing_is_learned(cuts, monkeypatch):
    monkeypatch.setattr("skvgg._store.cache.Cache.put", lambda self, arrays: None)
    model = small()
    with pytest.raises(OSError, match="no longer in `memory`"):
        model.fit(*cuts)
    assert not hasattr(model, "head_")


# Views


def test_flips_are_those_of_numpy(cuts):
    X = cuts[0][:3]
    params = {"layer": "block1_pool", "pooling": "avg", "image_size": (32, 40)}
    alone = VGG19Features(None, **params, random_state=0)
    mean = clone(alone).set_params(views="flips").transform(X)
    flipped = [X, X[:, :, ::-1], X[:, ::-1], X[:, ::-1, ::-1]]
    expected = np.mean([alone.transform(some) for some in flipped], axis=0)
    np.testing.assert_allclose(mean, expected, rtol=1e-3, atol=1e-2)


def test_bad_images_are_told_of_once_for_all_views(cuts):
    features = VGG19Features(
        None,
        layer="block1_pool",
        image_size=32,
        views="flips",
        on_error="nan",
        random_state=0,
    )
    with pytest.warns(BadImageWarning, match=r"1 of \d+ images") as told:
        rows = features.transform([*cuts[0][:2], "nowhere.png"])
    assert len(told) == 1
    assert np.isnan(rows).all(axis=1).tolist() == [False, False, True]


def test_predictions_may_be_means_over_views(cuts):
    X, y = cuts
    clf = small(augment="flip", average_views=True).fit(X, y)
    mean = clf.predict_proba(X)
    clf.set_params(average_views=False)
    resized = X  # 48 to 32 pixels: stretching commutes with flipping
    expected = (clf.predict_proba(resized) + clf.predict_proba(X[:, :, ::-1])) / 2
    np.testing.assert_allclose(mean, expected, atol=1e-3)


def test_crops_follow_from_the_image_and_the_seed_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    crop = views.RandomCrop(1, seed=0)
    assert np.array_equal(crop(pixels, b"a"), crop(pixels, b"a"))
    others = [crop(pixels, b"b"), views.RandomCrop(2, 0)(pixels, b"a")]
    others += [views.RandomCrop(1, 1)(pixels, b"a"), pixels]
    for other in others:
        assert other.shape == pixels.shape
        assert not np.array_equal(crop(pixels, b"a"), other)


def test_images_of_floats_have_views_as_well(cuts):
    X, y = cuts[0] * np.float32(0.9), cuts[1]
    for augment in ("crop", "flips", lambda pixels, rng: pixels[::-1]):
        clf = small(augment=augment, n_views=2).fit(X, y)
        assert clf.score(X, y) > 0.9


def test_a_callable_makes_views(cuts):
    X, y = cuts
    seen = []

    def darken(pixels, rng):
        seen.append(pixels.shape)
        return (pixels * rng.uniform(0.5, 1)).astype(np.uint8)

    clf = small(augment=darken, n_views=3).fit(X, y)
    assert seen == [(32, 32, 3)] * (2 * len(X))
    assert clf.score(X, y) > 0.9
    with pytest.raises(
        TypeError, match=r"augment=.* returned an array of shape \(3,\)"
    ):
        small(augment=lambda pixels, rng: pixels[0, 0]).fit(X, y)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_of_a_callable_is_no_bad_image(cuts, n_jobs):
    def fail(pixels, rng):
        raise ImageError(1000, "mine.png", "an error of the user")

    with (
        joblib.parallel_config("threading", n_jobs=n_jobs),
        pytest.raises(ImageError, match="an error of the user"),
    ):
        small(augment=fail, n_views=2).fit(*cuts)


def test_averages_need_views_with_names(cuts):
    with pytest.raises(ValueError, match="average_views=True averages over the views"):
        small(average_views=True).fit(*cuts)
