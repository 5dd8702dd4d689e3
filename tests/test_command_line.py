"""The command skvgg: files, exit codes and what it says."""

import csv
import importlib
import io
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import filelock
import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

import skvgg
from skvgg import VGG19Classifier, VGG19Features, transform_to_file
from skvgg._command_line import main
from skvgg.datasets import load_image_folder

from .conftest import features

SMALL = ["--weights", "none", "--image-size", "32", "--layer", "block1_pool"]
SMALL += ["--pooling", "avg"]


@pytest.fixture
def paths(tiles, tmp_path, monkeypatch):
    """Paths of ten images of two classes in photos/, in the working directory."""
    images, labels = tiles
    for i in range(10):
        path = tmp_path / "photos" / labels[i] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(path)
    monkeypatch.chdir(tmp_path)
    return sorted(str(path) for path in Path("photos").glob("*/*.png"))


def labels_of(paths):
    return [Path(path).parent.name for path in paths]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "skvgg", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def read(path):
    return pd.read_csv(path, keep_default_na=False)


# extract


@pytest.mark.parametrize("name", ["rows.npy", "rows.parquet", "rows.zarr"])
def test_extract_writes_the_rows_and_which_image_each_is_of(paths, name):
    assert main(["extract", "photos", "-o", name, *SMALL, "--quiet"]) == 0
    expected = features().transform(paths)
    if name == "rows.parquet":
        rows = pd.read_parquet(name).to_numpy()
    elif name == "rows.zarr":
        rows = importlib.import_module("zarr").open_array(name, mode="r")[:]
    else:
        rows = np.load(name)
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-4)
    table = read(f"{name}.images.csv")
    assert list(table["index"]) == list(range(10))
    assert list(table["path"]) == paths
    assert list(table["label"]) == labels_of(paths)
    assert set(table["error"]) == {""}


def test_options_are_those_of_the_transformer(paths):
    options = ["--weights", "none", "--layer", "block1_pool,block2_pool"]
    options += ["--pooling", "avg,max", "--image-size", "32x40", "--resize", "crop"]
    options += ["--preprocessing", "torch", "--views", "flip", "--batch-size", "3"]
    options += ["--memory", "cache", "--chunk-size", "4", "--quiet"]
    assert main(["extract", "photos", "-o", "rows.npy", *options]) == 0
    expected = VGG19Features(
        None,
        layer=("block1_pool", "block2_pool"),
        pooling=("avg", "max"),
        image_size=(32, 40),
        resize="crop",
        preprocessing="torch",
        views="flip",
        random_state=0,
    )
    rows = np.load("rows.npy")
    np.testing.assert_allclose(rows, expected.transform(paths), rtol=1e-4, atol=1e-4)
    assert Path("cache").is_dir()


def test_a_bad_image_does_not_end_the_run_unless_asked(paths, capsys):
    Path(paths[3]).write_bytes(b"no image")
    command = ["extract", "photos", "-o", "rows.npy", *SMALL, "--quiet"]
    assert main([*command, "--strict"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"skvgg: error: X[3] ({paths[3]!r}): not an image")
    assert main(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("skvgg: warning: 1 of 10 images could not be used")
    assert np.isnan(np.load("rows.npy")).all(axis=1).nonzero()[0].tolist() == [3]
    errors = read("rows.npy.images.csv")["error"]
    assert errors[3].startswith("not an image that can be used")
    assert set(errors.drop(3)) == {""}
    assert main(["check", "rows.npy"]) == 1
    out = capsys.readouterr().out
    assert "complete, 10 rows of 64 float32; NaN for 1 bad image(s)" in out
    assert paths[3] in out


def test_outputs_of_one_stem_have_a_table_each(paths):
    for name, images in (("rows.npy", paths[:3]), ("rows.parquet", paths[3:8])):
        assert main(["extract", *images, "-o", name, *SMALL, "--quiet"]) == 0
    assert list(read("rows.npy.images.csv")["path"]) == paths[:3]
    assert list(read("rows.parquet.images.csv")["path"]) == paths[3:8]


def test_a_name_with_a_carriage_return_is_one_cell(paths, saved):
    saved(make_pipeline(features(), LogisticRegression()))
    for old, new in ((0, "a\rb.png"), (1, 'a\n"b.png'), (2, "a,b.png")):
        os.rename(paths[old], f"photos/china/{new}")
        paths[old] = f"photos/china/{new}"
    assert main(["extract", *paths, "-o", "rows.npy", *SMALL, "--quiet"]) == 0
    assert main([*PREDICT[:2], *paths, *PREDICT[3:]]) == 0
    for name in ("rows.npy.images.csv", "predictions.csv"):
        assert list(read(name)["path"]) == paths
    again = ["extract", "rows.npy.images.csv", "-o", "again.npy", *SMALL, "--quiet"]
    assert main(again) == 0
    np.testing.assert_array_equal(np.load("again.npy"), np.load("rows.npy"))


def test_a_name_that_is_not_utf8_is_found_again_by_its_table(paths):
    odd = os.fsdecode(b"photos/china/odd\xff.png")
    os.rename(paths[0], odd)
    images = [odd, *paths[1:3]]
    assert main(["extract", *images, "-o", "rows.npy", *SMALL, "--quiet"]) == 0
    again = ["extract", "rows.npy.images.csv", "-o", "again.npy", *SMALL, "--quiet"]
    assert main(again) == 0
    np.testing.assert_array_equal(np.load("again.npy"), np.load("rows.npy"))


def test_relative_paths_of_a_table_start_from_its_folder(
    paths, saved, tmp_path, monkeypatch
):
    saved(make_pipeline(features(), LogisticRegression()))
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("elsewhere/deep")
    absolute = os.path.abspath(paths[7])
    for folder in ("out", "link"):
        output = f"{folder}/rows.npy"
        images = [*paths[:3], f"link/../../{paths[3]}", absolute]
        assert main(["extract", *images, "-o", output, *SMALL, "--quiet"]) == 0
        command = ["predict", "model.joblib", *images, "-o", f"{folder}/p.csv"]
        assert main([*command, "--quiet"]) == 0
    expected = features().transform([*paths[:4], absolute])
    monkeypatch.chdir(tmp_path / "elsewhere")
    for folder in ("../out", "deep"):
        for table in ("rows.npy.images.csv", "p.csv"):
            places = read(f"{folder}/{table}")["path"]
            for place, path in zip(places, [*paths[:4], absolute], strict=True):
                there = os.path.join(folder, place)
                assert os.path.samefile(there, tmp_path / path)
            assert places[4] == absolute
            assert not any(map(os.path.isabs, places[:4]))
            again = ["extract", f"{folder}/{table}", "-o", "again.npy", *SMALL]
            assert main([*again, "--quiet"]) == 0
            np.testing.assert_allclose(
                np.load("again.npy"), expected, rtol=1e-4, atol=1e-4
            )
            for made in Path().glob("again.*"):
                made.unlink()


def test_extract_takes_tables_and_files(paths, capsys):
    with open("photos/table.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["animal", "file"])
        writer.writerow(["cat", "china/0.png"])
        writer.writerow(["dog", "china/nowhere.png"])
    command = ["extract", "photos/table.csv", paths[7], "-o", "rows.npy", *SMALL]
    assert main([*command, "--quiet"]) == 2
    assert (
        "has no column 'path'; its columns are animal, file" in capsys.readouterr().err
    )
    command += ["--path-column", "file", "--label-column", "animal", "--quiet"]
    assert main(command) == 1
    table = read("rows.npy.images.csv")
    nowhere = os.path.join("photos", "china/nowhere.png")
    assert list(table["path"]) == [paths[0], nowhere, paths[7]]
    assert list(table["label"]) == ["cat", "dog", ""]
    assert "no such file" in table["error"][1]
    np.testing.assert_allclose(
        np.load("rows.npy")[[0, 2]],
        features().transform([paths[0], paths[7]]),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("suffix", ["", ".part"])
def test_a_table_that_cannot_be_written_is_named_before_anything_runs(
    paths, capsys, suffix
):
    table = Path(f"rows.npy.images.csv{suffix}")
    table.mkdir()
    assert main(["extract", "photos", "-o", "rows.npy", *SMALL, "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"skvgg: error: '{table}' is a folder")
    assert line.endswith("Nothing was computed.")
    assert not Path("rows.npy").exists()


def test_rows_stay_when_their_table_cannot_be_written(paths, capsys, monkeypatch):
    def and_then_a_folder(*args, **kwargs):
        transform_to_file(*args, **kwargs)
        Path("rows.npy.images.csv.part").mkdir()

    monkeypatch.setattr("skvgg.files.transform_to_file", and_then_a_folder)
    assert main(["extract", "photos", "-o", "rows.npy", *SMALL, "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "skvgg: error: 'rows.npy.images.csv' cannot be written (Is a"
    )
    assert main(["check", "rows.npy"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["hed", "--layer", "fc1,fc2"],
            "weights='hed' have no fully connected layers, got layer=('fc1', 'fc2').",
        ),
        (["none", "--image-size", "16x32"], "image_size=(16, 32) is too small"),
        (["Imagenet"], "Imagenet': no such file"),
    ],
)
def test_errors_name_the_parameters_of_the_transformer(paths, capsys, options, message):
    command = ["extract", "photos", "-o", "rows.npy", "--quiet", "--weights"]
    assert main([*command, *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("skvgg: error: ")
    assert message in error


def test_the_same_command_goes_on_and_other_options_are_an_error(paths, capsys):
    command = ["extract", "photos", "-o", "rows.npy", *SMALL]
    assert main(command) == 0
    assert main(command) == 0
    assert "rows.npy is already complete" in capsys.readouterr().err
    assert main([*command, "--resize", "pad"]) == 2
    assert "resize of the transformer was 'stretch' and is now 'pad'" in (
        capsys.readouterr().err
    )


def test_damage_is_found_and_mended(paths, capsys):
    command = ["extract", "photos", "-o", "rows.npy", *SMALL, "--quiet"]
    assert main(command) == 0
    expected = Path("rows.npy").read_bytes()
    Path("rows.npy").write_bytes(expected[:-1] + b"\x55")
    assert main(["check", "rows.npy"]) == 2
    assert (
        "error: 'rows.npy' is damaged: the checksum of rows 0 to 9"
        in capsys.readouterr().err
    )
    assert main([*command, "--verify"]) == 0
    assert main(["check", "rows.npy"]) == 0
    assert Path("rows.npy").read_bytes() == expected


SLOW = """
import sys, time
from skvgg import VGG19Features
from skvgg._command_line import main
transform = VGG19Features.transform
def slow(self, X):
    rows = transform(self, X)
    time.sleep(0.3)
    return rows
VGG19Features.transform = slow
sys.exit(main(sys.argv[1:]))
"""


def test_an_interrupted_run_says_so_and_can_be_gone_on_with(paths):
    command = ["extract", "photos", "-o", "rows.npy", *SMALL, "--chunk-size", "1"]
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, *command], stderr=subprocess.PIPE, text=True
    ) as child:
        journal = Path("rows.npy.journal")
        while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        said = child.stderr.read()
    assert child.returncode == 130
    last = said.splitlines()[-1]
    assert last.startswith("skvgg: interrupted: ")
    assert "of 10 rows are saved in 'rows.npy.part'" in last
    assert "Traceback" not in said
    assert main([*command, "--quiet"]) == 0
    np.testing.assert_allclose(
        np.load("rows.npy"), features().transform(paths), rtol=1e-4, atol=1e-4
    )


INTERRUPTED_IMPORT = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from skvgg._command_line import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    "module",
    [
        "argparse",
        "numpy",
        *(
            pytest.param(m, marks=pytest.mark.slow)
            for m in ("PIL", "sklearn", "joblib")
        ),
    ],
)
def test_an_interrupt_while_modules_are_imported_is_no_traceback(paths, module):
    command = ["extract", "photos", "-o", "rows.npy", *SMALL]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT, module, *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "skvgg: interrupted\n"
    assert done.returncode == 130


# predict


@pytest.fixture
def saved(paths):
    """Return a function that fits a model, saves it and returns it."""

    def save(model, y=None):
        model.fit(paths, labels_of(paths) if y is None else y)
        joblib.dump(model, "model.joblib")
        return model

    return save


PREDICT = ["predict", "model.joblib", "photos", "-o", "predictions.csv", "--quiet"]


def test_predict_writes_what_the_model_predicts(paths, saved):
    model = saved(make_pipeline(features(), LogisticRegression()))
    assert main([*PREDICT, "--chunk-size", "4"]) == 0
    table = read("predictions.csv")
    names = ["probability_china", "probability_flower"]
    assert list(table.columns) == ["path", "prediction", *names, "error"]
    assert list(table["path"]) == paths
    assert list(table["prediction"]) == list(model.predict(paths))
    np.testing.assert_allclose(table[names], model.predict_proba(paths), atol=1e-5)
    assert not Path("predictions.csv.part").exists()


def test_predict_takes_searches_and_models_without_probabilities(paths, saved):
    pipeline = make_pipeline(features(), SVC())
    model = saved(GridSearchCV(pipeline, {"svc__C": [1.0]}, cv=2))
    assert main(PREDICT) == 0
    table = read("predictions.csv")
    assert list(table.columns) == ["path", "prediction", "error"]
    assert list(table["prediction"]) == list(model.predict(paths))


def test_predict_takes_regressors_of_one_or_several_targets(paths, saved):
    for y in (np.arange(10.0), np.arange(20.0).reshape(10, 2)):
        model = saved(make_pipeline(features(), Ridge()), y)
        assert main(PREDICT) == 0
        cells = read("predictions.csv")["prediction"]
        numbers = [list(map(float, str(cell).split())) for cell in cells]
        expected = model.predict(paths).reshape(10, -1)
        np.testing.assert_allclose(numbers, expected, rtol=1e-4, atol=1e-4)


def test_predict_takes_fine_tuned_models(paths, saved, tmp_path):
    model = saved(
        VGG19Classifier(
            None,
            trainable=None,
            layer="block1_pool",
            image_size=32,
            random_state=0,
            memory=str(tmp_path / "cache"),
        )
    )
    assert main(PREDICT) == 0
    table = read("predictions.csv")
    assert list(table["prediction"]) == list(model.predict(paths))
    np.testing.assert_allclose(
        table.iloc[:, 2:4].to_numpy(float), model.predict_proba(paths), atol=1e-5
    )


@pytest.mark.parametrize("on_error", ["raise", "nan"])
@pytest.mark.parametrize("final", [LogisticRegression, HistGradientBoostingClassifier])
def test_bad_images_have_no_prediction_but_a_reason(
    paths, saved, capsys, on_error, final
):
    model = saved(make_pipeline(features(on_error=on_error), final()))
    expected = model.predict(paths)
    Path(paths[2]).write_bytes(b"no image")
    Path(paths[5]).write_bytes(b"")
    assert main([*PREDICT, "--chunk-size", "4"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "skvgg: warning: 2 of 10 images could not be used."
    ]
    table = read("predictions.csv")
    assert table["prediction"][2] == table["probability_china"][2] == ""
    assert "not an image that can be used" in table["error"][2]
    assert "not an image that can be used" in table["error"][5]
    others = [i for i in range(10) if i not in (2, 5)]
    assert list(table["prediction"][others]) == list(expected[others])
    assert set(table["error"][others]) == {""}
    assert main([*PREDICT, "--strict", "--chunk-size", "4"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"skvgg: error: X[2] ({paths[2]!r}): not an image")
    assert "The predictions so far are in 'predictions.csv.part'." in line


def test_a_chunk_of_bad_images_alone_has_no_predictions(paths, saved):
    saved(make_pipeline(features(), LogisticRegression()))
    for path in paths:
        Path(path).write_bytes(b"no image")
    assert main([*PREDICT, "--chunk-size", "4"]) == 1
    assert set(read("predictions.csv")["prediction"]) == {""}


def test_predict_writes_to_standard_output(paths, saved, capsys):
    saved(make_pipeline(features(), LogisticRegression()))
    assert main(["predict", "model.joblib", "photos", "-o", "-", "--quiet"]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(table["path"]) == paths


def test_predict_takes_models_of_one_column_and_refuses_those_of_several(
    paths, saved, capsys
):
    table = pd.DataFrame({"path": paths, "age": range(10)})
    images = make_column_transformer((features(), ["path"]))
    model = make_pipeline(images, LogisticRegression(C=1e-4))
    model.fit(table[["path"]], labels_of(paths))
    joblib.dump(model, "model.joblib")
    assert main(PREDICT) == 0
    expected = list(model.predict(table[["path"]]))
    assert list(read("predictions.csv")["prediction"]) == expected
    images.set_params(remainder="passthrough")
    joblib.dump(model.fit(table, labels_of(paths)), "model.joblib")
    assert main(PREDICT) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "was fitted on a table with the columns path, age; expected" in line


def test_models_that_cannot_be_used_are_named(paths, capsys):
    joblib.dump(features(), "model.joblib")
    Path("text.joblib").write_text("no model")
    for name, message in [
        ("nowhere.joblib", "'nowhere.joblib': no such file."),
        ("text.joblib", "'text.joblib': the model cannot be loaded"),
        ("model.joblib", "'model.joblib' contains a VGG19Features without the method"),
    ]:
        assert main(["predict", name, "photos", "-o", "predictions.csv"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"skvgg: error: {message}")
    assert not Path("predictions.csv").exists()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("nofolder/p.csv", "'nofolder/p.csv': there is no folder 'nofolder'"),
        ("photos", "'photos' is a folder; expected a file"),
        ("/proc/p.csv", "'/proc/p.csv': the folder '/proc' is not writable"),
    ],
)
def test_predict_looks_at_its_output_before_the_model(paths, capsys, output, message):
    Path("model.joblib").write_text("what is not loaded is not found to be no model")
    assert main(["predict", "model.joblib", "photos", "-o", output]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"skvgg: error: {message}")
    assert "Nothing was computed." in line


def test_help_says_that_loading_a_model_runs_code(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    assert "Loading a model runs code" in capsys.readouterr().out


def test_a_table_of_images_is_not_overwritten(paths, saved, capsys):
    saved(make_pipeline(features(), LogisticRegression()))
    pd.DataFrame({"path": paths, "note": "mine"}).to_csv(
        "list.npy.images.csv", index=False
    )
    before = Path("list.npy.images.csv").read_text()
    for arguments in (
        ["predict", "model.joblib", "list.npy.images.csv", "-o", "list.npy.images.csv"],
        ["extract", "list.npy.images.csv", "-o", "list.npy"],
    ):
        assert main(arguments) == 2
        assert "would be overwritten" in capsys.readouterr().err
    assert Path("list.npy.images.csv").read_text() == before


@pytest.mark.parametrize("target", ["model.joblib", "photo", "notes.csv"])
def test_predict_overwrites_nothing_but_its_own_tables(paths, saved, capsys, target):
    saved(make_pipeline(features(), LogisticRegression()))
    Path("notes.csv").write_text("path,note\na.png,mine\n")
    target = paths[1] if target == "photo" else target
    before = Path(target).read_bytes()
    predict = ["predict", "model.joblib", "--quiet", "-o", target]
    for images in ("photos", paths[0], target):
        assert main([*predict, images]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"skvgg: error: {target!r} ")
        assert "Choose another output" in line
        assert Path(target).read_bytes() == before
    for n_rows in (1, 2):  # its own tables are written anew
        assert main([*PREDICT[:2], *paths[:n_rows], *PREDICT[3:]]) == 0
        assert len(read("predictions.csv")) == n_rows


def test_predict_writes_to_pipes_and_to_what_links_lead_to(paths, saved):
    saved(make_pipeline(features(), LogisticRegression()))
    Path("link.csv").symlink_to("target.csv")
    assert main([*PREDICT[:4], "link.csv", "--quiet"]) == 0
    assert Path("link.csv").is_symlink()
    expected = Path("target.csv").read_text()
    assert len(read("target.csv")) == 10
    os.mkfifo("pipe")
    reader = subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE, text=True)
    assert main([*PREDICT[:4], "pipe", "--quiet"]) == 0
    assert reader.communicate(timeout=60)[0] == expected
    assert Path("pipe").is_fifo()
    assert main([*PREDICT[:4], os.devnull, "--quiet"]) == 0
    assert Path(os.devnull).is_char_device()


def test_two_predictions_into_one_table_do_not_mix(paths, saved, capsys):
    saved(make_pipeline(features(), LogisticRegression()))
    with filelock.FileLock("predictions.csv.lock"):
        assert main(PREDICT) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'predictions.csv' is being written by another process" in line
    assert main(PREDICT) == 0
    assert sorted(path.name for path in Path().glob("predictions*")) == [
        "predictions.csv"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.csv", "--label-column", "klass"], "'a.csv' has no column 'klass'"),
        (["photos", "--label-column", "klass"], "--label-column klass selects a col"),
        (["photos", "--path-column", "file"], "--path-column file selects a column"),
        (["twice.csv"], "'twice.csv' has 2 columns 'path'"),
        (["gap.csv"], "'gap.csv', line 3: there is no path in the column 'path'"),
        ([""], "A path of images is empty"),
    ],
)
def test_columns_and_paths_that_are_not_there_are_named(
    paths, capsys, arguments, message
):
    Path("a.csv").write_text(f"path,label\n{paths[0]},x\n")
    Path("twice.csv").write_text(f"path,path\n{paths[0]},x\n")
    Path("gap.csv").write_text(f"path,label\n{paths[0]},x\n,y\n")
    assert main(["extract", *arguments, "-o", "rows.npy", *SMALL]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"skvgg: error: {message}")


def test_several_folders_are_classes(paths):
    folders = ["photos/china", "photos/flower"]
    assert main(["extract", *folders, "-o", "rows.npy", *SMALL, "--quiet"]) == 0
    table = read("rows.npy.images.csv")
    assert list(table["label"]) == [Path(path).parent.name for path in table["path"]]
    assert main(["extract", folders[0], "-o", "one.npy", *SMALL, "--quiet"]) == 0
    assert list(read("one.npy.images.csv")) == ["index", "path", "error"]


def test_predict_writes_tables_and_has_no_labels(paths, saved, capsys):
    saved(make_pipeline(features(), LogisticRegression()))
    assert main([*PREDICT[:4], "rows.npy"]) == 2
    assert "predictions are written as a CSV table" in capsys.readouterr().err
    assert main(["predict", "photos", "model.joblib", "-o", "p.csv"]) == 2
    assert "'photos' is a folder; expected the file of a model" in (
        capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        main([*PREDICT, "--label-column", "label"])


def test_options_that_contradict_each_other_are_refused(paths, capsys):
    command = ["extract", "photos", "-o", "rows.npy", *SMALL]
    for options, message in (
        (["--strict", "--on-error", "nan"], "not allowed with"),
        (["--pooling", "avg,mean"], "expected avg, max, or several"),
    ):
        with pytest.raises(SystemExit) as caught:
            main([*command, *options])
        assert caught.value.code == 2
        assert message in capsys.readouterr().err


def test_a_file_name_that_is_no_text_is_written_as_it_is(paths):
    name = os.fsdecode(b"photos/\xff.png")
    os.rename(paths[0], name)
    some = ["--layer", "block1_pool", "--pooling", "avg", "--image-size", "32"]
    arguments = ["extract", "photos", "-o", "rows.npy", "--weights", "none", *some]
    assert main([*arguments, "--quiet"]) == 0
    assert b"photos/\xff.png" in Path("rows.npy.images.csv").read_bytes()


# The command as a whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "nowhere", "-o", "rows.npy"], "'nowhere': no such file or fold"),
        (
            ["extract", "empty", "-o", "rows.npy"],
            "'empty' has no images (0 other files)",
        ),
        (["extract", "photos", "-o", "rows.txt"], "'rows.txt' has the suffix '.txt'"),
        (["extract", "photos", "-o", "no/rows.npy"], "'no/rows.npy': there is no fol"),
        (["check", "rows.npy"], "'rows.npy': no such file"),
        (["extract", "photos", "-o", "r.npy", "--layer", "fc9"], "layer='fc9' is unk"),
    ],
)
def test_errors_are_one_line_that_names_the_file(paths, capsys, arguments, message):
    Path("empty").mkdir()
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"skvgg: error: {message}")


def test_check_says_how_to_repair_a_file_with_the_command(paths, capsys):
    command = ["extract", "photos", "-o", "rows.npy", *SMALL, "--quiet"]
    assert main(command) == 0
    journal, rows = Path("rows.npy.journal"), Path("rows.npy")
    rows.write_bytes(rows.read_bytes()[:-1] + b"\x55")
    assert main(["check", "rows.npy"]) == 2
    said = capsys.readouterr().err
    assert "Repeat the call of transform_to_file, or the command" in said
    assert "(--verify), to compute them again" in said
    rows.rename("rows.npy.part")
    assert main(["check", "rows.npy"]) == 2
    more = capsys.readouterr().err
    assert "or the command, that wrote it, to compute the rest" in more
    Path("rows.npy.part").rename(rows)
    journal.unlink()
    assert main(["check", "rows.npy"]) == 2
    last = capsys.readouterr().err
    assert "It is written next to the file" in last


@pytest.mark.parametrize("size", ["abc", "0", "32x", "32x32x3", "-8", "1.5"])
def test_a_size_that_is_none_is_told_what_one_is(capsys, size):
    with pytest.raises(SystemExit):
        main(["extract", "photos", "-o", "rows.npy", f"--image-size={size}"])
    said = capsys.readouterr().err
    assert "--image-size: expected pixels, as in 224, or HEIGHTxWIDTH, as in" in said
    assert f"got {size!r}" in said


def test_debug_shows_where_an_error_arose(paths):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        main(["extract", "nowhere", "-o", "rows.npy", "--debug"])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["paint"],
        ["extract", "photos"],
        ["extract", "p", "-o", "r", "--views", "x"],
        ["extract", "p", "-o", "r", "--chunk-size", "0"],
        ["predict", "m", "p", "-o", "r", "--chunk-size", "-5"],
    ],
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: skvgg" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["extract"], ["predict"], ["check"]])
def test_help_has_examples_and_exit_codes(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "example" in out
    assert "exit codes:" in out


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"skvgg {skvgg.__version__}\n"


def test_the_script_that_is_installed_is_this_command():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    module, name = project["project"]["scripts"]["skvgg"].split(":")
    assert getattr(importlib.import_module(module), name) is main


def test_python_m_runs_it_and_exits_with_its_code(tmp_path):
    done = run("check", tmp_path / "rows.npy")
    assert done.returncode == 2
    assert done.stderr == f"skvgg: error: '{tmp_path}/rows.npy': no such file.\n"


def test_a_reader_that_leaves_early_is_no_error(paths, saved):
    saved(make_pipeline(features(), LogisticRegression()))
    command = [sys.executable, "-m", "skvgg", "predict", "model.joblib"]
    command += [*["photos"] * 300, "-o", "-", "--quiet"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""


def test_what_needs_no_network_does_not_import_tensorflow(paths):
    assert main(["extract", "photos", "-o", "rows.npy", *SMALL, "--quiet"]) == 0
    code = (
        "import sys; from skvgg._command_line import main; code = main(sys.argv[1:]);"
        "assert 'tensorflow' not in sys.modules; sys.exit(code)"
    )
    again = ["extract", "photos", "-o", "rows.npy", *SMALL, "--quiet"]
    for arguments in (["check", "rows.npy"], again):
        done = subprocess.run([sys.executable, "-c", code, *arguments], check=False)
        assert done.returncode == 0


# Streams and speed


def test_help_imports_neither_scikit_learn_nor_other_large_packages():
    code = """
import sys
from skvgg._command_line import main
try:
    main(sys.argv[1:])
except SystemExit:
    print(*sys.modules)
"""
    for command in ("--help", "extract --help", "--version"):
        done = subprocess.run(
            [sys.executable, "-c", code, *command.split()],
            capture_output=True,
            text=True,
            check=True,
        )
        loaded = {name.split(".")[0] for name in done.stdout.split()}
        large = {"sklearn", "pandas", "tensorflow", "scipy", "numpy", "joblib", "PIL"}
        assert "argparse" in loaded
        assert not loaded & large


def test_a_closed_standard_output_is_an_error_before_anything_is_computed(paths):
    command = f"{sys.executable} -m skvgg predict model.joblib photos -o - >&-"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "standard output, which is closed" in done.stderr
    assert "AttributeError" not in done.stderr


@pytest.mark.parametrize(
    "streams", [">&- 2>&-", pytest.param("2>&-", marks=pytest.mark.slow)]
)
def test_closed_streams_change_no_result(paths, streams):
    model = make_pipeline(features(), LogisticRegression(C=1e-4))
    joblib.dump(model.fit(paths, labels_of(paths)), "model.joblib")
    command = f"{sys.executable} -m skvgg predict model.joblib photos -o a.csv"
    done = subprocess.run(f"{command} {streams}", shell=True, check=False)
    assert done.returncode == 0
    assert len(pd.read_csv("a.csv")) == 10


INTERRUPTED_PASS = """
import signal, sys, threading, time
import numpy as np
from skvgg import VGG19Features
from skvgg._network import engines

steps = []
def slow(convolve):
    def counted(*args, **kwargs):
        steps.append(1)
        if len(steps) == 3:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.05)
        return convolve(*args, **kwargs)
    return counted
engines.Winograd.convolve = slow(engines.Winograd.convolve)
X = np.zeros((32, 64, 64, 3), np.uint8)
X += np.arange(32, dtype=np.uint8)[:, None, None, None]
try:
    VGG19Features(
        None, layer="block5_pool", image_size=64, random_state=0
    ).transform(X)
except KeyboardInterrupt:
    print(len(steps))
"""


def test_an_interrupt_ends_the_network_after_a_layer():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_PASS],
        capture_output=True,
        text=True,
        check=True,
    )
    assert 3 <= int(done.stdout) <= 4


class Doubling(BaseEstimator):
    """Like a sampler of imbalanced-learn: no transform."""

    def fit(self, X, y=None):
        return self

    def fit_resample(self, X, y):
        return np.vstack([X, X]), np.concatenate([y, y])


def test_predict_skips_samplers(paths):
    y = np.arange(10) % 2
    model = make_pipeline(features(), LogisticRegression(C=1e-4)).fit(paths, y)
    joblib.dump(model, "plain.joblib")
    model.steps.insert(1, ("sampler", Doubling()))
    joblib.dump(model, "sampling.joblib")
    for name in ("plain", "sampling"):
        assert main(["predict", f"{name}.joblib", "photos", "-o", f"{name}.csv"]) == 0
    pd.testing.assert_frame_equal(pd.read_csv("plain.csv"), pd.read_csv("sampling.csv"))


def test_extract_finds_linked_images_and_says_which_links_lead_nowhere(
    paths, tmp_path, capsys
):
    (tmp_path / "elsewhere").mkdir()
    moved = Path(paths[0]).rename(tmp_path / "elsewhere" / "moved.png")
    Path("photos", "linked").symlink_to(tmp_path / "elsewhere")
    Path("photos", "china", "gone.png").symlink_to("nowhere.png")
    assert main(["extract", "photos", "-o", "rows.npy", *SMALL, "--quiet"]) == 1
    err = capsys.readouterr().err.splitlines()
    assert [line for line in err if "lead nowhere" in line] == [err[0]]
    assert "photos/china/gone.png" in err[0]
    found = ["photos/linked/moved.png", *paths[1:]]
    assert sorted(read("rows.npy.images.csv")["path"]) == sorted(found)
    np.testing.assert_allclose(
        np.sort(np.load("rows.npy"), axis=0),
        np.sort(features().transform([moved, *paths[1:]]), axis=0),
        rtol=1e-5,
        atol=1e-4,
    )


@pytest.mark.parametrize("command", ["extract", "predict"])
def test_files_that_are_skipped_are_said_in_one_line(paths, saved, capsys, command):
    Path("photos", "flower", "a.heic").write_bytes(b"")
    for name in ("b.cr2", "c.HEIC", "README"):
        Path("photos", "china", name).write_bytes(b"")
    if command == "predict":
        saved(make_pipeline(features(), LogisticRegression()))
        given = [*PREDICT[:2], "-o", "predictions.csv"]
    else:
        given = ["extract", "-o", "rows.npy", *SMALL]
    folders = ["photos/china", "photos/flower", "--exclude", "README"]
    assert main([*given, "--quiet", *folders]) == 0
    lines = capsys.readouterr().err.splitlines()
    expected = "skvgg: note: 3 other file(s) were skipped (.heic, .cr2)."
    assert [line for line in lines if "skipped" in line] == [expected]


def test_a_folder_behind_links_has_the_class_that_load_image_folder_gives(
    paths, capsys
):
    Path("photos", "china", "other").symlink_to("../flower")
    Path("photos", "self").symlink_to(".")
    assert main(["extract", "photos", "-o", "rows.npy", *SMALL, "--quiet"]) == 0
    assert "'photos/china/other' is left out" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="china/other' is left out"):
        photos = load_image_folder("photos")
    table = read("rows.npy.images.csv")
    assert table["path"].tolist() == photos.data.tolist() == paths
    assert table["label"].tolist() == photos.target_names[photos.target].tolist()


def test_excluded_files_are_left_out_of_folders(paths, capsys):
    command = ["extract", "photos", "-o", "rows.npy", *SMALL, "--quiet"]
    assert main([*command, "--exclude", "china/*", "--exclude", "9.*"]) == 0
    left = [path for path in paths if "china" not in path and "9." not in path]
    assert read("rows.npy.images.csv")["path"].tolist() == left
    assert capsys.readouterr().err == ""
    main(["extract", "photos", "-o", "all.npy", *SMALL, "--exclude", "*_miror*"])
    assert "--exclude *_miror* matches no file" in capsys.readouterr().err
    assert main(["extract", paths[0], "-o", "one.npy", *SMALL, "--exclude", "x"]) == 2
    assert "--exclude leaves out files of a folder" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_instead_of_images_or_a_table_is_named(tmp_path, capsys):
    for name in ("pipe.png", "pipe.csv"):
        os.mkfifo(tmp_path / name)
        assert main(["extract", str(tmp_path / name), "-o", "rows.npy", *SMALL]) == 2
        assert "is a pipe (FIFO); expected a file" in capsys.readouterr().err
