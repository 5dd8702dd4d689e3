"""NeighborsDisplay: the nearest images, and near duplicates."""

import itertools
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
from cleanlab.datalab.internal.issue_manager.duplicate import NearDuplicateIssueManager
from matplotlib import pyplot as plt
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
)
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skvgg import (
    BadImageWarning,
    VGG19Classifier,
)
from skvgg.plotting import (
    NeighborsDisplay,
    _duplicates,
)
from skvgg.plotting._duplicates import (
    find_copies,
    find_near_duplicates,
    find_neighbors,
)
from skvgg.plotting._thumbnails import make_thumbnails

from .displays import linear, overlapping, small


class NoDatalab:
    """What cleanlab's search asks of a Datalab, which needs Hugging Face's datasets."""

    def get_info(self, name):
        return {}


def with_copies(rows, copies, noise=0.0):
    """Return rows, the last of which are, all but, copies of the first."""
    rng = np.random.default_rng(0)
    copied = rows[copies] + noise * rng.normal(size=rows[copies].shape)
    return np.vstack([rows, copied])


DIGITS = load_digits().data[:300]


ROWS = {
    "digits": DIGITS,
    "exact copies": with_copies(DIGITS, [0, 3, 3, 5]),
    "near copies": with_copies(DIGITS, [1, 2, 2, 7, 250], noise=0.05),
    "few": DIGITS[:12],
    "random": np.random.default_rng(1).normal(size=(200, 30)),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("threshold", [0.13, 0.6])
def test_near_duplicates_are_those_of_cleanlab(name, threshold):
    rows = ROWS[name]
    manager = NearDuplicateIssueManager(
        NoDatalab(), metric="cosine", threshold=threshold
    )
    manager.find_issues(features=rows)
    pairs, pair_distances = find_near_duplicates(
        rows, threshold, "cosine", find_copies(rows)
    )
    expected = {
        (min(i, j), max(i, j))
        for i, others in enumerate(manager.near_duplicate_sets)
        for j in others
    }
    assert set(map(tuple, pairs.tolist())) == expected
    assert len(pairs) == len(expected)
    assert np.all(np.diff(pair_distances) >= 0)
    is_near = np.isin(np.arange(len(rows)), pairs)
    flagged = manager.issues["is_near_duplicate_issue"]
    np.testing.assert_array_equal(is_near, flagged)
    if "copies" in name:
        assert len(pairs) >= 4


def test_neighbors_are_those_of_scikit_learn(parts):
    X, X_test = parts
    display = NeighborsDisplay.from_estimator(small(), X, X_test, n_neighbors=4)
    rows = small().transform(np.concatenate(parts)).astype(np.float64)
    search = NearestNeighbors(n_neighbors=4, metric="cosine").fit(rows)
    distances, neighbors = search.kneighbors()
    np.testing.assert_allclose(display.distances, distances, atol=1e-6)
    nearest = distances[:, 0] > 1e-5  # what is exact is in any order
    np.testing.assert_array_equal(display.neighbors[nearest, 0], neighbors[nearest, 0])


@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
@pytest.mark.parametrize("metric", ["euclidean", "l2", "minkowski", "cosine"])
def test_copies_of_all_images_are_found(metric, scale):
    rows = scale * np.random.default_rng(0).random((40, 512))
    rows = np.concatenate([rows, rows])
    pairs, _ = find_near_duplicates(rows, 0.13, metric, find_copies(rows))
    np.testing.assert_array_equal(
        np.unique(pairs, axis=0), [[i, i + 40] for i in range(40)]
    )


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("noise", [1e-2, 1e-7, 0.0])
def test_leaks_are_found_however_many_pictures_have_copies(metric, share, noise):
    """Compared with the groups that the copies were made in."""
    rng = np.random.default_rng(0)
    originals = rng.random((30, 256))
    groups = [[i] for i in range(30)]
    rows = [*originals]
    for i in range(int(30 * share)):
        for _ in range(1 + i % 4):
            groups[i].append(len(rows))
            rows.append(originals[i] * (1 + noise * rng.standard_normal(256)))
    rows = np.array(rows)
    expected = {pair for group in groups for pair in itertools.combinations(group, 2)}
    pairs, _ = find_near_duplicates(rows, 0.13, metric, find_copies(rows))
    assert set(map(tuple, pairs.tolist())) == expected


def own_metric(one, other):
    return 1.0 + np.abs(one - other).sum()


@pytest.mark.parametrize(
    "metric",
    ["cosine", "euclidean", "sqeuclidean", "manhattan", "correlation", own_metric],
)
@pytest.mark.parametrize("value", [0.0, 1e3])
def test_copies_are_near_duplicates_with_every_metric(metric, value):
    """The correlation and the angle of constant rows are not defined."""
    rows = 1e3 * np.random.default_rng(0).random((30, 16))
    rows[[4, 9, 21]] = value
    rows[9] = -rows[9] if value == 0 else rows[9]
    rows[17] = rows[2]
    expected = {(4, 9), (4, 21), (9, 21), (2, 17)}
    distances, neighbors = find_neighbors(rows, 2, metric, find_copies(rows))
    for row, others in ((4, {9, 21}), (9, {4, 21}), (21, {4, 9})):
        assert set(neighbors[row].tolist()) == others
        assert distances[row].tolist() == [0, 0]
    assert (neighbors[2, 0], neighbors[17, 0]) == (17, 2)
    for threshold in (0.0, 0.05):
        pairs, pair_distances = find_near_duplicates(
            rows, threshold, metric, find_copies(rows)
        )
        assert set(map(tuple, pairs.tolist())) == expected
        assert len(pairs) == 4
        assert not pair_distances.any()


def test_each_row_is_hashed_once(parts, monkeypatch):
    hashed = []
    monkeypatch.setattr(
        _duplicates, "sha256", lambda row: hashed.append(row) or sha256(row)
    )
    display = NeighborsDisplay.from_estimator(small(), *parts)
    assert [5, 26] in display.pairs.tolist()
    assert len(hashed) == len(parts[0]) + len(parts[1])


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "manhattan"])
@pytest.mark.parametrize("scale", [1e-9, 1.0])
def test_features_far_from_zero_are_no_copies(metric, scale):
    rows = np.random.default_rng(0).normal(1, 1, (14, 64))
    rows = scale * (np.concatenate([rows, rows]) + 1e6)
    pairs, _ = find_near_duplicates(rows, 0.13, metric, find_copies(rows))
    np.testing.assert_array_equal(pairs, [(i, i + 14) for i in range(14)])


def test_copies_beyond_the_number_of_neighbors_are_cut_off():
    rows = np.random.default_rng(0).random((8, 4))
    rows[:4] = 0
    distances, neighbors = find_neighbors(rows, 2, "cosine", find_copies(rows))
    for row in range(4):
        assert set(neighbors[row].tolist()) < set(range(4)) - {row}
    distances, neighbors = find_neighbors(rows, 20, "cosine", find_copies(rows))
    assert neighbors.shape == (8, 7)
    for row in range(8):
        assert sorted([row, *neighbors[row]]) == list(range(8))
    np.testing.assert_array_equal(distances[:4, :3], 0)
    np.testing.assert_allclose(distances[:4, 3:], 1)


def test_duplicates_across_the_parts_come_first(parts, tmp_path):
    X, X_test = parts
    test_paths = [tmp_path / f"{i}.png" for i in range(len(X_test))]
    for path, pixels in zip(test_paths, X_test, strict=True):
        Image.fromarray(pixels).save(path)
    y, y_test = ["a"] * len(X), ["b"] * len(X_test)
    display = NeighborsDisplay.from_estimator(
        small(), X, test_paths, y=y, y_test=y_test
    )
    table = display.to_frame()
    assert table.loc[0].to_dict() == {
        "part": "X",
        "index": 5,
        "other_part": "X_test",
        "other_index": 2,
        "distance": pytest.approx(0, abs=1e-9),
        "is_across": True,
        "label": "a",
        "path": None,
        "other_label": "b",
        "other_path": str(test_paths[2]),
    }
    near = table[["part", "index", "other_part", "other_index"]].to_numpy().tolist()
    assert ["X", 8, "X", 9] in near
    assert table["is_across"].is_monotonic_decreasing
    assert display.indices_[0] == len(X) + 2
    texts = [text.get_text() for text in display.texts_[:2]]
    assert texts == ["X_test[2]\nb", f"X[5]: {display.distances[26, 0]:.2g}\na"]
    assert overlapping([*display.texts_, display.ax_.title]) == []
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend[0] == "image"
    assert "near duplicate, other part" in legend


@pytest.mark.parametrize("kind", ["transformer", "pipeline", "search", "tuned"])
def test_features_of_every_model_are_computed_once(parts, tiles, passes, kind):
    X, X_test = parts
    y = tiles[1][: len(X)]
    model = {
        "transformer": small(),
        "pipeline": make_pipeline(small(), LogisticRegression()),
        "search": GridSearchCV(linear(), {"logisticregression__C": [0.1]}, cv=2),
        "tuned": VGG19Classifier(
            None, layer="block2_pool", trainable=None, image_size=32, random_state=0
        ),
    }[kind]
    if kind in ("search", "tuned"):
        model.fit(X, y)
    passes.clear()
    display = NeighborsDisplay.from_estimator(model, X, X_test)
    assert sum(passes) == len(X) + len(X_test)
    rows, test_rows = small().transform(X), small().transform(X_test)
    if kind == "search":
        scaler = model.best_estimator_[1]
        rows, test_rows = scaler.transform(rows), scaler.transform(test_rows)
    expected = NeighborsDisplay.from_features(X, rows, X_test, test_rows)
    np.testing.assert_allclose(display.distances, expected.distances, atol=1e-6)


def test_a_transformer_that_is_not_fitted_is_fitted_on_a_copy(mislabeled):
    X, _ = mislabeled
    model = linear()
    display = NeighborsDisplay.from_estimator(model, X)
    assert not hasattr(model[1], "mean_")
    rows = StandardScaler().fit_transform(small().transform(X))
    expected = NeighborsDisplay.from_features(X, rows)
    np.testing.assert_allclose(display.distances, expected.distances, atol=1e-6)


def test_the_neighbors_of_a_chosen_image_are_drawn(parts):
    X, X_test = parts
    display = NeighborsDisplay.from_estimator(small(), X, X_test, indices=[26])
    _, ax = plt.subplots()
    display.plot(ax, indices=3)
    assert display.indices_.tolist() == [3]
    assert display.ax_ is ax
    assert [text.get_text().split(":")[0] for text in display.texts_] == [
        f"X[{i}]" if i < 24 else f"X_test[{i - 24}]" for i in [3, *display.neighbors[3]]
    ]
    expected = make_thumbnails(X, [3], None)[0]
    np.testing.assert_array_equal(display.ims_[0].get_array(), expected)


def test_neighbors_refuse_what_they_cannot_use(parts, tmp_path):
    X, X_test = parts
    make = NeighborsDisplay.from_estimator
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"X_test\[1\] \('.*bad\.png'\): not an image"):
        make(small(), X, [X_test[0], bad])
    with pytest.raises(FileNotFoundError, match=r"X_test\[0\] .*no such file"):
        make(small(), X, [tmp_path / "none.png"])
    with pytest.raises(ValueError, match="only one image"):
        make(small(), X[:1])
    with pytest.raises(ValueError, match=r"indices=\[40\]: 40 is invalid; .* 0 to 23"):
        make(small(), X, indices=[40])
    with pytest.raises(ValueError, match="threshold=-1"):
        make(small(), X, threshold=-1)
    with pytest.raises(ValueError, match="y and y_test"):
        make(small(), X, X_test, y=np.zeros(24))
    with pytest.raises(ValueError, match="X_test has 10 images and y_test has 3"):
        make(small(), X, X_test, y=np.zeros(24), y_test=np.zeros(3))
    with pytest.raises(ValueError, match=r"a transformer of images.*got LinearSVC"):
        make(LinearSVC(), X)
    with pytest.raises(ValueError, match="24 images and there are 3 rows"):
        NeighborsDisplay.from_features(X, np.eye(3))
    rows = np.eye(24)
    rows[4, 2] = np.nan
    with pytest.raises(ValueError, match=r"X\[4\] has features that are NaN"):
        NeighborsDisplay.from_features(X, rows)
    with pytest.raises(ValueError, match="features_test has 3 columns; expected 24"):
        NeighborsDisplay.from_features(X, np.eye(24), X_test, np.ones((10, 3)))


def test_no_images_of_the_second_part_are_named(parts):
    with pytest.raises(ValueError, match=r"(?s)X has no images.*X is X_test here"):
        NeighborsDisplay.from_estimator(small(), parts[0], [])
    with pytest.raises(ValueError, match=": X has no images"):
        NeighborsDisplay.from_estimator(small(), [], parts[1])


def test_rows_of_nan_name_their_part(parts):
    X, X_test = parts
    images = [*X_test, b"no image"]
    with (
        pytest.warns(BadImageWarning),
        pytest.raises(ValueError, match=r"^X_test\[10\] has features that are NaN"),
    ):
        NeighborsDisplay.from_estimator(small().set_params(on_error="nan"), X, images)


def test_labels_of_neighbors_may_be_a_column(parts):
    X, X_test = parts
    display = NeighborsDisplay.from_features(
        X,
        np.eye(24),
        X_test,
        np.eye(24)[:10],
        y=pd.DataFrame({"label": ["light"] * 24}),
        y_test=np.array([["dark"]] * 10),
    )
    assert display.labels == ["light"] * 24 + ["dark"] * 10


def test_labels_of_neighbors_keep_their_type(parts):
    X, _ = parts
    y = pd.Series(range(24), dtype="Int64")
    display = NeighborsDisplay.from_features(X, np.eye(24), y=y)
    assert [*map(str, display.labels)] == [*map(str, range(24))]
