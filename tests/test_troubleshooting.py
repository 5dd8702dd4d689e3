"""Every message of the troubleshooting page is one that skvgg or joblib writes."""

import ast
import re
from pathlib import Path

import pytest
from joblib.externals.loky import process_executor

import skvgg

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.rst").read_text()
MESSAGES = [
    message
    for line in re.findall(r"^``.*``$", PAGE, re.MULTILINE)
    for message in re.findall(r"``(.+?)``", line)
]
MODULES = [*Path(skvgg.__file__).parent.rglob("*.py"), Path(process_executor.__file__)]


def texts(path):
    """Return the strings of a module, less docstrings and what f-strings fill in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [
                part.value for part in node.values if isinstance(part, ast.Constant)
            ]
            yield "\0".join(map(str, parts))
        elif isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield str(node.value)


@pytest.fixture(scope="module")
def written():
    return [text for path in MODULES for text in texts(path)]


def test_there_are_messages():
    assert len(MESSAGES) > 20


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_the_page_is_one_that_is_written(message, written):
    assert any(message in text for text in written)
