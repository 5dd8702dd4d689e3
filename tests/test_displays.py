"""What all displays have in common: parameters, labels, tables, missing packages."""

import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_predict,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvgg import (
    TFLearnMLPClassifier,
    VGG19Features,
    VGG19Regressor,
)
from skvgg.plotting import (
    EmbeddingDisplay,
    HistoryDisplay,
    LayerScoreDisplay,
    MistakesDisplay,
    NeighborsDisplay,
    SaliencyDisplay,
)
from skvgg.plotting._pipeline import without_samplers

from .conftest import run_python
from .displays import Doubling, SamplingPipeline, linear, small, tuned


def test_groups_of_layer_scores_are_refused_before_images_pass(mislabeled, passes):
    X, y = mislabeled
    options = {"groups": np.arange(len(y)) // 4, "cv": GroupKFold(3)}
    with (
        config_context(enable_metadata_routing=True),
        pytest.raises(ValueError, match="groups are one of the params"),
    ):
        LayerScoreDisplay.from_estimator(linear(), X, y, **options)
    assert sum(passes) == 0


def test_labels_and_targets_that_are_none_are_named(mislabeled, passes):
    X, _ = mislabeled
    with pytest.raises(ValueError, match=r"^y is None; pass the labels of X, one"):
        MistakesDisplay.from_estimator(linear(), X, None)
    with pytest.raises(ValueError, match=r"^y_true is None; pass the labels of X"):
        MistakesDisplay.from_predictions(X, None, np.full((40, 2), 0.5))
    grid = GridSearchCV(LogisticRegression(), {"C": [1]})
    for head in (LogisticRegression(), Ridge(), grid):
        name = type(head).__name__
        with pytest.raises(ValueError, match=f"^y is None, but {name} learns from tar"):
            LayerScoreDisplay.from_estimator(make_pipeline(small(), head), X)
    assert not passes
    clusters = make_pipeline(small(), KMeans(2, random_state=0))
    display = LayerScoreDisplay.from_estimator(
        clusters, X, layers=["block1_pool"], poolings="avg", cv=2
    )
    assert np.isfinite(display.scores).all()


def test_without_matplotlib_or_pandas_the_error_says_how_to_install_it(
    mislabeled, monkeypatch
):
    X, y = mislabeled
    display = MistakesDisplay.from_predictions(X, y, np.full((40, 2), 0.5))
    for module in ("pandas", "matplotlib"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"to_frame needs pandas: pip install pandas"):
        display.to_frame()
    for call in (
        lambda: display.plot(),
        lambda: MistakesDisplay.from_estimator(linear(), X, y),
        lambda: MistakesDisplay.from_predictions(X, y, display.y_proba),
        lambda: NeighborsDisplay.from_estimator(small(), X),
        lambda: NeighborsDisplay.from_features(X, np.eye(40)),
        lambda: HistoryDisplay.from_estimator(TFLearnMLPClassifier()),
        lambda: HistoryDisplay({"head": {"loss": [1]}}).plot(),
        lambda: EmbeddingDisplay.from_estimator(small(), X),
        lambda: LayerScoreDisplay.from_estimator(linear(), X, y),
        lambda: LayerScoreDisplay(
            scores=[[[1]]], layers=["fc1"], poolings=["avg"]
        ).plot(),
        lambda: SaliencyDisplay.from_estimator(linear(), X[0]),
    ):
        with pytest.raises(ImportError, match=r'pip install "skvgg\[plotting\]"'):
            call()


def test_tables_of_nothing_have_their_columns(photos):
    X = np.stack([photos[0][:32, :32], photos[1][:32, :32], photos[0][200:232, :32]])
    display = NeighborsDisplay.from_features(X, np.eye(3), y=[0, 1, 2])
    table = display.to_frame()
    assert len(table) == len(display.pairs) == 0
    assert {"part", "index", "distance", "is_across", "label", "path"} <= set(table)
    assert len(display.indices_) == 3
    display = MistakesDisplay.from_predictions(X, [0, 1, 1], np.eye(2)[[0, 1, 1]])
    assert display.to_frame().shape == (0, 5)
    assert display.ax_.get_legend() is None


@pytest.mark.parametrize("display", [NeighborsDisplay, EmbeddingDisplay])
def test_a_search_without_a_best_estimator_says_why(mislabeled, display):
    X, y = mislabeled
    grid = {"logisticregression__C": [1.0]}
    search = GridSearchCV(linear(), grid, cv=2, refit=False)
    transformers = make_pipeline(small(), StandardScaler())
    for unfitted in (search, GridSearchCV(transformers, {}, cv=2)):
        with pytest.raises(NotFittedError, match="This GridSearchCV is not fitted"):
            display.from_estimator(unfitted, X)
    with pytest.raises(NotFittedError, match="This VGG19Classifier instance is not"):
        display.from_estimator(tuned(), X)
    with pytest.raises(ValueError, match="it was fitted with refit=False"):
        display.from_estimator(search.fit(X, y), X)


def test_tables_of_several_columns_say_what_can_be_done(mislabeled, mislabeled_paths):
    y = mislabeled[1]
    X = pd.DataFrame({"path": mislabeled_paths, "size": np.arange(len(y)) * 1.0})
    model = make_pipeline(
        ColumnTransformer(
            [("images", small(), ["path"]), ("size", "passthrough", [1])]
        ),
        GaussianNB(),
    ).fit(X, y)
    names = {
        "model": model,
        "X": X,
        "y": y,
        "PCA": PCA,
        "cross_val_predict": cross_val_predict,
    }
    for display in (MistakesDisplay, NeighborsDisplay, EmbeddingDisplay):
        names[display.__name__] = display
        for estimator in (model, GridSearchCV(model, {}, cv=2).fit(X, y)):
            with pytest.raises(ValueError, match="DataFrame of 2 columns") as raised:
                display.from_estimator(estimator, X, y=y)
            advice = str(raised.value).split("is that column: ")[1]
            advice = advice.removesuffix(", for a fitted pipeline.").removesuffix(".")
            assert isinstance(eval(advice, names), display)
    with pytest.raises(ValueError, match=r"Select it: X\[\['path'\]\]"):
        EmbeddingDisplay.from_estimator(small(), X)


BAD_PARAMETERS = [
    (MistakesDisplay, {"n_images": 0}, "n_images=0"),
    (MistakesDisplay, {"n_columns": 1.5}, "n_columns=1.5"),
    (NeighborsDisplay, {"n_images": 0}, "n_images=0"),
    (NeighborsDisplay, {"n_neighbors": 0}, "n_neighbors=0"),
    (NeighborsDisplay, {"threshold": -1}, "threshold=-1"),
    (NeighborsDisplay, {"metric": "nonsense"}, "'metric' parameter .*'nonsense'"),
    (NeighborsDisplay, {"metric": "precomputed"}, "expected a metric of features"),
    (NeighborsDisplay, {"indices": [40]}, "40 is invalid"),
    (EmbeddingDisplay, {"max_images": 0}, "max_images=0"),
    (EmbeddingDisplay, {"thumbnail_size": -1}, "thumbnail_size=-1"),
    (EmbeddingDisplay, {"thumbnail_size": np.inf}, "thumbnail_size=inf"),
    (EmbeddingDisplay, {"cmap": "nope"}, "nope"),
    (EmbeddingDisplay, {"method": StandardScaler}, "method|clone"),
    (EmbeddingDisplay, {"method": LogisticRegression()}, "has no fit_transform"),
    (LayerScoreDisplay, {"scoring": "nonsense"}, "nonsense"),
    (LayerScoreDisplay, {"layers": ["nope"]}, "unknown: 'nope'"),
    (SaliencyDisplay, {"cmap": "nope"}, "nope"),
    (SaliencyDisplay, {"alpha": 2}, r"alpha=2; expected a number in 0\.\.1"),
    *(
        (
            display,
            {"ax": np.array([1, 2])},
            r"ax is an array of shape \(2,\).*flat\[0\]",
        )
        for display in (
            MistakesDisplay,
            NeighborsDisplay,
            EmbeddingDisplay,
            LayerScoreDisplay,
            SaliencyDisplay,
        )
    ),
]


@pytest.mark.parametrize(("display", "options", "message"), BAD_PARAMETERS, ids=str)
def test_parameters_are_checked_before_images_pass_the_network(
    mislabeled, passes, display, options, message
):
    X, y = mislabeled
    model = linear()
    args = {NeighborsDisplay: (X,), SaliencyDisplay: (X[0],)}.get(display, (X, y))
    if display is SaliencyDisplay:
        model.fit(X, y)
        options = {"layer": "block2_pool", **options}
    passes.clear()
    with pytest.raises((ValueError, TypeError), match=message):
        display.from_estimator(model, *args, **options)
    assert sum(passes) == 0
    assert plt.get_fignums() == []


def test_the_axes_are_checked_by_each_plot():
    display = HistoryDisplay({"head": {"loss": [2, 1]}})
    with pytest.raises(
        ValueError, match=r"HistoryDisplay\.plot: ax is a str; expected"
    ):
        display.plot("left")
    _, axes = plt.subplots(1, 2)
    with pytest.raises(ValueError, match=r"HistoryDisplay\.plot: ax is an array of"):
        display.plot(axes)
    assert display.plot(axes.flat[0]).ax_ is axes[0]


@pytest.mark.parametrize("n_before", [0, 1])
def test_samplers_in_a_pipeline_are_skipped_where_nothing_is_fitted(
    mislabeled, n_before
):
    X, y = (part[:16] for part in mislabeled)
    transformer = VGG19Features(
        None, layer="block3_pool", pooling="avg", image_size=32, random_state=0
    )
    scalers = [("scaler", StandardScaler())][:n_before]
    steps = [("features", transformer), *scalers]
    last = ("model", LogisticRegression(max_iter=1000))
    model = SamplingPipeline([*steps, ("sampler", Doubling()), last]).fit(X, y)
    plain = without_samplers(model)
    assert [name for name, _ in plain.steps] == [name for name, _ in [*steps, last]]
    display = SaliencyDisplay.from_estimator(model, X[0])
    expected = SaliencyDisplay.from_estimator(plain, X[0])
    np.testing.assert_array_equal(display.saliency, expected.saliency)
    found = NeighborsDisplay.from_estimator(model, X[:8])
    np.testing.assert_array_equal(
        found.neighbors, NeighborsDisplay.from_estimator(plain, X[:8]).neighbors
    )


@pytest.mark.parametrize("y", [np.linspace(0, 9.5, 40), np.arange(40) % 2])
def test_numbers_of_dtype_object_are_numbers(mislabeled, y):
    X, _ = mislabeled
    one, other = (
        EmbeddingDisplay.from_estimator(small(), X, labels)
        for labels in (y, y.astype(object))
    )
    assert other.labels.dtype == y.dtype
    np.testing.assert_array_equal(
        other.points_.get_facecolors(), one.points_.get_facecolors()
    )
    even = (y > y.mean()).astype(object)
    y_proba = np.full((40, 2), 0.5)
    np.testing.assert_array_equal(
        MistakesDisplay.from_predictions(X, even, y_proba).y_true, even
    )


def test_a_regressor_is_told_what_fits_regressors(mislabeled):
    X, y = mislabeled
    for model in (make_pipeline(small(), Ridge()), VGG19Regressor()):
        with pytest.raises(ValueError, match=r"is a regressor.*PredictionErrorDisplay"):
            MistakesDisplay.from_estimator(model, X, np.linspace(0, 1, len(y)))


def test_importing_the_displays_imports_neither_matplotlib_nor_tensorflow():
    code = (
        "import sys, skvgg; skvgg.plotting.SaliencyDisplay; "
        "print({'matplotlib', 'tensorflow'} & set(sys.modules))"
    )
    assert run_python(code).stdout.strip() == "set()"
