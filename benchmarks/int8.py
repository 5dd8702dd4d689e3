"""Whether 8-bit arithmetic would pay: what it costs in accuracy, and what it gains.

``accuracy``: a linear classifier on all stages, averaged, of the weights "hed", from
float32 and from the 8-bit networks of two libraries: ONNX Runtime's `quantize_static`
(a scale a channel) and OpenVINO's NNCF, each calibrated with 64 images of the same set.
The three sets are solar cells, MNIST and scikit-learn's digits. The penalty is the best
of two for each; accuracy is that of five-fold cross-validation, twice, and the
difference to float32 is taken fold by fold.
``speed``: images a second up to fc1 with random weights, beside skvgg; see extract.py.

    pip install -e ".[bench]"
    python benchmarks/int8.py accuracy
    python benchmarks/int8.py speed
"""

import argparse

import extract
import numpy as np
from defaults import load_mnist_images
from finetune import load_digit_images, load_solar_cells
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvgg import weights
from skvgg._definition.architecture import STAGES, layers_up_to, parameter_shapes

STRENGTHS = (1e-3, 1e-2)

#: The images, and their size for the network.
SETS = {
    "solar cells": (load_solar_cells, 112),
    "MNIST": (load_mnist_images, 32),
    "digits": (load_digit_images, 32),
}

SPEED = [
    "skvgg winograd",
    "skvgg bfloat16",
    "ONNX Runtime int8",
    "OpenVINO int8",
    "OpenVINO bfloat16",
]


def load_hed(size):
    return weights.load("hed", parameter_shapes(STAGES, (size, size)))


def load_pixels(images, size):
    """Return images as "hed" takes them, in ONNX: (n, 3, size, size) float32."""
    opened = (
        Image.fromarray(image) if isinstance(image, np.ndarray) else Image.open(image)
        for image in images
    )
    resized = (
        image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        for image in opened
    )
    bgr = np.stack([np.asarray(image)[..., ::-1] for image in resized])
    pixels = bgr - np.float32(load_hed(size).preprocessing.mean)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def hed_model(size):
    parameters = load_hed(size).parameters
    return extract.onnx_model(parameters, layers_up_to(STAGES), STAGES, size)


def rows_of(run, pixels, batch=32):
    return np.concatenate(
        [
            np.hstack(run(pixels[start : start + batch]))
            for start in range(0, len(pixels), batch)
        ]
    )


def accuracies(X, y):
    """Return the accuracy of each fold, with the penalty that is best on average."""
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=0)
    scores = [
        cross_val_score(
            make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=2000)),
            X,
            y,
            cv=folds,
        )
        for C in STRENGTHS
    ]
    return max(scores, key=np.mean)


def accuracy():
    runners = {
        "float32": extract.onnx_session,
        "ONNX Runtime int8": extract.onnx_int8_session,
        "OpenVINO int8": extract.openvino_int8_request,
    }
    print(f"{'':12} {'':18} {'accuracy':>8} {'difference':>16} {'of a row':>9}")
    for name, (load, size) in SETS.items():
        images, y, *_ = load()
        pixels = load_pixels(images, size)
        chosen = np.random.default_rng(0).permutation(len(pixels))[:64]
        model = hed_model(size)
        exact = None
        for runner, make in runners.items():
            run = make(model, pixels[chosen])
            rows = rows_of(run, pixels)
            scores = accuracies(rows, y)
            if exact is None:
                exact, expected = scores, rows
            gain = 100 * (scores - exact)
            error = gain.std(ddof=1) / np.sqrt(len(gain))
            off = np.linalg.norm(rows - expected) / np.linalg.norm(expected)
            print(
                f"{name:12} {runner:18} {scores.mean():8.4f} "
                f"{gain.mean():+7.2f} ± {error:4.2f}  {off:9.1e}",
                flush=True,
            )


def speed(rounds, batches):
    arguments = argparse.Namespace(rounds=rounds, batches=batches, only=SPEED)
    extract.forward(arguments)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["accuracy", "speed"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    arguments = parser.parse_args()
    print(extract.describe_processor())
    if arguments.what == "accuracy":
        accuracy()
    else:
        speed(arguments.rounds, arguments.batches)


if __name__ == "__main__":
    main()
