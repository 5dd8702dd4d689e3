"""What a type checker is told agrees with what the estimators accept."""

import inspect
from importlib import resources
from itertools import chain
from typing import get_args, get_type_hints

import pytest
from sklearn.utils._param_validation import StrOptions

import skvgg
from skvgg import plotting

ESTIMATORS = [
    skvgg.VGG19Features,
    skvgg.VGG19Classifier,
    skvgg.VGG19Regressor,
    skvgg.TFLearnMLPClassifier,
    skvgg.TFLearnMLPRegressor,
]
PUBLIC = [
    *(getattr(skvgg, name) for name in skvgg.__all__),
    *(getattr(plotting, name) for name in plotting.__all__),
    *(getattr(skvgg.datasets, name) for name in skvgg.datasets.__all__),
    skvgg.weights.fingerprint,
    skvgg.weights.load,
    skvgg.weights.save,
]


def strings_in(hint):
    """Return the strings among the values that an annotation allows."""
    values = chain.from_iterable(
        strings_in(part) if get_args(part) else [part] for part in get_args(hint)
    )
    return {value for value in values if isinstance(value, str)}


def public_functions():
    """Yield what a user may call, with its name."""
    for item in PUBLIC:
        if inspect.isclass(item):
            for name, member in vars(item).items():
                member = getattr(member, "__func__", member)
                is_public = not name.startswith("_") or name == "__init__"
                if inspect.isfunction(member) and is_public:
                    yield f"{item.__name__}.{name}", member
        elif callable(item):
            yield item.__name__, item


def test_the_package_says_that_it_has_types():
    assert resources.files(skvgg).joinpath("py.typed").is_file()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_annotations_name_the_strings_that_parameters_accept(estimator):
    hints = get_type_hints(estimator.__init__)
    n_checked = 0
    for name, constraints in estimator._parameter_constraints.items():
        options = {
            str(option)
            for constraint in constraints
            if isinstance(constraint, StrOptions)
            for option in constraint.options
        }
        if options and str not in get_args(hints[name]) and name != "optimizer":
            assert strings_in(hints[name]) == options, name
            n_checked += 1
    assert n_checked > 1


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_defaults_are_of_their_annotated_type(estimator):
    hints = get_type_hints(estimator.__init__)
    for name, parameter in inspect.signature(estimator).parameters.items():
        allowed = get_args(hints[name]) or (hints[name],)
        if isinstance(parameter.default, str) and str not in allowed:
            assert parameter.default in strings_in(hints[name]) or name == "optimizer"
        elif parameter.default is None:
            assert type(None) in allowed, name


def test_all_public_functions_are_annotated():
    missing = {
        f"{name}: {parameter}"
        for name, function in public_functions()
        for parameter in [*inspect.signature(function).parameters, "return"]
        if parameter not in {"self", "cls", *function.__annotations__}
    }
    assert missing == set()
