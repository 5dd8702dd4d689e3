"""A fit of a head: from encoded samples to fitted attributes.

The functions read the parameters of a head, and the attributes of its last fit if it
continues. Only this module uses the attribute ``_optimizer_slots``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import is_regressor
from sklearn.exceptions import ConvergenceWarning

from skvgg._head import training
from skvgg._head.checks import (
    NO_WEIGHT,
    check_callbacks,
    check_hidden_layer_sizes,
)
from skvgg._head.dense import DenseNetwork, NetworkSpec
from skvgg._head.fitted import store_best, store_learned
from skvgg._head.forward import DenseLayers, Parameters
from skvgg._head.initial import initial_parameters
from skvgg._head.optimizers import LEARNING_RATES, REGRESSION_RATES, rate_of_object
from skvgg._head.standardization import Scaling, Standardization
from skvgg._head.targets import Targets
from skvgg._head.training import EarlyStopping, History, Samples
from skvgg._runtime.seed import MAX_SEED, draw_seed
from skvgg._runtime.warn import warn

#: The value of ``cooldown_fraction="auto"``; docs/defaults.rst describes its effect.
_COOLDOWN = 0.5


@dataclass(frozen=True)
class _Start:
    """The state from which training starts."""

    scaling: Scaling
    parameters: Parameters
    #: Number of steps already taken.
    n_steps: int = 0
    #: State of the optimizer.
    slots: Any = None


def weighted(rows: Samples) -> Samples:
    """Return the samples whose weight is not zero, or raise if there are none."""
    if rows.w.all():
        return rows
    if not rows.w.any():
        raise ValueError(NO_WEIGHT)
    return rows[np.flatnonzero(rows.w)]


def fit_head(
    head: Any,
    rows: Samples,
    targets: Targets,
    *,
    validation: Samples | None = None,
    continues: bool = False,
    one_epoch: bool = False,
) -> None:
    """Train a head and set its fitted attributes.

    Parameters
    ----------
    head : TFLearnMLPClassifier or TFLearnMLPRegressor
        The head; modified in place.
    rows, validation : Samples
        Samples with encoded targets; None for a part of `rows`, or no validation.
    targets : Targets
        Their encoding.
    continues : bool
        Whether to start from the end of the last fit.
    one_epoch : bool
        For `partial_fit`: no validation, no early stopping, and weights as they are.
    """
    seed = _next_seed(head) if continues else draw_seed(head.random_state)
    rng = np.random.RandomState(seed)
    if one_epoch:
        rows = replace(rows, w=rows.w.astype(np.float32))
    elif validation is None:
        rows, validation = _hold_out(head, _relative(rows), targets, rng)
    else:
        rows, validation = _relative(rows), _relative(validation)
    stopping = None if one_epoch else _early_stopping(head, validation, targets)
    start = (
        _last_start(head, rows)
        if continues
        else _first_start(head, rows, seed, may_grow=one_epoch)
    )
    scaling = start.scaling
    rows = scaling.apply(rows)
    validation = None if validation is None else scaling.apply(validation)
    if scaling.outputs is not None:
        targets = targets.scaled(scaling.outputs.scale)
    n_before = head.n_iter_ if continues and one_epoch else 0
    n_epochs = 1 if one_epoch else head.max_iter
    n_batches = -(-len(rows) // head.batch_size)
    spec = _network_spec(head, targets)
    with DenseNetwork(spec, start.parameters, start.n_steps, seed, start.slots) as net:
        history = training.train(
            net,
            rows,
            validation,
            targets=targets,
            epochs=range(n_before + 1, n_before + n_epochs + 1),
            batch_size=head.batch_size,
            early_stopping=stopping,
            callbacks=check_callbacks(head.callbacks),
            rng=rng,
            verbose=head.verbose,
            rate_factors=training.cool_down(
                n_epochs * n_batches, _cooldown_fraction(head, one_epoch)
            ),
        )
        learned = _finish(head, net, rows, targets, one_epoch)
    n_new = len(history["loss"])
    before = head.history_ if continues else {"loss": []}
    store_learned(head, scaling, learned, targets)
    store_best(head, stopping, len(before["loss"]))
    head.history_ = _joined(before, history)
    head.loss_curve_ = head.history_["loss"]
    head.learning_rate_init_ = spec.learning_rate
    head.n_iter_ = n_before + n_new
    head.n_steps_ = start.n_steps + n_new * n_batches
    if not continues:
        head.seed_ = seed


def _relative(rows: Samples) -> Samples:
    """Return samples whose weights have a mean of 1."""
    return replace(rows, w=(rows.w / rows.w.mean()).astype(np.float32))


def _hold_out(
    head: Any, rows: Samples, targets: Targets, rng: np.random.RandomState
) -> tuple[Samples, Samples | None]:
    fraction = _fraction_held_out(head)
    if not fraction:
        return rows, None
    train, validation = training.split(targets.strata(rows.Y), len(rows), fraction, rng)
    if not len(validation):
        return rows, None
    return rows[train], rows[validation]


def _fraction_held_out(head: Any) -> float:
    if head.validation_fraction != "auto":
        return head.validation_fraction
    return 0.1 if head.early_stopping else 0.0


def _early_stopping(
    head: Any, validation: Samples | None, targets: Targets
) -> EarlyStopping | None:
    if not head.early_stopping:
        return None
    if validation is None:
        raise ValueError(
            "early_stopping=True needs validation samples, but "
            f"validation_fraction={_fraction_held_out(head):g} of so few samples "
            "leaves none. Raise it, or pass X_val and y_val to fit."
        )
    return EarlyStopping.of(head, validation, targets)


# Where training starts


def _next_seed(head: Any) -> int:
    """Return the seed for continuing after the steps taken."""
    sequence = np.random.SeedSequence([head.seed_, head.n_steps_])
    return int(sequence.generate_state(1)[0]) % MAX_SEED


def _first_start(head: Any, rows: Samples, seed: int, *, may_grow: bool) -> _Start:
    """Return the scaling for these samples, and initial parameters.

    Constant features are left out and have weights of zero: nothing can be learned
    from them. With `may_grow`, later calls bring more samples in which they may vary,
    so they are kept.
    """
    sizes = _layer_sizes(head, rows)
    scaling = Scaling()
    if head.standardize:
        inputs = _learn_scaling_of_features(head, rows, len(sizes) > 2, may_grow)
        outputs = None
        if is_regressor(head):
            outputs = Standardization.of(rows.Y, rows.w).with_constants()
        scaling = Scaling(inputs, outputs)
    parameters = initial_parameters(sizes, seed)
    if scaling.inputs is not None:
        parameters[0][0][np.isinf(scaling.inputs.scale)] = 0
    return _Start(scaling, parameters)


def _learn_scaling_of_features(
    head: Any, rows: Samples, has_hidden_layers: bool, may_grow: bool
) -> Standardization:
    inputs = Standardization.of(rows.X, rows.w)
    if may_grow:
        if np.isinf(inputs.scale).all():
            warn(
                "All features are constant in the first call of "
                f"{type(head).__name__}.partial_fit, whose means and standard "
                "deviations later calls keep. Start with more samples that are "
                "typical of the data.",
                ConvergenceWarning,
            )
        inputs = inputs.with_constants()
    # Linear models do not need it: rows of this length need a smaller learning rate.
    return inputs.to_row_length(rows.X, rows.w) if has_hidden_layers else inputs


def _last_start(head: Any, rows: Samples) -> _Start:
    """Return the end of the last fit."""
    layers = DenseLayers.of(head)
    trained = [head.n_features_in_, *(len(b) for b in layers.intercepts)]
    sizes = _layer_sizes(head, rows)
    if trained != sizes:
        raise ValueError(
            f"The last fit trained a network with layers of {trained} units; now "
            f"they would be {sizes}. Set warm_start=False to start from scratch."
        )
    if head.standardize == (layers.scaling.inputs is None):
        raise ValueError(
            f"standardize={head.standardize} differs from the last fit, which "
            "this one continues. Set warm_start=False to start from scratch."
        )
    return _Start(
        layers.scaling, layers.parameters, head.n_steps_, head._optimizer_slots
    )


def _layer_sizes(head: Any, rows: Samples) -> list[int]:
    hidden = check_hidden_layer_sizes(head.hidden_layer_sizes)
    return [rows.X.shape[1], *hidden, rows.Y.shape[1]]


# How it trains


def _network_spec(head: Any, targets: Targets) -> NetworkSpec:
    return NetworkSpec(
        activation=head.activation,
        out_activation=targets.out_activation,
        # TensorFlow derives the dtype of its constants from these.
        weight_decay=float(head.weight_decay),
        dropout=float(head.dropout),
        optimizer=head.optimizer,
        learning_rate=_learning_rate(head),
        decay_rate=float(head.decay_rate),
        decay_steps=float(head.decay_steps),
    )


def _learning_rate(head: Any) -> float:
    """Return the learning rate of the first step."""
    if not isinstance(head.optimizer, str):
        return rate_of_object(head.optimizer)
    if head.learning_rate_init != "auto":
        return float(head.learning_rate_init)
    rates = REGRESSION_RATES if is_regressor(head) else LEARNING_RATES
    return rates[head.optimizer]


def _cooldown_fraction(head: Any, one_epoch: bool) -> float:
    """Return the fraction of steps in which the rate falls to zero."""
    if one_epoch:  # the total number of epochs is unknown
        return 0.0
    if head.cooldown_fraction != "auto":
        return float(head.cooldown_fraction)
    return _COOLDOWN if head.standardize and not head.warm_start else 0.0


# After training


def _finish(
    head: Any, network: DenseNetwork, rows: Samples, targets: Targets, one_epoch: bool
) -> Parameters:
    """Check and return what was learned; keep the state of the optimizer."""
    learned = network.get_parameters()
    training.check_learned(
        [*learned[0], *learned[1]],
        "a smaller learning_rate_init, or standardize=True if it is off",
    )
    if not one_epoch:
        _warn_if_nothing_learned(head, network, rows, targets)
    # The optimizer state takes up to twice the size of the weights, and only continued
    # training needs it.
    may_continue = one_epoch or head.warm_start
    head._optimizer_slots = network.get_slots() if may_continue else {}
    return learned


def _warn_if_nothing_learned(
    head: Any, network: DenseNetwork, rows: Samples, targets: Targets
) -> None:
    """Compare the training loss with that of the best constant prediction."""
    loss, output = network.evaluate(rows.X, rows.Y, rows.w)
    if targets.is_learned(loss, rows.Y, output, rows.w):
        return
    remedies = [
        f"a smaller learning_rate_init than {_learning_rate(head):g}",
        f"a larger max_iter than {head.max_iter}",
        "other features",
    ]
    if not head.standardize:
        remedies.insert(0, "standardize=True")
    baseline = targets.baseline_loss(rows.Y, rows.w)
    training.warn_of_nothing_learned(head, loss, baseline, remedies)


def _joined(before: History, history: History) -> History:
    """Return one history; epochs without a measurement get NaN."""
    gaps = [[np.nan] * len(part["loss"]) for part in (before, history)]
    return {
        name: [*before.get(name, gaps[0]), *history.get(name, gaps[1])]
        for name in {**before, **history}
    }
