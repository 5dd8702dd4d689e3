"""The gradient of a score with respect to features, through all steps."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.model_selection import (
    GridSearchCV,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from skvgg import TFLearnMLPClassifier, TFLearnMLPRegressor
from skvgg.plotting._pipeline import split_fitted
from skvgg.plotting._row_gradient import row_gradient
from skvgg.plotting._scores import predicted_target

from .displays import small


def explain_row(steps, row, target):
    """Return the explained target, and the gradient of its score."""
    if target is None:
        target = predicted_target(make_pipeline(*steps), row[None])
    return target, row_gradient(steps, row, target)


def three_classes(n_features=6):
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], 20)
    centers = np.repeat(rng.normal(0, 2, (3, n_features)), 20, axis=0)
    return centers + rng.normal(0, 1, centers.shape), y


def measured(score, row):
    """Return a gradient by forward and backward steps, coordinate by coordinate."""
    steps = 1e-5 * np.eye(len(row))
    return np.array([(score(row + h) - score(row - h)) / 2e-5 for h in steps])


TRANSFORMERS = [
    StandardScaler(),
    StandardScaler(with_mean=False, with_std=False),
    MinMaxScaler(),
    PCA(4, whiten=True),
    SelectKBest(k=3),
    Normalizer(),
    "passthrough",
]


@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=str)
def test_gradients_go_through_transformers(transformer):
    X, y = three_classes()
    model = make_pipeline(transformer, LogisticRegression()).fit(X, y)
    steps = [step for step in (transformer, model[-1]) if step != "passthrough"]
    target, gradient = explain_row(steps, X[0], None)
    assert target == model.predict(X[:1])[0]
    place = list(model.classes_).index(target)
    expected = measured(lambda x: model.decision_function(x[None])[0, place], X[0])
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "head",
    [
        LogisticRegression(),
        SVC(),
        SVC(kernel="linear"),
        GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2),
    ],
    ids=str,
)
def test_the_score_is_the_decision_function(head):
    X, y = three_classes()
    head.fit(X, y)
    for place, label in enumerate(head.classes_):
        _, gradient = explain_row([head], X[5], label)
        expected = measured(
            lambda x, i=place: head.decision_function(x[None])[0, i], X[5]
        )
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "head", [GaussianNB(), CalibratedClassifierCV(LogisticRegression(), cv=2)], ids=str
)
def test_the_score_is_the_log_odds_where_there_is_no_decision_function(head):
    X, y = three_classes()
    head.fit(X, y)

    def log_odds(x):
        p = head.predict_proba(x[None])[0, 1]
        return np.log(p / (1 - p))

    row = X.mean(axis=0)
    _, gradient = explain_row([head], row, "b")
    np.testing.assert_allclose(gradient, measured(log_odds, row), rtol=1e-4, atol=1e-6)


def test_log_odds_keep_their_gradient_where_probabilities_are_one():
    X, y = three_classes()
    head = GaussianNB().fit(X, y)
    row = 20 * X[0]
    assert head.predict_proba(row[None]).max() == 1
    _, gradient = explain_row([head], row, None)
    assert gradient.all()


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_gradients_go_through_the_layers_of_perceptrons(activation):
    X, y = three_classes()
    head = MLPClassifier((7, 5), activation, max_iter=2000, random_state=0).fit(X, y)
    _, gradient = explain_row([head], X[0], "b")
    # Differences of logits are those of the logarithms of probabilities.
    _, other = explain_row([head], X[0], "c")

    def difference(x):
        log_p = head.predict_log_proba(x[None])[0]
        return log_p[1] - log_p[2]

    np.testing.assert_allclose(
        gradient - other, measured(difference, X[0]), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_gradients_of_tflearns_heads_are_those_of_their_logits(n_classes):
    X, y = three_classes()
    X, y = X[: 20 * n_classes], y[: 20 * n_classes]
    head = TFLearnMLPClassifier((8,), max_iter=30, random_state=0).fit(X, y)
    _, a = explain_row([head], X[0], "a")
    _, b = explain_row([head], X[0], "b")

    def difference(x):
        x = (x - head.feature_mean_) / head.feature_scale_
        hidden = np.tanh(x @ head.coefs_[0].astype(float) + head.intercepts_[0])
        logits = hidden @ head.coefs_[1].astype(float) + head.intercepts_[1]
        return logits[0] - logits[1]

    np.testing.assert_allclose(a - b, measured(difference, X[0]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", [TFLearnMLPClassifier, TFLearnMLPRegressor])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_heads_on_features_far_from_zero_are_explained_as_they_predict(make, dtype):
    X, y = three_classes()
    X = (X / X.std(axis=0) + 1e4).astype(dtype)
    labels = y if make is TFLearnMLPClassifier else 1e4 + 100 * X[:, 0].astype(float)
    head = make((8,), max_iter=30, random_state=0).fit(X, labels)

    def score(x):
        if make is TFLearnMLPRegressor:
            return head.predict(x[None])[0]
        log_proba = head.predict_log_proba(x[None])[0]
        return log_proba[0] - log_proba[1]

    x = X[0].astype(float)
    if make is TFLearnMLPRegressor:
        _, gradient = explain_row([head], x, None)
    else:
        gradient = explain_row([head], x, "a")[1] - explain_row([head], x, "b")[1]
    np.testing.assert_allclose(gradient, measured(score, x), rtol=1e-3, atol=1e-6)


def test_a_binary_perceptron_has_one_score_of_two_signs():
    X, y = three_classes()
    head = MLPClassifier((4,), max_iter=2000, random_state=0).fit(X[:40], y[:40])
    _, a = explain_row([head], X[0], "a")
    _, b = explain_row([head], X[0], "b")
    np.testing.assert_array_equal(a, -b)
    expected = measured(
        lambda x: -np.subtract(*head.predict_log_proba(x[None])[0]), X[0]
    )
    np.testing.assert_allclose(b, expected, rtol=1e-4, atol=1e-6)


def test_regressors_are_explained_by_their_outputs():
    X, _ = three_classes()
    Y = np.c_[X.sum(axis=1), X[:, 0] ** 2]
    ridge = Ridge().fit(X, Y)
    target, gradient = explain_row([ridge], X[0], None)
    assert target == 0
    np.testing.assert_array_equal(gradient, ridge.coef_[0])
    _, gradient = explain_row([ridge], X[0], 1)
    np.testing.assert_array_equal(gradient, ridge.coef_[1])
    with pytest.raises(ValueError, match="regressor with 2 output"):
        explain_row([ridge], X[0], 2)
    poisson = PoissonRegressor().fit(X, np.abs(Y[:, 0]))
    _, gradient = explain_row([poisson], X[0], None)
    expected = poisson.coef_ * poisson.predict(X[:1])
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    head = TFLearnMLPRegressor((), max_iter=2, random_state=0).fit(X, Y[:, 0])
    _, gradient = explain_row([head], X[0], None)
    expected = measured(lambda x: head.predict(x[None])[0], X[0])
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_of_several_labels_the_best_is_explained():
    X, y = three_classes()
    labels = np.c_[y == "a", y == "b", y == "c"].astype(int)
    head = MLPClassifier((5,), max_iter=2000, random_state=0).fit(X, labels)
    target, _ = explain_row([head], X[-1], None)
    assert target == 2


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (SVC(decision_function_shape="ovo"), None),
        (RandomForestClassifier(3), "gradient of zero"),
        (LinearSVC(C=1e-9, penalty="l1", dual=False), "coefficients"),
    ],
    ids=str,
)
def test_heads_without_a_score_a_class_are_refused(head, message):
    X, y = three_classes()
    y = np.where(np.arange(len(y)) % 4 == 0, "d", y)
    with pytest.raises(ValueError, match=message or "6 scores for 4 classes"):
        explain_row([head.fit(X, y)], X[0], None)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda svc: svc,
        lambda svc: make_pipeline(StandardScaler(), svc),
        lambda svc: GridSearchCV(svc, {"C": [1.0]}, cv=2),
        lambda svc: GridSearchCV(make_pipeline(svc), {"svc__C": [1.0]}, cv=2),
        lambda svc: BaggingClassifier(svc, 2, random_state=0),
        lambda svc: StackingClassifier(
            [("lr", LogisticRegression())], svc, passthrough=True, cv=2
        ),
    ],
    ids=["svc", "pipeline", "search", "search of pipelines", "bagging", "stacking"],
)
def test_scores_of_pairs_are_not_taken_for_those_of_three_classes(wrap):
    X, y = three_classes()
    pairs = wrap(SVC(decision_function_shape="ovo")).fit(X, y)
    for head in (pairs, FrozenEstimator(pairs)):
        assert head.decision_function(X[:1]).shape == (1, 3)
        with pytest.raises(ValueError, match=r"expected one per class.*'ovr'"):
            explain_row([head], X[0], None)
    explain_row([wrap(SVC()).fit(X, y)], X[0], None)


@pytest.mark.parametrize("make", [OneVsOneClassifier, OneVsRestClassifier])
def test_pairs_within_a_classifier_with_a_score_per_class_are_fine(make):
    X, y = three_classes()
    head = make(SVC(decision_function_shape="ovo")).fit(X, y)
    for place, label in enumerate(head.classes_):
        _, gradient = explain_row([head], X[5], label)
        expected = measured(
            lambda x, i=place: head.decision_function(x[None])[0, i], X[5]
        )
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)


def test_what_is_no_predictor_is_refused():
    X, _ = three_classes()
    with pytest.raises(ValueError, match="must be a classifier or regressor, got PCA"):
        explain_row([PCA(2).fit(X)], X[0], None)


def test_nested_steps_are_laid_out(cuts):
    X, y = cuts
    inner = make_pipeline(small(layer="block1_pool"), "passthrough")
    model = make_pipeline(inner, make_pipeline(StandardScaler(), LogisticRegression()))
    features, steps = split_fitted(model.fit(X, y))
    assert features is model[0][0]
    assert [type(step) for step in steps] == [StandardScaler, LogisticRegression]
