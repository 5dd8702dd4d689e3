"""The second phase of fine-tuning: the head and the layers below it together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from skvgg._definition.architecture import parameter_shapes
from skvgg._definition.preprocessing import PREPROCESSINGS, Preprocessing
from skvgg._finetune.data import TrainingData
from skvgg._finetune.tuner import Tuner, TuningSpec
from skvgg._head import training
from skvgg._head.forward import DenseLayers, Parameters
from skvgg._head.targets import Metrics, Targets
from skvgg._head.training import EarlyStopping, History, Samples
from skvgg._network.precision import computed_in, tensor_float_32
from skvgg._runtime.progress import progress_bar
from skvgg._runtime.tensorflow import eagerly
from skvgg.weights import TunedWeights

#: Fraction of all steps in which the learning rate rises to its maximum, at most one
#: epoch.
_WARM_UP = 0.1


@dataclass(frozen=True)
class Tuned:
    """What the second phase has learned: the network, the head, and how it went."""

    weights: TunedWeights
    head: Parameters
    history: History
    stopping: EarlyStopping | None


def tune(
    estimator: Any, data: TrainingData, head: DenseLayers, penalties: list[float]
) -> Tuned:
    """Train the layers that are not frozen, together with a head.

    Training starts from the weights of the network and from those of `head`, and
    minimizes the loss of the head plus its `penalties`. The standardization of `head`
    stays as it is.
    """
    precision = estimator.precision
    with eagerly(), tensor_float_32(precision == "tensorfloat32"):
        tuner, preprocessing = _make_tuner(estimator, data, head, penalties)
        history, stopping = _train(estimator, data, head, tuner)
        layers, parameters = tuner.get_parameters()
    arrays = [*parameters[0], *parameters[1]]
    arrays += [array for pair in layers.values() for array in pair]
    training.check_learned(arrays, "a smaller learning_rate_init")
    base = data.network.source.absolute()
    if isinstance(base, TunedWeights):
        tuned = base.changed(layers, preprocessing)
    else:
        tuned = TunedWeights(base, data.network.fingerprint, layers, preprocessing)
    return Tuned(tuned, parameters, history, stopping)


def _make_tuner(
    estimator: Any, data: TrainingData, head: DenseLayers, penalties: list[float]
) -> tuple[Tuner, Preprocessing]:
    network = data.network
    image_size = network.settings.image_size
    shapes = parameter_shapes([o.layer for o in network.plan.outputs], image_size)
    loaded = network.source.load({name: shapes[name] for name in network.plan.trained})
    preprocessing = PREPROCESSINGS.get(estimator.preprocessing, loaded.preprocessing)
    tuner = Tuner(
        network.plan,
        loaded.parameters,
        head,
        TuningSpec(
            learning_rate=float(estimator.learning_rate_init),
            layer_decay=float(estimator.layer_decay),
            weight_decay=float(estimator.weight_decay),
            dropout=float(estimator.dropout),
            penalties=penalties,
            out_activation=data.targets.out_activation,
            precision=computed_in(estimator.precision),
            seed=estimator.seed_,
        ),
        preprocessing,
        image_size,
    )
    return tuner, preprocessing


def _train(
    estimator: Any, data: TrainingData, head: DenseLayers, tuner: Tuner
) -> tuple[History, EarlyStopping | None]:
    """Run the epochs; the tuner then has the weights to keep."""
    scaling, targets = head.scaling, data.targets
    if scaling.outputs is not None:
        targets = targets.scaled(scaling.outputs.scale)
    rng = np.random.RandomState(estimator.seed_)
    samples = data.samples(data.train, scaling, rng)
    stopping, validation = None, None
    if estimator.early_stopping:
        validation = data.samples(data.validation, scaling)
        stopping = EarlyStopping.of(estimator, validation, targets)
        # Keeps the initial layers if training only makes them worse.
        metrics = training.validate(tuner, validation, targets)
        stopping.should_stop(0, metrics, tuner)
    bar = progress_bar(unit="image")

    def show(epoch: int, metrics: Metrics) -> None:
        values = [f"{name}={value:.3f}" for name, value in metrics.items()]
        bar.set_postfix_str(", ".join(values))
        bar.update(len(data.Y))

    n_batches = -(-len(samples) // estimator.batch_size)
    history = training.train(
        tuner,
        samples,
        validation,
        targets=targets,
        epochs=range(1, estimator.max_iter + 1),
        batch_size=estimator.batch_size,
        early_stopping=stopping,
        callbacks=[show],
        rng=rng,
        verbose=0,
        rate_factors=warm_up_and_fall(estimator.max_iter * n_batches, n_batches),
    )
    plain = data.samples(data.train, scaling)
    _warn_if_nothing_learned(estimator, plain, tuner, targets, history)
    return history, stopping


def _warn_if_nothing_learned(
    estimator: Any, samples: Samples, tuner: Tuner, targets: Targets, history: History
) -> None:
    baseline = targets.baseline_loss(samples.Y, samples.w)
    last = {name: values[-1] for name, values in history.items()}
    # The loss of regression depends on the units of y.
    is_clear = last["r2"] > 0.1 if "r2" in last else last["loss"] < 0.9 * baseline
    if is_clear:
        return  # despite dropout; saves another pass
    loss, output = tuner.evaluate(samples.X, samples.Y, samples.w)
    if not targets.is_learned(loss, samples.Y, output, samples.w):
        rate = f"a smaller learning_rate_init than {estimator.learning_rate_init:g}"
        remedies = [rate, "trainable=None", "other weights"]
        training.warn_of_nothing_learned(estimator, loss, baseline, remedies)


def warm_up_and_fall(n_steps: int, n_batches: int) -> Iterator[float]:
    """Yield factors of the learning rate: linear warm-up, then cosine decay."""
    n_up = max(1, min(n_batches, round(_WARM_UP * n_steps)))
    for step in range(n_steps):
        if step < n_up:
            yield (step + 1) / n_up
        else:
            done = (step - n_up + 1) / (n_steps - n_up + 1)
            yield (1 + math.cos(math.pi * done)) / 2
