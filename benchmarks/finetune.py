"""Measure the accuracy and the time of fine-tuning.

``accuracy`` repeats the table of Deitsch et al., "Automatic classification of defective
photovoltaic module cells in electroluminescence images" (Solar Energy 2019), who
fine-tuned a VGG19 on a GPU: 2,624 cells, a stratified training set of three quarters,
defective if the probability is at least 0.5, smaller weights for uncertain labels. They
report 82.44 % for hand-crafted features and a support vector machine, and 88.42 % for
VGG19. Here the weights are "hed", on a CPU. Classifiers on fixed features choose their
stage and penalty by cross-validation on the training set. The settings of fine-tuning
were chosen on a part of the training set of the first split.
``digits`` does the same for scikit-learn's digits, where fine-tuning can gain little.
``speed`` measures an epoch from block5 at 224 pixels, and Keras running the frozen
layers in every epoch, alternating, each in its own process.

    pip install -e ".[bench]"
    python benchmarks/finetune.py accuracy                      # hours
    python benchmarks/finetune.py accuracy --short              # two hours on two cores
    python benchmarks/finetune.py digits --short
    python benchmarks/finetune.py speed
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skvgg import VGG19Classifier, VGG19Features

STAGES = tuple(f"block{i}_pool" for i in range(1, 6))


def load_solar_cells():
    folder = Path(find_spec("elpv_dataset").origin).parent / "data"
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.reader(file, delimiter=" ", skipinitialspace=True))
    paths = np.array([str(folder / path) for path, _, _ in rows])
    defects = np.array([float(defect) for _, defect, _ in rows])
    is_certain = np.isclose(defects, 0) | np.isclose(defects, 1)
    return paths, (defects >= 0.5).astype(int), np.where(is_certain, 1, 1 / 3)


def load_digit_images():
    X, y = load_digits(return_X_y=True)
    images = (X.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    return images, y, np.ones(len(y))


#: Image sizes for fixed features and for fine-tuning, and the views.
SETS = {
    "accuracy": (load_solar_cells, 224, 128, "flips"),
    "digits": (load_digit_images, 32, 32, None),
}

STRENGTHS = np.logspace(-4, -1, 4)

#: First trainable block; None trains the head only.
STARTS = (None, "block5", "block4", "block3")


class FixedFeatures:
    """Features of all stages and poolings, by name, from one pass per image."""

    def __init__(self, images, image_size, memory):
        features = VGG19Features(
            "hed",
            layer=STAGES,
            pooling=("avg", "max"),
            image_size=image_size,
            memory=memory,
        )
        self._rows = features.fit_transform(images)
        names = features.get_feature_names_out().astype(str)
        self._outputs = np.array([name.rpartition("_")[0] for name in names])
        self.names = list(dict.fromkeys(self._outputs))

    def __getitem__(self, name):
        return self._rows[:, self._outputs == name]

    def all(self):
        return self._rows


def search(model, grid, X, y, weights, seed):
    """Choose the parameters of the last step of a model by cross-validation."""
    step = model.steps[-1][0]
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    grid = {f"{step}__{name}": values for name, values in grid.items()}
    found = GridSearchCV(model, grid, cv=folds)
    return found.fit(X, y, **{f"{step}__sample_weight": weights})


def make_logistic():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))


def on_best_stage(make, grid, features, y, weights, train, test, seed):
    searches = {
        name: search(
            make(), grid, features[name][train], y[train], weights[train], seed
        )
        for name in features.names
    }
    best = max(searches, key=lambda name: searches[name].best_score_)
    return searches[best].score(features[best][test], y[test]), best


def run_fixed(features, y, weights, train, test, seed):
    """Yield the name, the accuracy and the time of each classifier."""
    part = features, y, weights, train, test, seed

    def logistic_best():
        return on_best_stage(make_logistic, {"C": STRENGTHS}, *part)

    def svc_best():
        return on_best_stage(
            lambda: make_pipeline(StandardScaler(), SVC()), {"C": [1, 3, 10]}, *part
        )

    def logistic_all():
        X = features.all()
        found = search(
            make_logistic(), {"C": STRENGTHS}, X[train], y[train], weights[train], seed
        )
        return found.score(X[test], y[test]), ""

    def selected():
        X = features.all()
        picks = SelectFromModel(
            LinearSVC(penalty="l1", C=0.01, dual=False, random_state=0)
        )
        with tempfile.TemporaryDirectory() as folder:  # select once a fold
            model = make_pipeline(
                StandardScaler(),
                picks,
                LogisticRegression(max_iter=2000),
                memory=folder,
            )
            found = search(
                model, {"C": STRENGTHS}, X[train], y[train], weights[train], seed
            )
        kept = found.best_estimator_[1].get_support().sum()
        return found.score(X[test], y[test]), f"{kept} of {X.shape[1]} features"

    for name, run in (
        ("SVC, best stage", svc_best),
        ("logistic regression, best stage", logistic_best),
        ("logistic regression, all stages", logistic_all),
        ("all stages, selected by L1", selected),
    ):
        start = time.perf_counter()
        score, note = run()
        yield name, score, time.perf_counter() - start, note


def make_tuned(trainable, image_size, augment, memory, seed, options):
    return VGG19Classifier(
        "hed",
        trainable=trainable,
        pooling=("avg", "max"),
        image_size=image_size,
        augment=augment,
        average_views=augment is not None,
        max_iter=options.epochs,
        learning_rate_init=options.rate,
        layer_decay=options.layer_decay,
        precision=options.precision,
        memory=memory,
        random_state=seed,
    )


def print_scores(name, scores, seconds):
    scores = np.array(scores)
    error = scores.std(ddof=1) / np.sqrt(len(scores)) if len(scores) > 1 else np.nan
    print(
        f"{name:36} {scores.mean():.4f} ± {error:.4f}  {np.median(seconds):7.0f} s, "
        f"{len(scores)} splits",
        flush=True,
    )


def compare(load, fixed_size, tuned_size, augment, options, memory):
    images, y, weights = load()
    found: dict = {}

    def note(name, score, seconds, remark=""):
        found.setdefault(name, []).append((score, seconds))
        print(f"  {name:36} {score:.4f} {seconds:7.0f} s  {remark}", flush=True)

    if "fixed" in options.only:
        start = time.perf_counter()
        features = FixedFeatures(images, options.fixed_size or fixed_size, memory)
        print(f"features: {time.perf_counter() - start:.0f} s", flush=True)
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        train, test = train_test_split(
            np.arange(len(y)), test_size=0.25, stratify=y, random_state=seed
        )
        print(
            f"split {seed}: {len(train)} to train on, {len(test)} to test", flush=True
        )
        if "fixed" in options.only:
            for of_one in run_fixed(features, y, weights, train, test, seed):
                note(*of_one)
        for trainable in STARTS:
            if str(trainable) not in options.only:
                continue
            start = time.perf_counter()
            model = make_tuned(trainable, tuned_size, augment, memory, seed, options)
            model.fit(images[train], y[train], sample_weight=weights[train])
            seconds = time.perf_counter() - start
            name = f"fine-tuned from {trainable}" if trainable else "head alone, views"
            score = model.score(images[test], y[test])
            saved = (model.n_iter_ - 1) * len(train) if trainable else 0
            note(name, score, seconds, f"{saved} passes saved")
    print("mean over splits, its standard error, median time to fit")
    for name, pairs in found.items():
        print_scores(name, *zip(*pairs, strict=True))


# Speed


def load_some(n, size):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, size, size, 3), np.uint8), np.arange(n) % 2


def time_skvgg(n, size, epochs):
    from skvgg._head import training

    seconds, one_epoch = [], training._one_epoch

    def clock(*args, **kwargs):
        start = time.perf_counter()
        metrics = one_epoch(*args, **kwargs)
        seconds.append(time.perf_counter() - start)
        return metrics

    training._one_epoch = clock
    X, y = load_some(n, size)
    model = VGG19Classifier(
        None, layer="block5_pool", image_size=size, max_iter=epochs, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    return seconds


def time_keras(n, size, epochs):
    import keras

    X, y = load_some(n, size)
    body = keras.applications.VGG19(
        weights=None, include_top=False, input_shape=(size, size, 3), pooling="avg"
    )
    for layer in body.layers:
        layer.trainable = layer.name.startswith("block5")
    model = keras.Sequential([body, keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss)
    seconds = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            seconds.append(time.perf_counter() - self.start)

    X = keras.applications.vgg19.preprocess_input(X.astype(np.float32))
    model.fit(X, y, batch_size=32, epochs=epochs, verbose=0, callbacks=[Clock()])
    return seconds


CONTENDERS = {"skvgg": time_skvgg, "Keras": time_keras}


def report_speed(name, n, size, epochs):
    """Print the seconds per epoch, and the peak memory of this process in MB."""
    import resource

    seconds = CONTENDERS[name](n, size, epochs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(" ".join(f"{s:.3f}" for s in seconds), f"{peak:.0f}")


def compare_speed(options):
    later: dict = {name: [] for name in CONTENDERS}
    peaks: dict = {name: [] for name in CONTENDERS}
    for _ in range(options.rounds):
        for name in CONTENDERS:
            command = [sys.executable, __file__, "one", "--contender", name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            *seconds, peak = map(float, done.stdout.split())
            later[name] += seconds[1:]
            peaks[name].append(peak)
            print(f"{name:16} epochs {seconds} s, peak {peak:.0f} MB", flush=True)
    print("an epoch from the second on, and the peak memory, beside Keras'")
    for name in CONTENDERS:
        seconds, peak = np.median(later[name]), np.median(peaks[name])
        ratio, of_peak = np.median(later["Keras"]) / seconds, np.median(peaks["Keras"])
        print(
            f"{name:16} {seconds:6.2f} s, ratio {ratio:5.2f}; {peak:5.0f} MB, ratio "
            f"{peak / of_peak:.2f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=[*SETS, "speed", "one"])
    parser.add_argument("--seeds", type=int, help="number of splits; 5 without --short")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="*", choices=["fixed", *map(str, STARTS)], metavar="START"
    )
    parser.add_argument(
        "--short", action="store_true", help="three splits, nothing from block3"
    )
    parser.add_argument("--fixed-size", type=int, help="pixels, for fixed features")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--layer-decay", type=float, default=1.0)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--memory", help="folder for cached features and maps")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contender", choices=CONTENDERS)
    options = parser.parse_args()
    starts = STARTS[:-1] if options.short else STARTS
    options.only = options.only or ["fixed", *map(str, starts)]
    options.seeds = options.seeds or (3 if options.short else 5)
    if options.what == "one":
        report_speed(options.contender, 64, 224, 4)
    elif options.what == "speed":
        compare_speed(options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            memory = options.memory or folder
            compare(*SETS[options.what], options, memory)


if __name__ == "__main__":
    main()
