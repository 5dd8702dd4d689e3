"""What comes with the package agrees with the package."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from PIL import Image

import skvgg
from skvgg import datasets, weights

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Tools and peers, of which the newest is as good as any.
OF_ANY_VERSION = {"bench", "dev", "docs", "lint"}
SCREEN = 25


def requirements():
    lines = [*PROJECT["dependencies"]]
    for name, some in PROJECT["optional-dependencies"].items():
        lines += [] if name in OF_ANY_VERSION else some
    found = {line.name: line for line in map(Requirement, lines)}
    del found["skvgg"]  # extras of ours
    return found


def oldest():
    text = (ROOT / "constraints-oldest.txt").read_text()
    return dict(re.findall(r"^([\w-]+)==(\S+)$", text, re.MULTILINE))


def test_the_oldest_versions_are_those_that_pyproject_requires_at_least():
    constraints = oldest()
    for name, requirement in requirements().items():
        assert name in constraints, f"constraints-oldest.txt lacks {name}"
        (bound,) = requirement.specifier
        version, least = Version(constraints[name]), Version(bound.version)
        assert version in requirement.specifier
        assert version.release[: len(least.release)] == least.release, name


def workflow():
    return yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())


def test_the_ci_runs_each_python_that_the_package_claims():
    claimed = re.findall(
        r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE
    )
    assert len(claimed) > 1
    matrix = workflow()["jobs"]["supported"]["strategy"]["matrix"]
    assert matrix["python"] == claimed
    assert Version(claimed[0]) in SpecifierSet(PROJECT["requires-python"])


def test_the_ci_and_make_run_the_same_part_of_the_tests():
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    quick = re.search(r"^QUICK := (.*)$", makefile, re.MULTILINE)[1].split()
    assert workflow()["env"]["QUICK"].split() == quick
    assert all((ROOT / path).is_file() for path in quick)


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == skvgg.__version__
    assert citation["license"] == PROJECT["license"]


@pytest.mark.parametrize("name", ["bug.yml", "feature.yml"])
def test_issue_templates_have_what_github_requires(name):
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE" / name).read_text())
    assert {"name", "description", "body"} <= form.keys()
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert ids
    assert len(set(ids)) == len(ids)


def test_a_list_of_images_is_shown_on_a_screen(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(200):
            Image.new("L", (1, 1)).save(tmp_path / name / f"{i}.png")
    shown = repr(datasets.load_image_folder(tmp_path))
    assert shown.count("\n") < SCREEN
    assert len(shown) < 80 * SCREEN
    assert "data=<array of shape (400,), object>" in shown
    assert "n_skipped=0" in shown


def test_weights_are_shown_on_a_screen():
    shapes = {"block1_conv1": (3, 3, 3, 64), "block1_conv2": (3, 3, 64, 64)}
    loaded = weights.load(None, shapes, seed=0)
    assert np.ndim(loaded.parameters["block1_conv2"][0]) == 4
    assert repr(loaded).startswith("Weights(<2 layers>, source=")
    assert len(repr(loaded)) < 80 * SCREEN


def test_the_sdist_holds_what_the_tests_read():
    included = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
            "targets"
        ]["sdist"]["include"]
    )
    # What the build backend adds by itself.
    included |= {"LICENSE", "README.md", "pyproject.toml"}
    read = set()
    for path in (ROOT / "tests").glob("*.py"):
        pattern = r"(?:ROOT|parents\[1\]) / \"([\w.-]+)"
        read |= set(re.findall(pattern, path.read_text()))
    assert len(read) > 3
    assert read <= included
