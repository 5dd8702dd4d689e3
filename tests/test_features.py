"""VGG19Features as scikit-learn sees it."""

import linecache
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image, ImageOps
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils._param_validation import InvalidParameterError

from skvgg import BadImageWarning, VGG19Features
from skvgg._network.vgg19 import VGG19

from .conftest import run_python


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
    assert names[0] == "block1_pool_avg_0"
    assert names[64] == "block2_pool_avg_0"
    assert names[-1] == "block2_pool_avg_127"


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


def test_order_and_subset_do_not_change_an_images_features(tiles):
    X = tiles[0][:6]
    order = [5, 0, 3]
    rows = small().transform(X)[order]
    np.testing.assert_allclose(small().transform(X[order]), rows, rtol=1e-4, atol=1e-3)


def test_gray_and_rgb_forms_of_a_gray_image_give_the_same(tiles):
    gray = tiles[0][:2, ..., 0]
    rgb = np.repeat(gray[..., None], 3, axis=3)
    np.testing.assert_array_equal(small().transform(gray), small().transform(rgb))


@pytest.mark.parametrize("layers", ["block1_pool", ("block1_pool", "block2_conv1")])
def test_both_poolings_of_a_layer_have_names_of_their_own(tiles, layers):
    X = [Image.fromarray(tile) for tile in tiles[0][:2]]
    both = [(name, small(layer=layers, pooling=name)) for name in ("avg", "max")]
    union = FeatureUnion(both, verbose_feature_names_out=False)
    columns = ColumnTransformer(
        [(name, features, ["photo"]) for name, features in both],
        verbose_feature_names_out=False,
    )
    united = union.set_output(transform="pandas").fit_transform(X)
    frame = pd.DataFrame({"photo": pd.Series(X, dtype=object)})
    table = columns.set_output(transform="pandas").fit_transform(frame)
    assert list(united.columns) == list(table.columns)
    assert len(set(table.columns)) == table.shape[1]
    assert table.columns[0] == "block1_pool_avg_0"
    assert "block1_pool_max_63" in table.columns


def test_what_is_not_pooled_is_named_after_its_layer_alone():
    for pooling in (None, "avg"):
        names = small(layer=["flatten", "fc1"], pooling=pooling)
        assert list(names.get_feature_names_out()[[0, -1]]) == ["flatten_0", "fc1_4095"]
    assert small(pooling=None).get_feature_names_out()[0] == "block2_pool_0"


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
    import keras

    from skvgg import weights
    from skvgg._definition.architecture import parameter_shapes

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
        ({"layer": "block6_conv1"}, "unknown: 'block6_conv1'.*block1_conv1"),
        ({"layer": ["block1_pool", "fc3"]}, "unknown: 'fc3'.*block1_conv1"),
        ({"layer": []}, "empty"),
        ({"layer": ["fc1", "fc1"]}, "duplicates"),
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
            {"weights": "imagenet", "layer": "fc2", "image_size": 128},
            "'fc1' and 'fc2'.*need image_size=224",
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


def test_fit_names_a_missing_image():
    with pytest.raises(FileNotFoundError, match=r"X\[0\] \('gone\.jpg'\)"):
        small().fit(["gone.jpg"])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"layer": np.array(3)}, r"layer=array\(3\) is unknown: '3'\. Expected one"),
        ({"layer": [3]}, r"unknown: '3'"),
        ({"layer": "block4"}, r"layer='block4' is.* Did you mean 'block4_pool'\? Exp"),
        ({"layer": ["fc1", "fc3"]}, r"is unknown: 'fc3'\. Did you mean 'fc[12]'\? Exp"),
        ({"layer": "FC2"}, r"Did you mean 'fc2'\? Exp"),
        ({"layer": "block1_conv3"}, r"Did you mean 'block\d_conv\d'\? Exp"),
        ({"memory_layers": "stage"}, r"memory_layers='stage'.* Did you mean 'stages'"),
        ({"memory_layers": ["stages"]}, r"is invalid\. Pass 'stages' alone, not in a"),
        ({"memory_layers": ["block4"]}, r"memory_layers=.* Did you mean 'block4_pool'"),
        ({"layer": np.array([])}, "empty"),
        ({"memory_layers": np.array(3)}, r"memory_layers=array\(3\) is unknown"),
        ({"image_size": True}, r"image_size=True; expected an int or \(height, width"),
        ({"image_size": (64, True)}, r"image_size=\(64, True\); expected"),
        ({"flattened_shape": (True, 8)}, r"flattened_shape=\(True, 8\); expected"),
        ({"fill_value": 256}, "'fill_value' parameter"),
        ({"fill_value": -1}, "'fill_value' parameter"),
        ({"fill_value": (1, 2)}, r"fill_value=\(1, 2\); expected"),
        ({"fill_value": (1, 2, 256)}, r"fill_value=\(1, 2, 256\); expected"),
        ({"fill_value": [1, 2, 0.5]}, r"fill_value=\[1, 2, 0\.5\]; expected"),
        ({"fill_value": True}, "fill_value=True; expected"),
        ({"memory": "x" * 300}, "memory='xxx.*cannot be a folder.*Choose another"),
        ({"memory": "a\0b"}, "memory=.*cannot be a folder.*Choose another"),
        (
            {"memory": joblib.Memory("y" * 300, backend="skvgg", verbose=0)},
            r"memory=Memory\(.*cannot be a folder",
        ),
    ],
)
def test_a_parameter_of_a_strange_type_is_refused_by_name(tiles, params, message):
    for method in ("fit", "transform"):
        with pytest.raises(ValueError, match=message):
            getattr(small(**params), method)(tiles[0][:1])
    if "memory" in params:
        with pytest.raises(ValueError, match=message):
            small(**params).cache_info()


def test_nan_in_pixels_is_told_as_scikit_learn_tells_it(tiles):
    X = tiles[0][:2].astype(float)
    X[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match=r"X\[1\]: it contains NaN"):
        small().transform(X)


# Layers and weights that go together


def test_flatten_of_pretrained_weights_is_the_last_pooling_at_any_size(
    tiles, keras_notop
):
    X, (_, path) = tiles[0][:2], keras_notop
    rows = VGG19Features(path, layer="flatten", image_size=(64, 32)).transform(X)
    pool = VGG19Features(path, layer="block5_pool", image_size=(64, 32)).transform(X)
    assert rows.max() > 0
    np.testing.assert_array_equal(rows, pool)


def suggested_by(error):
    """Return what the line makes with which an error ends."""
    line = str(error)[str(error).index("VGG19Features(") :]
    return eval(line, {"VGG19Features": VGG19Features})


def test_weights_without_fully_connected_layers_end_their_error_in_a_line_that_works(
    tiles, keras_notop
):
    X, (_, path) = tiles[0][:1], keras_notop
    with pytest.raises(ValueError, match="'hed' have no fully connected") as caught:
        VGG19Features("hed").fit(X)
    features = suggested_by(caught.value)
    assert features.weights == "hed"
    assert features.transform(X).shape == (1, 256 + 512 + 512)
    with pytest.raises(ValueError, match=r"end before .* 'fc1'") as caught:
        VGG19Features(path).transform(X)
    features = suggested_by(caught.value)
    assert features.weights == str(path)
    assert features.transform(X).shape == (1, 256 + 512 + 512)


# The colour around padded images


@pytest.mark.parametrize("colour", [120, (200, 10, 90)])
def test_fill_value_is_the_colour_around_a_padded_image(photos, colour):
    padded = [
        ImageOps.pad(
            Image.fromarray(photo),
            (32, 32),
            Image.Resampling.BILINEAR,
            color=(colour,) * 3 if isinstance(colour, int) else colour,
        )
        for photo in photos
    ]
    rows = small(resize="pad", fill_value=colour).transform(photos)
    np.testing.assert_array_equal(rows, small().transform(padded))
    assert not np.allclose(rows, small(resize="pad").transform(photos))


def test_stored_rows_know_their_fill_value_where_it_matters(photos, tmp_path):
    X = photos[:1]
    entries = []
    for resize, colour in (
        ("pad", 0),
        ("pad", (0, 0, 0)),
        ("pad", 9),
        ("pad", [9, 9, 9]),
        ("pad", (9, 9, 8)),
        ("crop", 9),
        ("crop", 8),
    ):
        features = small(resize=resize, fill_value=colour, memory=tmp_path)
        rows = features.transform(X)
        fresh = features.set_params(memory=None).transform(X)
        np.testing.assert_allclose(rows, fresh, rtol=1e-5)
        entries.append(small(memory=tmp_path).cache_info().entries)
    assert entries == [1, 1, 2, 2, 3, 4, 4]


# Progress


def test_a_notebook_shows_the_last_state_of_the_progress_bar_as_text():
    """A saved notebook keeps what went to standard error, and no state of widgets."""
    code = """
import sys, types

class Anything:  # stands for IPython and for ipywidgets
    def __init__(self, *args, **kwargs):
        self.__dict__.update(children=args[0] if args else (), style=self)
    def __call__(self, *args, **kwargs):
        return Anything()
    def __getattr__(self, name):
        return Anything()

for name in ("IPython", "IPython.display", "ipykernel", "ipykernel.zmqshell",
             "ipywidgets"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["IPython"].get_ipython = Anything()
sys.modules["IPython.display"].display = Anything()
for name in ("HTML", "FloatProgress"):
    setattr(sys.modules["ipywidgets"], name, type(name, (Anything,), {}))
class HBox(Anything):
    def __init__(self, children=()):
        self.children = children
sys.modules["ipywidgets"].HBox = HBox
sys.modules["IPython"].display = sys.modules["IPython.display"]
from tqdm.autonotebook import tqdm
assert tqdm.__module__ == "tqdm.notebook"  # so it does take this for a notebook

from skvgg import VGG19Features
from skvgg.datasets import find_bad_images
X = [b"none", b"of them", b"needs TensorFlow"]
features = VGG19Features(None, random_state=0, verbose=1, on_error="nan")
features.transform(X)
find_bad_images(X, verbose=1)
"""
    done = run_python("import warnings; warnings.simplefilter('ignore')\n" + code)
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if "image" in line]
    for counts in (True, False):  # of transform, of find_bad_images
        shown = [line for line in lines if ("=" in line) == counts]
        assert shown[-1].startswith("100%")
        assert "3/3" in shown[-1]


# Warnings


def line_of(warning):
    """Return the line of code that a warning points at."""
    assert warning.filename == __file__
    return linecache.getline(warning.filename, warning.lineno).strip()


def test_a_warning_points_at_the_line_that_called_and_names_paths(tiles, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_text("no image")
    X = [tiles[0][0], str(path)]
    features = small(on_error="nan")
    model = make_pipeline(features, FunctionTransformer())
    union = FeatureUnion([("features", features)])
    with pytest.warns(BadImageWarning) as record:
        features.transform(X)
        features.fit_transform(X)
        features.set_output(transform="pandas").transform(X)
        model.transform(X)
        union.fit_transform(X)
        GridSearchCV(model, {}, cv=2, scoring=lambda *_: 0.0).fit([*X, *X])
    assert [line_of(warning).partition("(")[0] for warning in record[:5]] == [
        "features.transform",
        "features.fit_transform",
        "features.set_output",
        "model.transform",
        "union.fit_transform",
    ]
    assert {line_of(warning)[:12] for warning in record[5:]} == {"GridSearchCV"}
    for warning in record:
        assert repr(str(path)) in str(warning.message)


def test_every_warning_of_a_transform_points_at_the_line_that_called(
    tiles, tmp_path, monkeypatch
):
    def run_out_of_memory(self, pixels, outputs, preprocessing, engine, tell, **_):
        tell("The device ran out of memory")
        return [np.zeros((len(pixels), 128), np.float32)]

    monkeypatch.setattr(VGG19, "features", run_out_of_memory)
    (tmp_path / "file").write_text("in the way of the store's folder")
    features = small(memory=tmp_path / "file" / "cache")
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        features.transform(tiles[0][:1] / 255)
    texts = ("nearly black", "store in", "ran out of memory")
    for text in texts:
        (warning,) = (w for w in record if text in str(w.message))
        assert line_of(warning) == "features.transform(tiles[0][:1] / 255)"
    assert len(record) == len(texts)


def test_a_warning_can_be_pickled_with_its_bad_images():
    warning = BadImageWarning("2 of them", {1: "X[1]: odd", 7: "X[7]: odd"})
    warning.add_note("a note")
    copy = pickle.loads(pickle.dumps(warning))
    assert type(copy) is BadImageWarning
    assert str(copy) == "2 of them"
    assert copy.bad_images == warning.bad_images
    assert copy.__notes__ == ["a note"]


def test_a_warning_that_is_an_error_comes_back_from_another_process(monkeypatch):
    code = """
import joblib, sklearn.utils.parallel
from skvgg import BadImageWarning, VGG19Features

features = VGG19Features(None, random_state=0, on_error="nan")
X = [b"no image", b"nor is this"]  # so TensorFlow is not needed
for module in (joblib, sklearn.utils.parallel):
    work = [module.delayed(features.transform)(X) for _ in range(2)]
    try:
        module.Parallel(n_jobs=2)(work)
    except BadImageWarning as warning:
        print([*warning.bad_images], "2 of 2 images" in str(warning))
"""
    monkeypatch.setenv("PYTHONWARNINGS", "error::UserWarning")
    assert run_python(code).stdout == "[0, 1] True\n[0, 1] True\n"


def test_both_poolings_stand_side_by_side(tiles):
    X = tiles[0][:3]
    params = {"layer": ("block1_pool", "fc1"), "image_size": 32, "random_state": 0}
    both = VGG19Features(None, pooling=("avg", "max"), **params)
    avg, high = (
        VGG19Features(None, pooling=p, **params).transform(X) for p in ("avg", "max")
    )
    expected = np.hstack([avg[:, :64], high])
    np.testing.assert_array_equal(both.transform(X), expected)
    names = both.get_feature_names_out()
    assert [names[0], names[64], names[128]] == [
        "block1_pool_avg_0",
        "block1_pool_max_0",
        "fc1_0",
    ]
    for pooling in (("avg", "avg"), ("mean",), ()):
        with pytest.raises(ValueError, match="expected None, 'avg', 'max', or several"):
            VGG19Features(None, pooling=pooling, **params).transform(X)
