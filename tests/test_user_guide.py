"""The code of the user guide does what the guide says."""

import re
import textwrap
from pathlib import Path

import joblib
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from skvgg import BadImageWarning, VGG19Features
from skvgg._command_line import main

mpl.use("Agg")
from matplotlib import pyplot as plt

GUIDE = (Path(__file__).parents[1] / "docs" / "user_guide.rst").read_text()


def code_of(title):
    """Return the blocks of code in a section of the guide."""
    _, text = GUIDE.split(f"\n{title}\n{'-' * len(title)}\n")
    section = re.split(r"\n.+\n-{4,}\n", text)[0]
    blocks = re.findall(r"::(?: python)?\n\n((?:(?: {3}.*)?\n)+)", section)
    return [textwrap.dedent(block) for block in blocks]


@pytest.fixture
def new(tiles, tmp_path, monkeypatch):
    """Return paths in new/, the second unreadable; make photos/ with two such."""
    images, labels = tiles
    for i in range(20):
        folder = tmp_path / "photos" / labels[i] if i < 14 else tmp_path / "new"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(folder / f"{i:02}.jpg")
    for name in ("photos/china/02.jpg", "photos/flower/05.jpg", "new/15.jpg"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:300])
    monkeypatch.chdir(tmp_path)
    return sorted(map(str, Path("new").iterdir()))


@pytest.fixture
def in_folder(tiles, tmp_path, monkeypatch):
    """Make photos/ with 40 images of two classes, and change into its parent."""
    images, labels = tiles
    for i in range(40):
        folder = tmp_path / "photos" / labels[i]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(folder / f"{i:02}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")


@pytest.mark.parametrize(
    "titles",
    [
        ["Comparing layers"],
        ["Explaining a prediction"],
        ["Mistakes and wrong labels"],
        ["Duplicates and neighbors"],
        ["A map of the images"],
        ["The dense head"],
        ["More rows than memory", "Learning from a stream"],
        ["Saving models"],
    ],
)
def test_each_section_of_the_guide_runs_after_the_names(in_folder, titles):
    names = {}
    for title in ["Names in the examples", *titles]:
        for code in code_of(title):
            if "paths" not in code:  # those of the reader
                exec(code.replace("image_size=96", "image_size=32"), names)
    plt.close("all")
    assert len(names["X"]) == len(names["y"]) == 40


def test_unreadable_images_are_dropped_or_marked_as_the_guide_shows(new, capsys):
    before_a_fit, at_prediction, robust = code_of("Unreadable images")
    names = {"new": new}
    exec(before_a_fit, names)
    told = capsys.readouterr().out
    assert re.findall(r"X\[\d+\] \('photos/(\w+/\d+)\.jpg'\): not", told) == [
        "china/02",
        "flower/05",
    ]
    assert len(names["X"]) == len(names["y"]) == 12
    assert not any("02.jpg" in path or "05.jpg" in path for path in names["X"])
    assert "nan" not in told.splitlines()[-1]

    with pytest.warns(BadImageWarning, match=r"new/15\.jpg"):
        exec(at_prediction, names)
    predictions = names["predictions"]
    assert predictions[1] is None
    others = [*new[:1], *new[2:]]
    np.testing.assert_array_equal(
        np.delete(predictions, 1), names["model"].predict(others)
    )

    with pytest.warns(BadImageWarning):
        exec(robust, names)
    assert set(names["predictions"]) <= {0, 1}
    assert len(names["predictions"]) == len(new)


def test_the_guides_grid_over_layers_can_be_grouped_by_them(tiles, tmp_path):
    (code,) = [block for block in code_of("Caching") if "grid = {" in block]
    names = {"VGG19Features": VGG19Features}
    exec(code, names)
    features = names["features"].set_params(image_size=32, memory=str(tmp_path))
    model = make_pipeline(features, DummyClassifier())
    X, y = tiles
    search = GridSearchCV(model, names["grid"], cv=2).fit(X[:6], y[:6])
    table = pd.DataFrame(search.cv_results_)
    assert len(table.groupby("param_vgg19features__layer").size()) == 3


def test_the_layer_is_chosen_and_a_prediction_explained_as_the_guide_shows(
    tiles, tmp_path, monkeypatch
):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    (choose,) = code_of("Comparing layers")
    (explain,) = code_of("Explaining a prediction")
    names = {"X": tiles[0][:20], "y": tiles[1][:20]}
    exec(choose.replace("image_size=96", "image_size=32"), names)
    best = names["display"].best_layer
    assert names["model"][0].layer == best
    exec(explain.replace("block3_conv4", best), names)
    for name in ("layers.png", "saliency.png"):
        assert (tmp_path / name).stat().st_size > 1000


def test_images_are_looked_at_as_the_guide_shows(tiles, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    X, y = tiles[0][:40].copy(), tiles[1][:40].copy()
    X[y == "china"] //= 4
    X[3] = X[1]
    y[4] = "flower"
    features = VGG19Features(
        "hed", layer="block3_pool", pooling="avg", image_size=32, memory="cache"
    )
    model = make_pipeline(features, StandardScaler(), LogisticRegression(C=0.01))
    names = {"X": X, "y": y, "features": features, "model": model}
    names["make_pipeline"] = make_pipeline
    (mistakes,) = code_of("Mistakes and wrong labels")
    exec(mistakes, names)
    assert 4 in names["display"].label_errors
    assert "given_label" in capsys.readouterr().out
    (neighbors,) = code_of("Duplicates and neighbors")
    exec(neighbors, names)
    assert len(names["pairs"]) == len(names["display"].pairs) >= 1
    (drawn,) = code_of("A map of the images")
    exec(drawn, names)
    (history,) = [c for c in code_of("The dense head") if "HistoryDisplay" in c]
    exec(history, names)
    for name in ("mistakes", "neighbors", "map", "history"):
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
    plt.close("all")


def test_rows_go_to_a_file_and_are_learned_from_as_the_guide_shows(
    tiles, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    to_file, check = code_of("More rows than memory")
    (learn,) = code_of("Learning from a stream")
    images, labels = tiles
    target = (labels == "flower").astype(int)
    names = {"photos": Bunch(data=images, target=target), "np": np}
    exec(to_file.replace("image_size=96", "image_size=32"), names)
    exec(check, names)
    exec("from skvgg import TFLearnMLPClassifier\n" + learn, names)
    rows = names["features"].transform(images)
    np.testing.assert_allclose(names["rows"], rows, rtol=1e-4, atol=1e-3)
    scaled = names["scaler"].transform(rows)
    assert names["linear"].score(scaled, target) > 0.95
    assert names["head"].score(rows, target) > 0.95


def test_the_commands_of_the_guide_are_commands(tmp_path, monkeypatch, tiles):
    monkeypatch.chdir(tmp_path)
    (commands,) = re.findall(r"code-block:: bash\n\n((?: {3}skvgg .*\n)+)", GUIDE)
    images, labels = tiles
    for i in range(8):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(images[i]).save(tmp_path / "photos" / f"{i}.png")
    features = VGG19Features(None, layer="block1_pool", image_size=32, random_state=0)
    model = make_pipeline(features, DummyClassifier()).fit(images[:8], labels[:8])
    joblib.dump(model, "model.joblib")
    small = "--weights none --layer block1_pool --image-size 32"
    for command in textwrap.dedent(commands).splitlines():
        arguments = command.replace("--layer fc1", small).split()[1:]
        assert main(arguments) == 0
    assert len(pd.read_csv("predictions.csv")) == len(np.load("rows.npy")) == 8
