"""Both estimators in scikit-learn's tools, on real images."""

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skvgg import TFLearnMLPClassifier, VGG19Features


def hed(**params):
    defaults = {"layer": "block3_pool", "pooling": "avg", "image_size": 32}
    return VGG19Features("hed", **{**defaults, **params})


@pytest.fixture(scope="module")
def pipeline():
    head = TFLearnMLPClassifier((32,), max_iter=20, batch_size=16, random_state=0)
    return Pipeline([("features", hed()), ("scale", StandardScaler()), ("head", head)])


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search_over_the_head(pipeline, tiles, n_jobs):
    X, y = tiles
    grid = {"head__dropout": [0.0, 0.5], "head__hidden_layer_sizes": [(16,), (32, 16)]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=n_jobs).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ > 0.9
    assert (search.predict(X) == y).mean() > 0.9


def test_grid_search_gives_the_same_scores_with_one_and_two_jobs(pipeline, tiles):
    X, y = tiles
    scores = [
        GridSearchCV(pipeline, {"head__dropout": [0.0, 0.5]}, cv=2, n_jobs=n_jobs)
        .fit(X, y)
        .cv_results_["mean_test_score"]
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*scores)


def test_grid_search_over_layers(pipeline, tiles):
    X, y = tiles
    grid = {"features__layer": ["block1_pool", "block2_pool"]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert search.best_estimator_[:-1].transform(X[:1]).shape[1] in (64, 128)


def test_cross_val_score(pipeline, tiles):
    scores = cross_val_score(pipeline, *tiles, cv=3)
    assert scores.shape == (3,)
    assert scores.mean() > 0.9


def test_cross_val_predict_of_paths(pipeline, tiles, tmp_path):
    X, y = tiles
    paths = [str(tmp_path / f"{i}.png") for i in range(30)]
    for path, tile in zip(paths, X, strict=False):
        Image.fromarray(tile).save(path)
    proba = cross_val_predict(pipeline, paths, y[:30], cv=2, method="predict_proba")
    assert proba.shape == (30, 2)


def test_clone_and_set_params_reach_both_steps(pipeline):
    copy = clone(pipeline)
    copy.set_params(features__layer="block4_pool", head__max_iter=7)
    assert copy["features"].layer == "block4_pool"
    assert copy["head"].max_iter == 7
    assert pipeline["head"].max_iter == 20


def test_any_scikit_learn_estimator_learns_on_the_features(tiles):
    X, y = tiles
    model = make_pipeline(hed(), StandardScaler(), LogisticRegression())
    assert cross_val_score(model, X, y, cv=3).mean() > 0.9


def test_in_a_feature_union_and_a_column_transformer(tiles, tmp_path):
    pd = pytest.importorskip("pandas")
    X, _ = tiles
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for path, tile in zip(paths, X, strict=False):
        Image.fromarray(tile).save(path)
    union = FeatureUnion([("early", hed(layer="block1_pool")), ("late", hed())])
    assert union.fit_transform(paths).shape == (3, 64 + 256)
    frame = pd.DataFrame({"photo": paths, "width": [1.0, 2.0, 3.0]})
    columns = make_column_transformer(
        (hed(), ["photo"]),
        (StandardScaler(), ["width"]),
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    table = columns.fit_transform(frame)
    assert table.shape == (3, 257)
    assert list(table.columns)[-1] == "width"


@pytest.mark.parametrize("estimator", [VGG19Features(), TFLearnMLPClassifier()])
def test_html_has_no_link_as_the_documentation_is_not_on_the_web(estimator):
    html = estimator._repr_html_()
    assert type(estimator).__name__ in html
    assert 'href="http' not in html
    assert "href" in LogisticRegression()._repr_html_()  # scikit-learn's has one


def test_pipelines_html_names_both(pipeline):
    html = pipeline._repr_html_()
    assert "VGG19Features" in html
    assert "TFLearnMLPClassifier" in html
