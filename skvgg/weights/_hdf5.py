"""HDF5 files of all versions of Keras: ``.h5`` and ``.weights.h5``.

There are two layouts. Up to Keras 2, each layer is a group with an attribute
``weight_names``. Since Keras 3, it is a group ``vars`` with the members 0 and 1 and, in
newer versions, the name of the layer as an attribute. Both are found at any depth, so a
VGG19 within another model is found too.

HDF5 can refer to other files, whose content a digest of this file does not cover: by
links, by external storage, and by virtual datasets. All three are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skvgg._definition.architecture import CONV_NAMES, DENSE_NAMES
from skvgg.weights._base import FileArray, FileArrays, Reader, RefusedError, first_bytes

_MAGIC = b"\x89HDF\r\n\x1a\n"

#: Members of a group and groups within groups in damaged files. Models have fewer.
_MOST_MEMBERS, _DEEPEST = 10_000, 20


def matches(path: Path) -> bool:
    """Return whether `path` is an HDF5 file."""
    return first_bytes(path, len(_MAGIC)) == _MAGIC


@contextmanager
def layers(path: Path, names: list[str]) -> Iterator[FileArrays]:
    """Open a file, and find the layers in `names` that it has."""
    import h5py

    with h5py.File(path, "r") as file:
        found = {
            name: arrays
            for group in _groups_in(file)
            for name, arrays in _layers_of(group).items()
            if name in names
        }
        yield {
            name: (_to_array(kernel), _to_array(bias))
            for name, (kernel, bias) in found.items()
        }


def _groups_in(file: Any) -> Iterator[Any]:
    """Yield each group once; a damaged file may contain one of its own ancestors."""
    import h5py

    seen, n_members = set(), 0
    left = [(file, 0)]
    while left:
        group, depth = left.pop()
        # Not h5o.get_info (which visititems and get(getclass=True) call), because it
        # may walk a damaged index forever.
        place = h5py.h5g.get_objinfo(group.id).objno
        if place in seen:
            continue
        seen.add(place)
        yield group
        n_members += len(group)
        if n_members > _MOST_MEMBERS or depth > _DEEPEST:
            raise ValueError(f"it has more groups than a model, at {group.name!r}")
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                _get(group, name)  # raises
            if isinstance(link, h5py.HardLink):
                member = h5py.h5g.get_objinfo(group.id, name.encode())
                if member.type == h5py.h5g.GROUP:
                    left.append((group[name], depth + 1))


def _get(group: Any, path: str) -> Any:
    """Return a member of a group, without following links to other places."""
    import h5py

    item = group
    for name in path.split("/"):
        link = item.get(name, getlink=True) if name else None
        if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
            to = getattr(link, "filename", None)
            where = "another place" if to is None else f"the file {to!r}"
            raise RefusedError(
                f"{name!r} in {item.name!r} is a link to {where}, which is not "
                "followed. Save the weights in one file, without links."
            )
        item = item[name] if name else item
    return item


def _to_array(item: Any) -> FileArray:
    import h5py

    if not isinstance(item, h5py.Dataset):
        raise RefusedError(f"{item.name!r} is not an array; expected one.")
    if item.external or item.is_virtual:
        raise RefusedError(
            f"the values of {item.name!r} are in another file (external storage or a "
            "virtual dataset), which is not read. Save the weights in one file."
        )
    return FileArray(item.name, item.shape or (), item.dtype, lambda: item[()])


def _layers_of(group: Any) -> dict[str, tuple[Any, Any]]:
    """Return the layers whose weights are in `group`, usually none or one."""
    if "weight_names" in group.attrs:
        return _keras2_layers(group)
    if group.name.endswith("/vars") and "1" in group:
        return {_keras3_name(group): (_get(group, "0"), _get(group, "1"))}
    return {}


def _keras2_layers(group: Any) -> dict[str, tuple[Any, Any]]:
    names = [
        name.decode() if isinstance(name, bytes) else str(name)
        for name in group.attrs["weight_names"]
    ]
    pairs = list(zip(names[::2], names[1::2], strict=False))
    if len(pairs) == 1:  # the member may have any name: 'block1_conv1_W_1:0'
        return {_basename(group.name): (_get(group, names[0]), _get(group, names[1]))}
    return {
        kernel.rsplit("/", 2)[-2]: (_get(group, kernel), _get(group, bias))
        for kernel, bias in pairs
        if "/" in kernel
    }


def _keras3_name(group: Any) -> str:
    if "name" in group.attrs:
        return str(group.attrs["name"])
    kind, _, number = _basename(group.parent.name).partition("_")
    table = {"conv2d": CONV_NAMES, "dense": DENSE_NAMES}.get(kind, ())
    index = int(number) if number.isdigit() else 0
    return table[index] if index < len(table) else group.name


def _basename(name: str) -> str:
    return name.rsplit("/", 1)[-1]


READER = Reader(matches, layers)
