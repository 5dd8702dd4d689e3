"""The README's examples and the demo do what they say; `make docs` runs the gallery."""

import hashlib
import importlib.util
import re
import textwrap
from pathlib import Path

import joblib
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from skvgg import TFLearnMLPClassifier
from skvgg.weights import _imagenet

from .conftest import run_python

ROOT = Path(__file__).parents[1]


@pytest.fixture
def photo_folder(tiles, tmp_path):
    """A folder photos/ with fourteen images in two sub-folders."""
    return save_photos(tiles, tmp_path, 14)


def save_photos(tiles, tmp_path, n):
    images, labels = tiles
    for i in range(n):
        path = tmp_path / "photos" / labels[i] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(path)
    return tmp_path / "photos"


@pytest.fixture
def imagenet_weights(keras_top, tmp_path, monkeypatch):
    """Random weights in the place where Keras keeps those of ImageNet."""
    _, path = keras_top
    name, _ = _imagenet.TOP
    folder = tmp_path / "keras" / "models"
    folder.mkdir(parents=True)
    (folder / name).symlink_to(path)
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    monkeypatch.setattr(_imagenet, "TOP", (name, md5))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


def width(path):
    with Image.open(path) as image:
        return image.width


def readme_blocks():
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def index_example():
    text = (ROOT / "docs" / "index.rst").read_text()
    (code,) = re.findall(r"code-block:: python\n\n((?: {3}.*\n|\n)+)", text)
    return textwrap.dedent(code)


def shown_output(text):
    """Return what README.md or docs/index.rst says that the first example prints."""
    return re.findall(r"accuracy: (0\.\d+)\n *(CacheInfo\(.*\))", text)


def test_the_first_example_prints_what_the_readme_and_the_start_page_show(
    tmp_path, monkeypatch, capsys
):
    readme = (ROOT / "README.md").read_text()
    index = (ROOT / "docs" / "index.rst").read_text()
    code = readme_blocks()[0]
    assert index_example().strip() == code.strip()
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    ((accuracy, info),) = shown_output(capsys.readouterr().out)
    n_bytes = re.compile(r"bytes=\d+")
    for ((shown, shown_info),) in (shown_output(readme), shown_output(index)):
        assert abs(float(shown) - float(accuracy)) < 0.01  # other processors round
        assert n_bytes.sub("", shown_info) == n_bytes.sub("", info)
    assert "misses=1797" in info


@pytest.mark.slow  # with 575 MB of weights
def test_the_example_on_photos_runs(
    photo_folder, imagenet_weights, monkeypatch, capsys
):
    monkeypatch.chdir(photo_folder.parent)
    monkeypatch.setenv("HOME", str(photo_folder.parent))
    exec(compile(readme_blocks()[1], "README.md", "exec"), {})
    assert "of the held-out photos are classified correctly" in capsys.readouterr().out
    search = joblib.load("model.joblib")
    assert set(search.classes_) == {"china", "flower"}


def test_the_example_on_photos_learns_with_the_readmes_offline_features(
    tiles, tmp_path, monkeypatch
):
    """No scaler, no thought: what anybody would write first has to learn."""
    save_photos(tiles, tmp_path, 80)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    code, offline = readme_blocks()[1:3]
    lines = code.splitlines(keepends=True)
    (place,) = [i for i, line in enumerate(lines) if line.startswith("features =")]
    lines[place] = offline
    names = {}
    exec(compile("".join(lines), "README.md", "exec"), names)
    search, photos = names["search"], names["photos"]
    labels = photos.target_names[photos.target]
    assert search.best_score_ > 0.85
    assert search.score(photos.data, labels) > 0.9
    assert (tmp_path / ".cache" / "skvgg").is_dir()


@pytest.fixture
def demo(monkeypatch):
    """examples/demo.py as a module, with a small head to tune."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "examples" / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    heads = {"head": [LogisticRegression(), TFLearnMLPClassifier((32,))]}
    monkeypatch.setattr(module, "GRID", heads)
    monkeypatch.setattr(module, "IMAGE_SIZE", 32)
    return module


def test_demo_on_solar_cells(demo, tmp_path, passes, capfd):
    demo.main(["--max-per-class", "20", "--out", str(tmp_path / "out")])
    out, err = capfd.readouterr()
    assert "40 images (20 defective, 20 sound)" in out
    assert "3 splits: 30 to learn from, 10 to test" in out
    told = re.findall(r"(\d+) passes through the network", out)
    assert told == ["40", "40"]  # one network each
    assert 80 < sum(passes) <= 80 + 4  # and one for each map of where it looked
    accuracies = re.findall(r"  ([\d.]+) [± ].{7} (\S.*\S) +[█░]{30}", out)
    assert [name for _, name in accuracies][3:] == [
        "this pipeline",
        "hand-crafted features, SVM",
        "VGG19 fine-tuned on a GPU",
    ]
    assert all(0 <= float(score) <= 1 for score, _ in accuracies)
    said = re.findall(r"  images/(cell\d+\.png): (sound|defective)", out)
    assert len(said) == 3  # by the new process
    assert err == ""
    assert width(tmp_path / "out" / "demo.png") > 500
    assert (tmp_path / "out" / "model.joblib").stat().st_size < 1_000_000


def test_demo_on_a_folder_of_ones_own(demo, photo_folder, tmp_path, capfd):
    arguments = ["--data", str(photo_folder), "--weights", "none"]
    demo.main([*arguments, "--out", str(tmp_path / "out")])
    out, _ = capfd.readouterr()
    assert "14 images (7 china, 7 flower)" in out
    assert len(re.findall(r"\d+\.jpg: (?:china|flower)", out)) == 3


def test_make_passes_data_and_weights_on():
    makefile = (ROOT / "Makefile").read_text()
    for option, variable in (("--data", "DATA"), ("--weights", "WEIGHTS")):
        assert f'{option} "$({variable})"' in makefile


def run_gallery(name, replacing=("", "")):
    """Return what an example of the gallery prints."""
    old, new = replacing
    code = (ROOT / "examples" / "gallery" / f"plot_{name}.py").read_text()
    assert old in code
    return run_python(code.replace(old, new)).stdout


@pytest.mark.slow
def test_the_first_classifier_beats_raw_pixels():
    features, pixels = re.findall(r"0\.\d+", run_gallery("1_first_classifier"))
    assert float(features) > float(pixels)


@pytest.mark.slow
def test_the_layers_are_scored_and_all_of_them_selected_from():
    out = run_gallery("2_layers", ("N_PER_CLASS = 150", "N_PER_CLASS = 24"))
    scored = re.findall(r"(block\d_pool) avg (0\.\d+) max (0\.\d+)", out)
    assert [layer for layer, *_ in scored] == [f"block{i}_pool" for i in range(1, 6)]
    best = max(scored, key=lambda line: max(line[1:]))[0]
    assert f"{best} alone: " in out
    (n_selected,) = re.findall(r"all stages: \d\.\d+, by (\d+) of 1472 features", out)
    assert 0 < int(n_selected) < 1472


@pytest.mark.slow
def test_no_image_runs_twice_in_the_grid_search():
    out = run_gallery("3_grid_search")
    assert "300 passes for 300 images" in out
    assert "\n0 passes in the second search" in out


@pytest.mark.slow
def test_both_classifiers_learn_from_the_stream():
    scores = re.findall(r"linear: (0\.\d+), dense: (0\.\d+)", run_gallery("8_stream"))
    assert min(map(float, scores[0])) > 0.9
