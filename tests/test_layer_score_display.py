"""LayerScoreDisplay: cross-validated scores of layers and poolings."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GroupKFold,
    ShuffleSplit,
    StratifiedKFold,
    ValidationCurveDisplay,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvgg.plotting import LayerScoreDisplay
from skvgg.plotting._pipeline import split_pipeline

from .displays import linear, small

LAYERS = ("block1_pool", "block2_conv2", "block3_pool")


@pytest.fixture(scope="module")
def few(tiles):
    return tiles[0][:16], tiles[1][:16]


def test_scores_are_those_of_each_pipeline_by_itself(few, tmp_path):
    X, y = few
    model = linear()
    display = LayerScoreDisplay.from_estimator(model, X, y, layers=LAYERS, cv=2)
    assert display.scores.shape == (3, 2, 2)
    for i, layer in enumerate(LAYERS):
        for j, pooling in enumerate(("avg", "max")):
            alone = clone(model).set_params(
                vgg19features__layer=layer, vgg19features__pooling=pooling
            )
            expected = cross_val_score(alone, X, y, cv=2)
            np.testing.assert_array_equal(display.scores[i, j], expected)


@pytest.mark.parametrize("has_memory", [False, True])
def test_each_image_goes_through_the_network_once(few, tmp_path, passes, has_memory):
    X, y = few
    model = linear(memory=tmp_path if has_memory else None)
    LayerScoreDisplay.from_estimator(model, X, y, layers=LAYERS, cv=2)
    assert sum(passes) == len(X)
    LayerScoreDisplay.from_estimator(model, X, y, layers=LAYERS, cv=2)
    assert sum(passes) == (1 if has_memory else 2) * len(X)


def test_the_pipeline_is_not_changed(few):
    X, y = few
    model = linear()
    before = {name: str(value) for name, value in model.get_params().items()}
    LayerScoreDisplay.from_estimator(model, X, y, layers=["block1_pool"], cv=2)
    assert {name: str(value) for name, value in model.get_params().items()} == before
    assert not hasattr(model[0], "weights_fingerprint_")


def test_stages_are_the_five_poolings(few):
    X, y = few
    display = LayerScoreDisplay.from_estimator(linear(), X, y, poolings="avg", cv=2)
    assert display.layers == tuple(f"block{i}_pool" for i in range(1, 6))
    assert display.poolings == ("avg",)


def test_a_layer_without_height_and_width_is_scored_once(few):
    X, y = few
    model = linear()
    display = LayerScoreDisplay.from_estimator(
        model, X, y, layers=["block1_pool", "fc1"], cv=2
    )
    np.testing.assert_array_equal(display.scores[1, 0], display.scores[1, 1])
    alone = clone(model).set_params(vgg19features__layer="fc1")
    np.testing.assert_array_equal(
        display.scores[1, 0], cross_val_score(alone, X, y, cv=2)
    )
    fc1_only = LayerScoreDisplay(
        scores=display.scores[1:], layers=["fc1"], poolings=["avg", "max"]
    )
    assert fc1_only.best_pooling is None


def test_a_random_splitter_draws_once(few):
    """Rows that do not depend on the layer get the same score from each."""
    X, y = few

    class Recording(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            trained_on.append(len(X))
            return self

        def predict(self, X):
            return np.repeat(self.classes_[:1], len(X))

    trained_on = []
    cv = ShuffleSplit(4, random_state=np.random.RandomState(0))
    display = LayerScoreDisplay.from_estimator(
        make_pipeline(small(), Recording()), X, y, layers=LAYERS, cv=cv
    )
    assert len(trained_on) == 3 * 2 * 4
    assert len(np.unique(display.scores.reshape(6, 4), axis=0)) == 1
    assert len(np.unique(display.scores[0, 0])) > 1


@pytest.mark.parametrize("routing", [False, True])
def test_groups_reach_the_splitter(few, routing):
    X, y = few
    groups = np.arange(len(X)) // 5
    passed = {"params": {"groups": groups}} if routing else {"groups": groups}
    with config_context(enable_metadata_routing=routing):
        display = LayerScoreDisplay.from_estimator(
            linear(), X, y, layers=["block2_pool"], cv=GroupKFold(3), **passed
        )
        alone = linear(layer="block2_pool", pooling="avg")
        expected = cross_val_score(alone, X, y, cv=GroupKFold(3), **passed)
    np.testing.assert_array_equal(display.scores[0, 0], expected)


def test_params_and_scoring_are_those_of_cross_val_score(few):
    X, y = few
    options = {
        "params": {"logisticregression__sample_weight": np.linspace(0.1, 1, len(X))},
        "scoring": "neg_log_loss",
        "cv": StratifiedKFold(3, shuffle=True, random_state=0),
        "n_jobs": 1,
    }
    display = LayerScoreDisplay.from_estimator(
        linear(), X, y, layers=["block2_pool"], poolings=["max"], **options
    )
    alone = linear(layer="block2_pool", pooling="max")
    expected = cross_val_score(alone, X, y, **options)
    np.testing.assert_allclose(display.scores[0, 0], expected, rtol=1e-4)
    assert display.ax_.get_ylabel() == "Negative log loss"


def gain(estimator, X, y):
    return 1.0


@pytest.mark.parametrize("scoring", [None, "accuracy", "neg_brier_score", gain])
def test_scores_have_the_names_of_scikit_learns_displays(few, scoring):
    X, y = few[0], (few[1] == "china").astype(int)
    display = LayerScoreDisplay.from_estimator(
        linear(), X, y, layers=["block1_pool"], poolings="avg", cv=2, scoring=scoring
    )
    other = ValidationCurveDisplay.from_estimator(
        LogisticRegression(),
        X.mean((1, 2)),
        y,
        param_name="C",
        param_range=[0.1, 1],
        cv=2,
        scoring=scoring,
    )
    assert display.ax_.get_ylabel() == other.ax_.get_ylabel()


def test_weights_drawn_by_fit_are_drawn_once(few, passes):
    X, y = few
    model = linear(random_state=None)
    LayerScoreDisplay.from_estimator(model, X, y, layers=LAYERS, cv=2)
    assert sum(passes) == len(X)


def test_the_best_can_be_set(few):
    X, y = few
    scores = np.zeros((3, 2, 4))
    scores[1, 1] = 1
    display = LayerScoreDisplay(scores=scores, layers=LAYERS, poolings=["avg", "max"])
    assert (display.best_layer, display.best_pooling) == ("block2_conv2", "max")
    assert display.best_score == 1
    model = linear().set_params(**display.best_params)
    assert model.fit(X, y)[0].get_feature_names_out()[0] == "block2_conv2_max_0"


def test_a_score_that_is_missing_is_not_the_best():
    scores = np.array([[[np.nan, 1.0]], [[0.5, 0.5]]])
    display = LayerScoreDisplay(scores=scores, layers=LAYERS[:2], poolings=["avg"])
    assert display.best_layer == "block2_conv2"


def test_layer_scores_are_drawn_as_they_are():
    rng = np.random.default_rng(0)
    display = LayerScoreDisplay(
        scores=rng.random((3, 2, 5)), layers=LAYERS, poolings=["avg", "max"]
    )
    _, ax = plt.subplots()
    assert display.plot(ax, errorbar_kw={"capsize": 7}) is display
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    for j, bars in enumerate(display.errorbars_):
        np.testing.assert_array_equal(bars[0].get_ydata(), display.mean_scores[:, j])
    assert display.best_layer in ax.get_title()
    assert [text.get_text() for text in ax.get_xticklabels()] == list(LAYERS)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(labels) == ["avg", "best", "max"]
    assert display.best_line_.get_ydata() == [display.best_score]
    display.plot()
    assert display.ax_ is not ax


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(small()),
        small(),
    ],
)
def test_a_model_without_the_transformer_or_with_nothing_else_is_refused(few, model):
    with pytest.raises(ValueError, match="first step is a VGG19Features"):
        LayerScoreDisplay.from_estimator(model, *few)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["block9_pool"]}, "layers=.* is unknown: 'block9_pool'"),
        ({"layers": ["block4"]}, r"layers=.* Did you mean 'block4_pool'\?"),
        ({"layers": "stage"}, r"layers='stage' .* Did you mean 'stages'\?"),
        ({"layers": []}, r"layers=.* is empty.*\. Expected 'stages', or"),
        ({"layers": ["fc1", "fc1"]}, "duplicates"),
        ({"poolings": ["min"]}, "poolings=.* is unknown: 'min'"),
    ],
)
def test_unknown_layers_and_poolings_are_refused(few, options, message):
    with pytest.raises(ValueError, match=message):
        LayerScoreDisplay.from_estimator(linear(), *few, **options)


def test_layers_that_the_weights_lack_are_refused(few, keras_notop):
    hed = linear(weights="hed")
    with pytest.raises(ValueError, match="no fully connected layers"):
        LayerScoreDisplay.from_estimator(hed, *few, layers=["block1_pool", "fc1"])
    _, path = keras_notop
    notop = linear(weights=path, image_size=224)
    with pytest.raises(ValueError, match="fc1"):
        LayerScoreDisplay.from_estimator(notop, *few, layers=["fc1"], cv=2)


def test_a_nested_pipeline_keeps_its_names():
    inner = make_pipeline(small(), StandardScaler())
    model = make_pipeline(inner, LogisticRegression())
    step, features, rest = split_pipeline(model)
    assert step == "pipeline__vgg19features"
    assert features is inner[0]
    assert f"{step}__layer" in model.get_params()
    others = {name for name in model.get_params(deep=True) if "vgg19" not in name}
    assert set(rest.get_params()) >= others - {"pipeline__transform_input"}
