"""Load a saved model, and predict for images of which some may be bad."""

from __future__ import annotations

from typing import Any, NamedTuple

import joblib
import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing

from skvgg._command_line.say import say
from skvgg._images import MAX_PIXELS
from skvgg._runtime.warn import holding_warnings
from skvgg.datasets import find_bad_images
from skvgg.exceptions import BadImageWarning, ImageError, ImageWarning
from skvgg.finetune import VGG19Classifier
from skvgg.plotting._pipeline import without_samplers


class Predicted(NamedTuple):
    """Table cells of each image, and the errors of bad images by index."""

    cells: list[list[Any]]
    bad: dict[int, ImageError]


class Model:
    """A model from a file written by ``joblib.dump``.

    Pipelines are split before the last step, so that images go through the network
    once for both predictions and probabilities.

    Parameters
    ----------
    path : str
        The file.

    Attributes
    ----------
    probability_names : list of str
        Names of the probability columns; empty without predict_proba.
    """

    def __init__(self, path: str) -> None:
        model = _load(path)
        while hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        self._column = _column_of(path, model)
        self._steps = None
        if isinstance(model, Pipeline) and len(model) > 1:
            steps = without_samplers(model)
            self._steps, model = steps[:-1] if len(steps) > 1 else None, steps[-1]
        if not hasattr(model, "predict"):
            raise ValueError(
                f"{path!r} contains a {type(model).__name__} without the method "
                "predict. Save a fitted classifier or regressor."
            )
        self._final = model
        self._max_pixels = _max_pixels_of(self._steps or model)
        self._warned_of: set[str] = set()
        self.probability_names = _probability_names(model)

    def predict(self, paths: list[str], start: int, *, strict: bool) -> Predicted:
        """Return the predictions for some images.

        Parameters
        ----------
        paths : list of str
            The images.
        start : int
            Index of the first image among all images, for messages.
        strict : bool
            Whether a bad image raises an error.
        """
        try:
            predicted = self._predict(paths, start)
        except (ValueError, OSError) as error:
            bad = find_bad_images(paths, max_pixels=self._max_pixels)
            if not bad:
                raise
            if strict:
                raise next(iter(bad.values())).shifted(start) from error
            good = [i for i in range(len(paths)) if i not in bad]
            predicted = Predicted([self._nothing() for _ in paths], bad)
            if good:
                predicted_good = self._predict([paths[i] for i in good], start)
                for i, cells in zip(good, predicted_good.cells, strict=True):
                    predicted.cells[i] = cells
        if predicted.bad and strict:
            raise next(iter(predicted.bad.values())).shifted(start)
        bad = {i: error.shifted(start) for i, error in predicted.bad.items()}
        return Predicted(predicted.cells, bad)

    def _nothing(self) -> list[Any]:
        return [""] * (1 + len(self.probability_names))

    def _predict(self, paths: list[str], start: int) -> Predicted:
        """Return predictions, with empty cells for images with rows of NaN."""
        with holding_warnings() as held:
            X = self._with_column(paths)
            X = X if self._steps is None else self._steps.transform(X)
            bad = self._bad_in(held, start)
            good = [i for i in range(len(paths)) if i not in bad]
            cells = [self._nothing() for _ in paths]
            if not good:
                return Predicted(cells, bad)
            if bad:
                X = _safe_indexing(X, good)
            columns = self._columns(X)
        # Models other than pipelines read images only in predict.
        late = self._bad_in(held, start)
        for i, row in zip(good, columns, strict=True):
            if i not in late:
                cells[i] = row
        return Predicted(cells, late)

    def _with_column(self, paths: list[str]) -> Any:
        """Return the paths in the form in which the model was fitted."""
        if self._column is None:
            return paths
        import pandas as pd

        return pd.DataFrame({self._column: paths})

    def _columns(self, X: Any) -> list[list[Any]]:
        model = self._final
        if not self.probability_names:
            return [[_cell_of(one)] for one in np.asarray(model.predict(X))]
        probabilities = np.asarray(model.predict_proba(X))
        if isinstance(model, VGG19Classifier):  # predict would repeat the forward pass
            predictions = model.classes_[probabilities.argmax(axis=1)]
        else:
            predictions = np.asarray(model.predict(X))
        pairs = zip(predictions, probabilities, strict=True)
        return [[_cell_of(one), *row.tolist()] for one, row in pairs]

    def _bad_in(self, held: list[Warning], start: int) -> dict[int, ImageError]:
        """Return the bad images in warnings; print all other warnings once."""
        bad: dict[int, ImageError] = {}
        for warning in held:
            if isinstance(warning, BadImageWarning):
                bad |= warning.bad_images
                continue
            if isinstance(warning, ImageWarning):
                warning = warning.shifted(start)
            if str(warning) not in self._warned_of:
                self._warned_of.add(str(warning))
                say("warning", warning)
        return bad


def _load(path: str) -> Any:
    try:
        return joblib.load(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path!r}: no such file.") from None
    except IsADirectoryError:
        raise IsADirectoryError(
            f"{path!r} is a folder; expected the file of a model, followed by images."
        ) from None
    except Exception as error:  # unpickling can raise any error
        raise ValueError(
            f"{path!r}: the model cannot be loaded ({type(error).__name__}: {error}). "
            "Is it a file that joblib.dump wrote?"
        ) from error


def _column_of(path: str, model: Any) -> str | None:
    """Return the column that a model was fitted on, or None for a list."""
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return None
    if len(names) > 1:
        raise ValueError(
            f"{path!r} was fitted on a table with the columns {', '.join(names)}; "
            "expected a model that takes a list of paths, or a table with one column. "
            "Call its predict in Python."
        )
    return str(names[0])


def _probability_names(model: Any) -> list[str]:
    classes = getattr(model, "classes_", None)
    if not hasattr(model, "predict_proba") or not isinstance(classes, np.ndarray):
        return []
    return [f"probability_{name}" for name in classes]


def _cell_of(prediction: Any) -> Any:
    """Return a prediction as a cell; several values are separated by spaces."""
    one = np.asarray(prediction)
    return " ".join(map(str, one.tolist())) if one.ndim else one.item()


def _max_pixels_of(estimator: Any) -> int | None:
    if hasattr(estimator, "get_params"):
        for name, value in estimator.get_params().items():
            if name.rpartition("__")[2] == "max_pixels":
                return value
    return MAX_PIXELS
