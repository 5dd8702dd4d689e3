"""The page on how skvgg is built lists its modules, and no module is too long."""

import ast
import re
from pathlib import Path

import pytest

import skvgg
from skvgg import plotting

ROOT = Path(skvgg.__file__).parent
PAGE = ROOT.parent / "docs" / "how_it_is_built.rst"
MODULES = sorted(path for path in ROOT.rglob("*.py") if not path.stem.startswith("__"))
#: A stranger can hold as many lines in mind; docstrings of public classes do not count.
LONGEST_MODULE, LONGEST_FUNCTION = 450, 60
PUBLIC = {*skvgg.__all__, *plotting.__all__}


def listed():
    """Return the modules of the page: "features.py", "_store/cache.py"."""
    table, _, text = PAGE.read_text().partition("\nThe modules:\n")
    found = [
        name
        for line in re.findall(r"   \* - (``.*)", table)
        for name in re.findall(r"``(\w+\.py)``", line)
    ]
    text = text.partition("\nThe path of one image\n")[0]
    folder = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"``(\w+/)``", line):
            folder = heading[1]
        elif entry := re.match(r"    - ((?:``\w+``(?:, )?)+):", line):
            found += [f"{folder}{name}.py" for name in re.findall(r"\w+", entry[1])]
        for more in re.findall(r"; ((?:``\w+``(?:, )?)+): one format each", line):
            found += [f"{folder}{name}.py" for name in re.findall(r"\w+", more)]
    return found


@pytest.mark.skipif(not PAGE.exists(), reason="needs the sources of the documentation")
def test_the_page_lists_every_module_once():
    names = {path.relative_to(ROOT).as_posix() for path in MODULES}
    found = listed()
    assert sorted({*found}) == sorted(found)
    assert {*found} == names


def lines_of(node):
    """Return the number of lines of a definition, without its docstrings."""
    n_lines = node.end_lineno - node.lineno + 1
    for inner in ast.walk(node):
        body = getattr(inner, "body", None)
        if isinstance(inner, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(
            inner
        ):
            n_lines -= body[0].end_lineno - body[0].lineno + 1
    return n_lines


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_module_and_no_function_is_too_long(path):
    source = path.read_text()
    tree = ast.parse(source)
    n_lines = len(source.splitlines())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name != "__init__":
            assert lines_of(node) <= LONGEST_FUNCTION, node.name
        if isinstance(node, ast.ClassDef) and node.name in PUBLIC:
            text = ast.get_docstring(node, clean=False) or ""
            n_lines -= len(text.splitlines())
    assert n_lines <= LONGEST_MODULE
