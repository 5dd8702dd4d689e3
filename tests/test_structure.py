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
    ["_head", "_feature_file", "_dask"],
    ["_extraction"],
    ["_store", "_network", "_images"],
    ["weights"],
    ["_typing"],
    ["_definition", "exceptions"],
    ["_runtime", "_version", "_csv_file"],
]
FLOOR = {name: i for i, floor in enumerate(FLOORS) for name in floor}
ROOT = Path(skvgg.__file__).parent


def imports_of(path):
    """Yield what of skvgg a module imports, also for type checkers only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            first, *rest = node.module.split(".")
            if first == "skvgg":
                yield from rest[:1] or [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                first, *rest = alias.name.split(".")
                if first == "skvgg":
                    yield rest[0] if rest else "skvgg"


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
            if other != room and FLOOR.get(other, -1) <= FLOOR[room]:
                upward.append(f"{path.relative_to(ROOT)} imports {other}")
    assert upward == []
