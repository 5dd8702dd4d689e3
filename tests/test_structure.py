"""Packages import only what lies below them in the diagram of the documentation."""

import ast
from pathlib import Path

import skvgg

#: From the top down; those of a line know nothing of each other.
FLOORS = [
    ["_command_line"],
    ["finetune"],
    ["_finetune", "plotting"],
    ["mlp", "features", "datasets", "files"],
    ["_head", "_rows_file", "_dask"],
    ["_extraction"],
    ["_store", "_network", "_images"],
    ["weights"],
    ["_definition", "exceptions"],
    ["_runtime", "_typing"],
]
FLOOR = {name: i for i, floor in enumerate(FLOORS) for name in floor}
ROOT = Path(skvgg.__file__).parent


def imports_of(path):
    """Yield what of skvgg a module imports, but for the eyes of a type checker."""
    for node in ast.walk(without_type_checking(ast.parse(path.read_text()))):
        if isinstance(node, ast.ImportFrom) and node.module:
            first, *rest = node.module.split(".")
            if first == "skvgg":
                yield from rest[:1] or [alias.name for alias in node.names]


def without_type_checking(tree):
    class Drop(ast.NodeTransformer):
        def visit_If(self, node):
            name = getattr(node.test, "id", None)
            return None if name == "TYPE_CHECKING" else self.generic_visit(node)

    return Drop().visit(tree)


def rooms():
    """Return the modules and packages, but for skvgg itself and its command."""
    return [
        path
        for path in ROOT.iterdir()
        if path.name[:2] != "__" and (path.is_dir() or path.suffix == ".py")
    ]


def test_every_package_has_a_floor():
    found = {path.stem for path in rooms()}
    assert found == FLOOR.keys()


def test_no_import_leads_upward():
    upward = []
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room.startswith("__"):
            continue
        for other in imports_of(path):
            if other != room and FLOOR[other] <= FLOOR[room]:
                upward.append(f"{path.relative_to(ROOT)} imports {other}")
    assert upward == []
