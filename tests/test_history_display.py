"""HistoryDisplay: the losses and scores of the epochs."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import (
    GridSearchCV,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvgg import (
    TFLearnMLPClassifier,
    TFLearnMLPRegressor,
    VGG19Regressor,
)
from skvgg.plotting import (
    HistoryDisplay,
)

from .displays import overlapping, tuned


@pytest.mark.parametrize("wrap", ["head", "pipeline", "search"])
def test_the_history_of_a_dense_head_is_drawn(wrap):
    X, y = load_iris(return_X_y=True)
    head = TFLearnMLPClassifier(
        (8,), max_iter=6, early_stopping=True, n_iter_no_change=9, random_state=0
    )
    model = {
        "head": head,
        "pipeline": make_pipeline(StandardScaler(), head),
        "search": GridSearchCV(
            make_pipeline(StandardScaler(), head),
            {"tflearnmlpclassifier__dropout": [0.0]},
            cv=2,
        ),
    }[wrap].fit(X, y)
    display = HistoryDisplay.from_estimator(model)
    fitted = {
        "head": lambda: model,
        "pipeline": lambda: model[-1],
        "search": lambda: model.best_estimator_[-1],
    }[wrap]()
    assert set(display.lines_) == {"loss", "val_loss", "accuracy", "val_accuracy"}
    for name, (line,) in display.lines_.items():
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 7))
        np.testing.assert_array_equal(line.get_ydata(), fitted.history_[name])
    assert display.best_score == fitted.best_validation_score_
    scores = fitted.history_["val_accuracy"]
    assert display.best_epoch == scores.index(max(scores)) + 1
    ((x,), (score,)) = display.best_line_.get_data()
    assert (x, score) == (display.best_epoch, max(scores))
    assert display.lines_["loss"][0].axes is display.ax_
    assert display.lines_["accuracy"][0].axes is display.score_ax_
    assert f"epoch {display.best_epoch}, " in display.ax_.get_title()


def test_nothing_is_best_where_nothing_was_held_out():
    X, y = load_iris(return_X_y=True)
    head = TFLearnMLPRegressor((4,), max_iter=8, random_state=0).fit(X, y)
    display = HistoryDisplay.from_estimator(head)
    assert display.score_name == "r2"
    assert display.best_epoch is display.best_score is display.best_line_ is None
    assert set(display.lines_) == {"loss", "r2"}


def test_head_and_layers_are_stages(tiles):
    X, y = tiles[0][:30], tiles[1][:30]
    model = tuned(head=(4,), early_stopping=True, validation_fraction=0.3).fit(X, y)
    display = HistoryDisplay.from_estimator(model)
    assert list(display.histories) == ["head", "block2"]
    n_head = len(model.head_.history_["loss"])
    head, layers = display.lines_["loss"]
    np.testing.assert_array_equal(head.get_ydata(), model.head_.history_["loss"])
    np.testing.assert_array_equal(layers.get_ydata(), model.history_["loss"])
    n_layers = len(model.history_["loss"])
    np.testing.assert_array_equal(
        layers.get_xdata(), n_head + np.arange(1, n_layers + 1)
    )
    assert display.best_score == model.best_validation_score_
    names = [text.get_text().strip() for text in display.ax_.texts]
    assert names == ["← head", "block2 →"]
    assert overlapping([*display.ax_.texts, display.ax_.title]) == []


def test_a_linear_head_has_no_epochs(tiles):
    X, y = tiles[0][:20], tiles[1][:20]
    numbers = X.mean((1, 2, 3))
    display = HistoryDisplay.from_estimator(tuned(VGG19Regressor).fit(X, numbers))
    assert list(display.histories) == ["block2"]
    assert len(display.ax_.texts) == 0
    with pytest.raises(ValueError, match="no epochs: with trainable=None"):
        HistoryDisplay.from_estimator(tuned(trainable=None).fit(X, y))


def test_weights_from_before_the_first_epoch_are_epoch_zero():
    history = {"loss": [1, 2], "accuracy": [0.5, 0.4], "val_accuracy": [0.6, 0.5]}
    display = HistoryDisplay({"block5": history}, best_validation_score=0.7).plot()
    assert (display.best_epoch, display.best_score) == (0, 0.7)
    np.testing.assert_array_equal(display.best_line_.get_data(), [[0], [0.7]])
    assert HistoryDisplay({"block5": history}).best_epoch == 1


def test_the_best_epoch_is_the_one_that_was_kept_where_scores_are_equal(tiles):
    """The head alone is as good as any epoch, so that its layers are kept."""
    X, y = tiles[0][:30], tiles[1][:30]
    options = {"validation_fraction": 0.3, "learning_rate_init": 1e-9}
    model = tuned(early_stopping=True, **options).fit(X, y)
    assert set(model.history_["val_accuracy"]) == {model.best_validation_score_}
    assert model.best_epoch_ == 0
    display = HistoryDisplay.from_estimator(model)
    assert (display.best_epoch, display.best_score) == (0, model.best_validation_score_)
    assert display.best_line_.get_xdata() == [0]
    model = pickle.loads(pickle.dumps(model))
    assert HistoryDisplay.from_estimator(model).best_epoch == 0
    assert not hasattr(model.set_params(early_stopping=False).fit(X, y), "best_epoch_")


@pytest.mark.parametrize("make", [TFLearnMLPClassifier, TFLearnMLPRegressor])
def test_the_best_epoch_is_of_the_last_fit(make):
    """The first fit reaches the score of the second one, too."""
    X, y = load_iris(return_X_y=True)
    y = (y == 0).astype(int) if make is TFLearnMLPClassifier else X[:, 0]
    head = make((8,), max_iter=3, early_stopping=True, warm_start=True, random_state=0)
    kept = [head.fit(X, y).best_validation_score_]
    assert head.history_[f"val_{_score(head)}"][head.best_epoch_ - 1] == kept[0]
    kept.append(head.fit(X, y).best_validation_score_)
    scores = head.history_[f"val_{_score(head)}"]
    assert len(scores) == 6
    expected = 3 + scores[3:].index(max(scores[3:])) + 1
    display = HistoryDisplay.from_estimator(head)
    assert head.best_epoch_ == display.best_epoch == expected
    assert display.best_score == kept[1]
    if make is TFLearnMLPClassifier:
        assert kept[1] in scores[:3]
    head.partial_fit(X, y)
    assert not hasattr(head, "best_epoch_")
    assert HistoryDisplay.from_estimator(head).best_score == max(scores)


def _score(head):
    return "accuracy" if isinstance(head, TFLearnMLPClassifier) else "r2"


def test_what_was_not_measured_in_some_epochs_is_a_gap():
    X, y = load_iris(return_X_y=True)
    head = TFLearnMLPClassifier((4,), max_iter=2, warm_start=True, random_state=0)
    head.fit(X, y)
    head.set_params(validation_fraction=0.2).fit(X, y)
    display = HistoryDisplay.from_estimator(head)
    (line,) = display.lines_["val_accuracy"]
    assert np.isnan(line.get_ydata()).tolist() == [True, True, False, False]
    assert display.best_epoch in (3, 4)


def test_histories_refuse_what_has_none():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(NotFittedError):
        HistoryDisplay.from_estimator(TFLearnMLPClassifier())
    with pytest.raises(ValueError, match="GaussianNB has no history_"):
        HistoryDisplay.from_estimator(GaussianNB().fit(X, y))
    for histories in ({}, {"loss": [1.0, 0.5]}, {"head": {"accuracy": [1]}}, [[1]]):
        with pytest.raises(
            ValueError, match=r"histories=.*\{\"head\": head.history_\}"
        ):
            HistoryDisplay(histories)
    for epoch in (-1, 3, 1.5):
        with pytest.raises(ValueError, match=f"best_epoch={epoch}; .* 1 to 2, or 0"):
            HistoryDisplay({"head": {"loss": [1, 2]}}, best_epoch=epoch)
