"""EmbeddingDisplay: a map of all images."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.manifold import Isomap
from sklearn.preprocessing import FunctionTransformer

from skvgg.plotting import (
    EmbeddingDisplay,
)
from skvgg.plotting._thumbnails import make_thumbnails

from .displays import overlapping, small


def test_the_map_is_that_of_scikit_learn(mislabeled, passes):
    X, y = mislabeled
    display = EmbeddingDisplay.from_estimator(small(), X, y)
    assert sum(passes) == len(X)
    rows = small().transform(X)
    expected = PCA(2, random_state=0).fit_transform(rows.astype(np.float64))
    np.testing.assert_allclose(display.embedding, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(display.points_.get_offsets(), display.embedding)
    assert display.ax_.get_xlabel() == "PCA 1"


def test_the_map_is_made_by_another_method_which_stays_as_it_was(mislabeled):
    X, y = mislabeled
    flat = FunctionTransformer(lambda images: images.reshape(len(images), -1))
    method = Isomap(n_neighbors=8)
    display = EmbeddingDisplay.from_estimator(flat, X, y, method=method)
    assert not hasattr(method, "embedding_")
    expected = clone(method).fit_transform(X.reshape(40, -1).astype(np.float64))
    np.testing.assert_array_equal(display.embedding, expected)
    assert display.ax_.get_ylabel() == "Isomap 2"


def test_frames_points_and_legend_have_the_color_of_the_class(mislabeled):
    X, y = mislabeled
    display = EmbeddingDisplay.from_estimator(small(), X, y)
    legend = display.ax_.get_legend()
    colors = {
        text.get_text(): mpl.colors.to_rgba(handle.get_color())
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    }
    assert set(colors) == {"china", "flower"}
    assert colors["china"] != colors["flower"]
    for index, box in zip(display.indices_, display.boxes_, strict=True):
        assert box.patch.get_edgecolor() == colors[y[index]]
        assert box.xyann == pytest.approx(display.embedding[index])
    for label, color in zip(y, display.points_.get_facecolors(), strict=True):
        assert tuple(color) == colors[label]
    without = EmbeddingDisplay.from_estimator(small(), X)
    assert without.ax_.get_legend() is None


def test_thumbnails_do_not_cover_each_other_and_leave_no_room(mislabeled):
    X, y = mislabeled
    display = EmbeddingDisplay.from_estimator(small(), X, y, thumbnail_size=40)
    assert 3 < len(display.boxes_) < len(X)
    assert overlapping(display.boxes_) == []
    places = display.ax_.transData.transform(display.embedding)
    drawn = places[display.indices_]
    nearest = np.abs(places[:, None] - drawn[None]).max(axis=2).min(axis=1)
    assert nearest.max() < 47 * display.figure_.dpi / 72
    index = display.indices_[1]
    (expected,) = make_thumbnails(X, [index], None, side=80)
    image = display.boxes_[1].offsetbox.get_data()
    np.testing.assert_array_equal(image, expected)
    _, ax = plt.subplots()
    assert len(display.plot(ax, max_images=2).boxes_) == 2
    assert display.ax_ is ax


def test_many_classes_and_odd_names_are_drawn(mislabeled):
    X, _ = mislabeled
    names = np.array([f"_${i}_x$" + "y" * (20 + i) for i in range(13)])
    display = EmbeddingDisplay.from_estimator(small(), X, names[np.arange(40) % 13])
    display.figure_.canvas.draw()
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert len(texts) == 13
    assert max(map(len, texts)) == 30
    colors = {tuple(color) for color in display.points_.get_facecolors()}
    assert len(colors) == 13
    display.plot(cmap="viridis")
    colors = {tuple(color) for color in display.points_.get_facecolors()}
    assert len(colors) == 13


def test_a_map_that_cannot_be_drawn_leaves_no_figure(mislabeled):
    display = EmbeddingDisplay.from_estimator(small(), *mislabeled)
    plt.close("all")
    with pytest.raises(ValueError, match="nope"):
        display.plot(cmap="nope")
    broken = EmbeddingDisplay(embedding=[[0, 0], [1, 1]], images=[b"no", b"image"])
    with pytest.raises(ValueError, match=r"X\[0\]"):
        broken.plot()
    with pytest.raises(ValueError, match="thumbnail_size='x'; expected a positive"):
        display.plot(thumbnail_size="x")
    assert plt.get_fignums() == []


def test_maps_refuse_what_they_cannot_use(mislabeled, mislabeled_paths):
    X, y = mislabeled
    make = EmbeddingDisplay.from_estimator
    with pytest.raises(ValueError, match=r"PCA.* shape \(40, 3\).*n_components=2"):
        make(small(), X, y, method=PCA(3))
    with pytest.raises(ValueError, match="y has 25 classes"):
        make(small(), [*X, *X[:10]], (np.arange(50) // 2).astype(str))
    with pytest.raises(ValueError, match="max_images=0"):
        make(small(), X, max_images=0)
    with pytest.raises(ValueError, match="thumbnail_size=0"):
        make(small(), X, thumbnail_size=0)
    with pytest.raises(ValueError, match="only one image; expected at least two"):
        make(small(), X[:1])
    with open(mislabeled_paths[3], "r+b") as file:
        file.truncate(100)
    with pytest.raises(ValueError, match=r"X\[3\] \('.*03\.png'\): not an image"):
        make(small(), mislabeled_paths, y)
    with (
        pytest.raises(ValueError, match=r"X\[3\] has features that are NaN"),
        pytest.warns(UserWarning, match=r"03\.png"),
    ):
        make(small(on_error="nan"), mislabeled_paths, y)


@pytest.mark.parametrize(
    "y", [np.linspace(0, 9.5, 40), np.arange(40), np.r_[np.nextafter(0, 1), [2.5] * 39]]
)
def test_numbers_are_shown_by_a_colormap(mislabeled, y):
    X, _ = mislabeled
    display = EmbeddingDisplay.from_estimator(small(), X, y)
    expected = mpl.colormaps["viridis"](mpl.colors.Normalize(y.min(), y.max())(y))
    np.testing.assert_allclose(display.points_.get_facecolors(), expected)
    assert display.colorbar_.vmin == y.min()
    assert display.colorbar_.vmax == y.max()
    assert display.ax_.get_legend() is None
    edges = [box.patch.get_edgecolor() for box in display.boxes_]
    np.testing.assert_allclose(edges, expected[display.indices_])
    again = EmbeddingDisplay(embedding=display.embedding, images=X, labels=y)
    reds = mpl.colormaps["Reds"](mpl.colors.Normalize(y.min(), y.max())(y))
    np.testing.assert_allclose(again.plot(cmap="Reds").points_.get_facecolors(), reds)
