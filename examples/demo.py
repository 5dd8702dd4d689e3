"""
From a folder of images to a tuned, pickled classifier
========================================================

Images go through a pretrained VGG19 once; a dense head is tuned on what comes
out; the result is held against two honest baselines on images that no part of
it has seen, saved, and used again from a new process.

By default the images are photos of solar cells, sound and defective, under
electroluminescence [1]_, which the package elpv-dataset ships. With ``--data`` they
are those of a folder that has one sub-folder a class.

.. [1] C. Buerhop-Lutz et al., "A benchmark for visual identification of defective
   solar cells in electroluminescence imagery", EU PVSEC 2018. Licence of the
   photos: CC BY-NC-SA 4.0.
"""

import argparse
import csv
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import joblib
import matplotlib as mpl
import numpy as np
from PIL import Image
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skvgg import TFLearnMLPClassifier, VGG19Features
from skvgg.datasets import load_image_folder

mpl.use("Agg")
import matplotlib.pyplot as plt

GRID = [
    {"head__hidden_layer_sizes": [(4096, 512)]},
    {"head__hidden_layer_sizes": [(256,)], "head__dropout": [0.2, 0.5]},
]


def main(argv=None):
    args = parse_arguments(argv)
    if args.predict:
        predict_again(args.predict, args.images)
        return
    started = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    paths, labels = load_images(args.data, args.max_per_class)
    train, test, y_train, y_test = train_test_split(
        paths, labels, test_size=0.3, stratify=labels, random_state=0
    )
    classes, counts = np.unique(labels, return_counts=True)
    shares = ", ".join(f"{n} {name}" for name, n in zip(classes, counts, strict=True))
    print(f"{len(paths)} images ({shares}); {len(test)} of them are held out")

    with stopwatch("tuning the head, 3-fold grid search"):
        search = tune(make_features(args.weights, args.out), train, y_train)
    best = {name.removeprefix("head__"): v for name, v in search.best_params_.items()}
    print(f"best head: {best}, cross-validated accuracy {search.best_score_:.3f}\n")

    with stopwatch("both baselines"):
        baselines = fit_baselines(args.out, train, y_train)
    print("\naccuracy on the held-out images, and its standard error")
    for name, model in {**baselines, "this pipeline": search}.items():
        score = model.score(test, y_test)
        error = np.sqrt(score * (1 - score) / len(test))
        print(f"  {score:.3f} ± {error:.3f}  {name}")

    model = args.out / "model.joblib"
    joblib.dump(search.best_estimator_, model)
    save_predictions(search, test, y_test, args.out / "predictions.png")
    print(f"\nsaved {model} ({model.stat().st_size / 1e6:.1f} MB)")
    print(f"saved {args.out / 'predictions.png'}")
    print("\na new process loads it and looks at three held-out images:", flush=True)
    again = [sys.executable, __file__, "--predict", model, *test[:3]]
    subprocess.run(again, check=True)
    print(f"\ntotal {time.perf_counter() - started:.0f} s")


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[1])
    parser.add_argument("--data", type=Path, help="folder with a sub-folder a class")
    parser.add_argument(
        "--weights", default="hed", help="imagenet, hed (default), none or a path"
    )
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    parser.add_argument("--max-per-class", type=int, default=300)
    parser.add_argument(
        "--predict", type=Path, help="a saved model to use, no training"
    )
    parser.add_argument("images", nargs="*", help="with --predict: paths of images")
    return parser.parse_args(argv)


def load_images(folder, max_per_class):
    """Return paths and class names, at most `max_per_class` images of each."""
    if folder is None:
        paths, labels = list_solar_cells()
    else:
        photos = load_image_folder(folder)
        paths, labels = photos.data, photos.target_names[photos.target]
    order = np.random.default_rng(0).permutation(len(paths))
    kept = [order[labels[order] == name][:max_per_class] for name in np.unique(labels)]
    kept = np.concatenate(kept)
    return paths[kept], labels[kept]


def list_solar_cells():
    """Return the paths of monocrystalline cells on whose state the experts agree."""
    folder = Path(find_spec("elpv_dataset").origin).parent / "data"
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.reader(file, delimiter=" ", skipinitialspace=True))
    states = {0.0: "sound", 1.0: "defective"}
    cells = [
        (str(folder / path), states[float(defect)])
        for path, defect, kind in rows
        if kind == "mono" and float(defect) in states
    ]
    paths, labels = zip(*cells, strict=True)
    return np.array(paths, dtype=object), np.array(labels)


def make_features(weights, out):
    """Return the transformer that suits the weights."""
    memory = out / "cache"
    if weights == "imagenet":
        return VGG19Features("imagenet", layer="fc1", memory=memory)
    # Pooled outputs of several stages: what serves images unlike ImageNet's.
    return VGG19Features(
        None if weights == "none" else weights,
        layer=("block2_pool", "block3_pool", "block4_pool", "block5_pool"),
        pooling="avg",
        image_size=96,
        memory=memory,
        random_state=0,
    )


def tune(features, train, y_train):
    """Return a grid search over the head, fitted."""
    pipeline = Pipeline(
        [
            ("features", features),
            ("head", TFLearnMLPClassifier(random_state=0)),
        ]
    )
    return GridSearchCV(pipeline, GRID, cv=3).fit(train, y_train)


def fit_baselines(out, train, y_train):
    """Return what the pipeline has to beat, fitted."""
    models = {
        "always the most frequent class": DummyClassifier(),
        "raw pixels (32 x 32) + logistic regression": make_pipeline(
            FunctionTransformer(read_small_images),
            StandardScaler(),
            LogisticRegression(C=0.01, max_iter=1000),
        ),
    }
    for model in models.values():
        model.fit(train, y_train)
    random_network = tune(make_features("none", out), train, y_train)
    return {**models, "random VGG19 weights, head tuned alike": random_network}


def read_small_images(paths):
    """Return one row of 32 x 32 x 3 pixels an image."""
    small = (Image.open(path).convert("RGB").resize((32, 32)) for path in paths)
    return np.stack([np.asarray(image).ravel() for image in small]).astype(float)


def save_predictions(model, paths, labels, file):
    """Draw sixteen images with what the model says of them."""
    shown = paths[:16]
    predicted, sure = model.predict(shown), model.predict_proba(shown).max(axis=1)
    figure, axes = plt.subplots(4, 4, figsize=(9, 10), layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, path, label, guess, p in zip(
        axes.flat, shown, labels, predicted, sure, strict=False
    ):
        axis.imshow(Image.open(path).convert("RGB"))
        colour = "tab:green" if guess == label else "tab:red"
        axis.set_title(f"{guess} ({p:.0%})\nin truth {label}", color=colour, size=9)
    figure.suptitle("Held-out images and what the pipeline says of them")
    figure.savefig(file, dpi=100)
    plt.close(figure)


def predict_again(model, images):
    """Do what the new process does: load the pipeline and use it."""
    pipeline = joblib.load(model)
    predicted = pipeline.predict(images)
    for path, label in zip(images, predicted, strict=True):
        print(f"  {Path(path).name}: {label}")


@contextmanager
def stopwatch(what):
    """Print how long something took."""
    print(f"{what} ...", end=" ", flush=True)
    started = time.perf_counter()
    yield
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
