"""The README's first example and examples/ do what they say."""

import hashlib
import importlib.util
import re
import textwrap
from pathlib import Path

import joblib
import pytest
from PIL import Image

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
    """Return the code of the start page, as far as it can go without a shell."""
    text = (ROOT / "docs" / "index.rst").read_text()
    (code,) = re.findall(r"code-block:: python\n\n((?: {3}.*\n|\n)+)", text)
    return textwrap.dedent(code)


def test_the_readmes_first_example_runs(
    photo_folder, imagenet_weights, monkeypatch, capsys
):
    monkeypatch.chdir(photo_folder.parent)
    monkeypatch.setenv("HOME", str(photo_folder.parent))
    exec(compile(readme_blocks()[0], "README.md", "exec"), {})
    assert "of the held-out photos are named rightly" in capsys.readouterr().out
    search = joblib.load("model.joblib")
    assert set(search.classes_) == {"china", "flower"}


@pytest.mark.parametrize("text", ["README.md", "docs/index.rst"])
def test_the_first_code_learns_with_the_readmes_offline_features(
    tiles, tmp_path, monkeypatch, text
):
    """No scaler, no thought: what anybody would write first has to learn."""
    save_photos(tiles, tmp_path, 80)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    first, offline = readme_blocks()[:2]
    code = first if text == "README.md" else index_example()
    lines = code.splitlines(keepends=True)
    (place,) = [i for i, line in enumerate(lines) if line.startswith("features =")]
    lines[place] = offline
    names = {}
    exec(compile("".join(lines), text, "exec"), names)
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
    grid = {"head__hidden_layer_sizes": [(32,)], "head__dropout": [0.2, 0.5]}
    monkeypatch.setattr(module, "GRID", grid)
    return module


def test_demo_on_solar_cells(demo, tmp_path, capfd):
    demo.main(["--max-per-class", "20", "--out", str(tmp_path / "out")])
    out, err = capfd.readouterr()
    assert "40 images (20 defective, 20 sound); 12 of them are held out" in out
    accuracies = re.findall(r"([\d.]+) ± ([\d.]+)  (.*)", out)
    assert [name for _, _, name in accuracies][-1] == "this pipeline"
    assert len(accuracies) == 4
    assert all(0 <= float(score) <= 1 for score, _, _ in accuracies)
    said = re.findall(r"  (cell\d+\.png): (sound|defective)", out)
    assert len(said) == 3  # by the new process
    assert err == ""
    assert width(tmp_path / "out" / "predictions.png") > 500
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


@pytest.mark.slow
def test_quickstart_beats_raw_pixels(tmp_path):
    code = (ROOT / "examples" / "quickstart.py").read_text()
    done = run_python(code, cwd=tmp_path)
    features, pixels = re.findall(r"0\.\d+", done.stdout)
    assert float(features) > float(pixels)
    assert width(tmp_path / "quickstart.png") > 500


@pytest.mark.slow
def test_the_layers_are_scored_and_all_of_them_selected_from(tmp_path):
    code = (ROOT / "examples" / "plot_layers.py").read_text()
    assert "N_PER_CLASS = 150" in code
    few = code.replace("N_PER_CLASS = 150", "N_PER_CLASS = 24")
    out = run_python(few, cwd=tmp_path).stdout
    scored = re.findall(r"(block\d_pool) avg (0\.\d+) max (0\.\d+)", out)
    assert [layer for layer, *_ in scored] == [f"block{i}_pool" for i in range(1, 6)]
    best = max(scored, key=lambda line: max(line[1:]))[0]
    assert f"{best} alone: " in out
    (n_selected,) = re.findall(r"all stages: \d\.\d+, by (\d+) of 1472 features", out)
    assert 0 < int(n_selected) < 1472
    assert width(tmp_path / "layers.png") > 500
