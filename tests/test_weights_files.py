"""Files of weights: replaced at the worst moment, made to deceive, or damaged."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from safetensors.numpy import save_file

from skvgg import VGG19Features, transform_to_file, weights
from skvgg._definition.architecture import parameter_shapes
from skvgg._definition.preprocessing import CAFFE
from skvgg._runtime.tensorflow import import_tensorflow
from skvgg.weights import _apart, _files, _hed, _imagenet

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import fuzz_images

NAME = "block1_conv1"
SHAPES = {NAME: (3, 3, 3, 64)}


def kernel(value):
    return np.full(SHAPES[NAME], value, np.float32)


def write_h5(path, value):
    with h5py.File(path, "w") as file:
        group = file.create_group(f"layers/{NAME}/vars")
        group.attrs["name"] = NAME
        group["0"], group["1"] = kernel(value), np.zeros(64, np.float32)


def write_npz(path, value):
    weights.save(path, {NAME: (kernel(value), np.zeros(64))})


def write_safetensors(path, value):
    state = {"features.0.weight": kernel(value).transpose(3, 2, 0, 1)}
    state["features.0.bias"] = np.zeros(64, np.float32)
    save_file({name: np.ascontiguousarray(a) for name, a in state.items()}, path)


def write_mat(path, value):
    cell = np.empty(2, object)
    cell[:] = [kernel(value), np.zeros(64, np.float32)]
    cells = np.empty(1, object)
    cells[0] = {"name": "conv1_1", "weights": cell}
    scipy.io.savemat(path, {"layers": cells}, appendmat=False)


def write_checkpoint(path, value):
    import_tensorflow().raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=[f"{NAME}/W", f"{NAME}/b"],
        shape_and_slices=["", ""],
        tensors=[kernel(value), np.zeros(64, np.float32)],
    )


def write_keras(path, value):
    import keras

    layer = keras.layers.Conv2D(64, 3, name=NAME)
    model = keras.Sequential([keras.Input((8, 8, 3)), layer])
    layer.set_weights([kernel(value), np.zeros(64)])
    model.save(path)


WRITERS = {
    "vgg.h5": write_h5,
    "vgg.npz": write_npz,
    "vgg.safetensors": write_safetensors,
    "vgg.mat": write_mat,
    "checkpoint": write_checkpoint,
    "vgg.keras": write_keras,
}


def replace_files(path, other):
    """Move copies of the files named like `other` to the place of those of `path`."""
    for file in sorted(other.parent.glob(f"{other.name}*")):
        copy = shutil.copy(file, f"{file}.copy")
        os.replace(copy, path.with_name(file.name.replace(other.name, path.name)))


def replacing(monkeypatch, owner, name, act, when):
    """Act once, just before or after a function is called."""
    function, left = getattr(owner, name), [1]

    def wrapped(*args, **kwargs):
        if when == "before" and left:
            left.pop()
            act()
        result = function(*args, **kwargs)
        if when == "after" and left:
            left.pop()
            act()
        return result

    monkeypatch.setattr(owner, name, wrapped)


def loaded(source):
    """Return the fingerprint of a source, and the value of its kernel."""
    source = source.pinned()
    fingerprint = source.fingerprint()
    return fingerprint, source.load(SHAPES).parameters[NAME][0].flat[0]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("owner", "function"), [(hashlib, "file_digest"), (_files, "read_layers")]
)
def test_a_fingerprint_is_that_of_the_layers_whenever_a_file_is_replaced(
    tmp_path, monkeypatch, name, when, owner, function
):
    if name == "vgg.mat" and (when, owner) != ("after", hashlib):
        pytest.skip("the same code, but each time it is read by another process")
    path, other = tmp_path / name, tmp_path / "other" / name
    other.parent.mkdir()
    WRITERS[name](path, 1)
    WRITERS[name](other, 2)
    pairs = [loaded(weights.as_source(some)) for some in (path, other)]
    assert [value for _, value in pairs] == [1, 2]
    _files.fingerprint_of_file.cache_clear()
    with monkeypatch.context() as patch:
        replacing(patch, owner, function, lambda: replace_files(path, other), when)
        with pytest.raises(ValueError, match="changed while they were being used"):
            assert loaded(weights.as_source(path)) in pairs
    assert loaded(weights.as_source(path)) == pairs[1]


def test_hed_imagenet_and_tuned_weights_notice_it_too(tmp_path, monkeypatch):
    path, other = tmp_path / "vgg.h5", tmp_path / "other" / "vgg.h5"
    other.parent.mkdir()
    write_h5(other, 2)
    write_h5(path, 1)
    monkeypatch.setattr(_hed, "find_file", lambda: path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(_imagenet, "NO_TOP", ("vgg.h5", md5))
    monkeypatch.setattr(_imagenet, "_folders", lambda: [tmp_path])
    base = weights.as_source(path)
    tuned = weights.TunedWeights(base, base.fingerprint(), {}, CAFFE)
    for source, module in (
        (weights.as_source("hed"), _hed),
        (weights.as_source("imagenet"), _imagenet),
        (tuned, _files),
    ):
        for when in ("before", "after"):
            write_h5(tmp_path / "first.h5", 1)
            os.replace(tmp_path / "first.h5", path)
            assert source.load(SHAPES).parameters[NAME][0].flat[0] == 1
            with monkeypatch.context() as patch:
                act = lambda: replace_files(path, other)  # noqa: E731
                replacing(patch, module, "read_layers", act, when)
                with pytest.raises(ValueError, match="changed while they were being"):
                    source.load(SHAPES)


def test_a_file_changed_in_place_within_a_tick_has_another_identity(tmp_path):
    path = tmp_path / "vgg.npz"
    seen = set()
    for content in (b"1", b"2", b"3", b"4"):
        path.write_bytes(content)
        seen.add(_files.identify_file(path))
    assert len(seen) == 4


# Rows


@pytest.fixture(scope="module")
def two_files(tmp_path_factory):
    """Two files with all convolutions."""
    folder = tmp_path_factory.mktemp("two")
    shapes = parameter_shapes(["block1_pool"], (32, 32))
    for seed, name in enumerate(("a.npz", "b.npz")):
        weights.save(folder / name, weights.load(None, shapes, seed=seed).parameters)
    return folder / "a.npz", folder / "b.npz"


def small(path, **parameters):
    size = {"layer": "block1_pool", "pooling": "avg", "image_size": 32}
    return VGG19Features(path, **size, **parameters)


def test_no_row_is_stored_under_the_fingerprint_of_other_weights(
    two_files, tiles, tmp_path, monkeypatch
):
    X, path = tiles[0][:2], tmp_path / "vgg.npz"
    expected = [small(some).transform(X) for some in two_files]
    for when in ("before", "after"):
        shutil.copy(two_files[0], path)
        _files.fingerprint_of_file.cache_clear()
        with monkeypatch.context() as patch:
            act = lambda: replace_files(path, two_files[1])  # noqa: E731
            replacing(patch, hashlib, "file_digest", act, when)
            with pytest.raises(ValueError, match="changed while"):
                small(path, memory=tmp_path / when).fit(X).transform(X)
        for some, rows in zip(two_files, expected, strict=True):
            shutil.copy(some, path)
            features = small(path, memory=tmp_path / when)
            np.testing.assert_array_equal(features.transform(X), rows)


def test_a_file_of_rows_is_of_one_network(two_files, tiles, tmp_path, monkeypatch):
    X, path = tiles[0][:6], tmp_path / "vgg.npz"
    shutil.copy(two_files[0], path)
    expected = small(path).transform(X)
    with monkeypatch.context() as patch:
        calls = []

        def transform(self, part, transform=VGG19Features.transform):
            calls.append(len(part))
            if len(calls) == 2:
                replace_files(path, two_files[1])
            return transform(self, part)

        patch.setattr(VGG19Features, "transform", transform)
        with pytest.raises(ValueError, match="weights were replaced by others") as got:
            transform_to_file(small(path), X, tmp_path / "rows.npy", chunk_size=2)
    assert "2 of 6 rows are saved" in got.value.__notes__[0]
    with pytest.raises(ValueError, match="weights of the transformer was"):
        transform_to_file(small(path), X, tmp_path / "rows.npy", chunk_size=2)
    replace_files(path, two_files[0])  # restored: the rest is computed
    rows = np.load(transform_to_file(small(path), X, tmp_path / "rows.npy"))
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-4)


def test_a_file_that_is_only_touched_goes_on(two_files, tiles, tmp_path, monkeypatch):
    X, path = tiles[0][:4], tmp_path / "vgg.npz"
    shutil.copy(two_files[0], path)
    expected = small(path).transform(X)
    replacing(monkeypatch, VGG19Features, "transform", path.touch, "before")
    rows = np.load(
        transform_to_file(small(path), X, tmp_path / "rows.npy", chunk_size=2)
    )
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-4)


# Which file is read


def test_a_file_beside_an_index_is_itself(tmp_path):
    path = tmp_path / "vgg.h5"
    write_h5(path, 1)
    alone = loaded(weights.as_source(path))
    write_checkpoint(path, 3)  # vgg.h5.index and vgg.h5.data-00000-of-00001
    assert loaded(weights.as_source(path)) == alone
    write_h5(path, 2)
    fingerprint, value = loaded(weights.as_source(path))
    assert value == 2
    assert fingerprint != alone[0]
    assert loaded(weights.as_source(f"{path}.index"))[1] == 3


@pytest.mark.parametrize("end", ["", ".index", ".data-00000-of-00001", ".h5"])
def test_weights_are_identified_without_opening_a_file(tmp_path, monkeypatch, end):
    write_checkpoint(tmp_path / "a", 1)
    write_h5(tmp_path / "a.h5", 1)
    source = _files.FileSource(tmp_path / f"a{end}")
    n_files = len(_files._files(tmp_path / f"a{end}"))
    monkeypatch.delattr(Path, "open")
    assert len(source.pinned().identify()) == 1 + n_files


def test_a_checkpoint_with_brackets_in_its_name_has_all_its_files(tmp_path):
    path = tmp_path / "vgg[1]"
    write_checkpoint(path, 1)
    assert len(_files.identify_file(path)) == 3  # the path, the index and the data


# HDF5


def external_link(group, secret):
    group["0"] = h5py.ExternalLink(str(secret), "/x")


def soft_link(group, secret):
    group["0"] = h5py.SoftLink("/somewhere/else")


def external_storage(group, secret):
    n_bytes = kernel(0).nbytes
    group.create_dataset(
        "0", SHAPES[NAME], np.float32, external=[(str(secret), 0, n_bytes)]
    )


def virtual_dataset(group, secret):
    layout = h5py.VirtualLayout(SHAPES[NAME], np.float32)
    layout[:] = h5py.VirtualSource(str(secret), "x", SHAPES[NAME])
    group.create_virtual_dataset("0", layout)


@pytest.mark.parametrize("layout", ["keras 2", "keras 3"])
@pytest.mark.parametrize(
    ("refer", "message"),
    [
        (external_link, "is a link to the file '.*secret.h5'"),
        (soft_link, "is a link to another place"),
        (external_storage, "are in another file"),
        (virtual_dataset, "are in another file"),
    ],
)
def test_weights_do_not_come_from_other_files(tmp_path, refer, message, layout):
    secret, path = tmp_path / "secret.h5", tmp_path / "vgg.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = kernel(7)
    with h5py.File(path, "w") as file:
        if layout == "keras 3":
            group = file.create_group(f"layers/{NAME}/vars")
            group.attrs["name"] = NAME
        else:
            group = file.create_group(NAME)
            group.attrs["weight_names"] = ["0", "1"]
        group["1"] = np.zeros(64)
        refer(group, secret)
    with pytest.raises(ValueError, match=rf"vgg\.h5'.*{message}"):
        weights.load(path, SHAPES)


def test_a_whole_group_in_another_file_is_refused(tmp_path):
    write_h5(tmp_path / "other.h5", 1)
    with h5py.File(tmp_path / "vgg.h5", "w") as file:
        file["layers"] = h5py.ExternalLink("other.h5", "/layers")
    with pytest.raises(ValueError, match=r"'layers' in '/' is a link to the file"):
        weights.load(tmp_path / "vgg.h5", SHAPES)


def test_groups_within_themselves_end(tmp_path):
    path = tmp_path / "vgg.h5"
    write_h5(path, 1)
    with h5py.File(path, "r+") as file:
        groups = [file.create_group(f"g{i}") for i in range(9)]
        for group in groups:
            for i, other in enumerate([*groups, file["/"]]):
                group[f"to {i}"] = other
        addresses = [h5py.h5o.get_info(group.id).addr for group in groups]
    with path.open("r+b") as file:
        for address in addresses:  # the number of links, which tells HDF5 of cycles
            file.seek(address + 4)
            file.write((1).to_bytes(4, "little"))
    assert weights.load(path, SHAPES).parameters[NAME][0].flat[0] == 1


def test_an_index_that_leads_back_to_itself_ends(tmp_path):
    """HDF5 walks such an index forever, for example in h5py's visititems."""
    path = tmp_path / "vgg.h5"
    write_h5(path, 1)
    content = bytearray(path.read_bytes())
    at = content.find(b"TREE")
    while at >= 0:
        content[at + 16 : at + 24] = at.to_bytes(8, "little")  # its right neighbor
        at = content.find(b"TREE", at + 1)
    path.write_bytes(content)
    code = """
import sys
from skvgg import weights
kernel, _ = weights.load(sys.argv[1], {"block1_conv1": (3, 3, 3, 64)}).parameters[
    "block1_conv1"
]
print(kernel[0, 0, 0, 0])
"""
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, timeout=100, check=True)
    assert done.stdout == b"1.0\n"


# Crashes


def test_a_crash_of_scipy_is_an_error_that_names_the_file(tmp_path):
    """SciPy 1.17 dies of this file; others may read it."""
    content = bytearray(fuzz_images.make_weights()["mat"])
    content[432] = 210
    path = tmp_path / "vgg.mat"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"vgg\.mat'.*(ended by signal|cannot be)"):
        weights.load(path, fuzz_images.SHAPES)


def test_a_reader_that_hangs_or_dies_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "vgg.mat"
    write_mat(path, 1)
    monkeypatch.setattr(_apart, "_START", "import os; os.abort()")
    with pytest.raises(ValueError, match="ended by signal 6"):
        weights.load(path, SHAPES)
    monkeypatch.setattr(_apart, "_START", "import time; time.sleep(600)")
    monkeypatch.setattr(_apart, "_PATIENCE", 0.2)
    with pytest.raises(ValueError, match=r"vgg\.mat'.*took longer than"):
        weights.load(path, SHAPES)


def test_the_reader_imports_nothing_from_the_working_directory(tmp_path, monkeypatch):
    path = tmp_path / "vgg.mat"
    write_mat(path, 1)
    (tmp_path / "token.py").write_text("open('imported', 'w')\n")
    monkeypatch.chdir(tmp_path)
    assert weights.load(path, SHAPES).parameters
    assert not (tmp_path / "imported").exists()


# Numbers


def npz(path, **arrays):
    given = {"kernel": kernel(1), "bias": np.zeros(64), "preprocessing": "caffe"}
    given |= arrays
    np.savez(
        path,
        **{f"{NAME}/{name}": given[name] for name in ("kernel", "bias")},
        preprocessing=given["preprocessing"],
    )
    return path


JSON = '{"channels": "RGB", "divisor": %s, "mean": %s, "std": %s}'


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"kernel": kernel(1).astype(float) * 1e300},
            "kernel of layer 'block1_conv1' contains NaN",
        ),
        ({"bias": np.full(64, -1e39)}, "bias of layer 'block1_conv1' contains NaN"),
        ({"kernel": kernel(1).astype(object)}, f"'{NAME}/kernel' in the file.* object"),
        ({"kernel": kernel(1).astype("U9")}, f"'{NAME}/kernel' in the file.* <U9"),
        ({"bias": np.zeros(64, complex)}, f"'{NAME}/bias' in the file.* complex128"),
        ({"bias": np.float32(0)}, r"bias of layer 'block1_conv1' has shape \(\)"),
        ({"preprocessing": "keras"}, "preprocessing='keras' is unknown"),
        ({"preprocessing": 3}, "'preprocessing' has shape .* and dtype int64"),
        ({"preprocessing": JSON % (0, [0] * 3, [1] * 3)}, "divisor=0; .* positive"),
        ({"preprocessing": JSON % (1, [0] * 3, [1, 0, 1])}, r"std=\[1, 0, 1\]; .* pos"),
        ({"preprocessing": JSON % (1, [0] * 3, [1e-60] * 3)}, "std=.*positive"),
        ({"preprocessing": JSON % (1, "[NaN, 0, 0]", [1] * 3)}, r"mean=\[nan, 0, 0\]"),
        ({"preprocessing": JSON % (1, [1e39] * 3, [1] * 3)}, "mean=.* finite"),
        ({"preprocessing": JSON % (1, [0], [1] * 3)}, r"mean=\[0\]; expected 3 finite"),
        ({"preprocessing": JSON % ('"2"', [0] * 3, [1] * 3)}, "divisor='2'; .* finite"),
        ({"preprocessing": JSON % ("true", [0] * 3, [1] * 3)}, "divisor=True; .* fini"),
        ({"preprocessing": JSON % (1, '"123"', [1] * 3)}, "mean='123'; expected 3 fin"),
        ({"preprocessing": JSON % (1, [0] * 3, "[1, true, 1]")}, "std=.*3 finite"),
        ({"preprocessing": JSON % (10**400, [0] * 3, [1] * 3)}, "is unknown"),
        ({"preprocessing": '{"channels": "GBR"}'}, "channels='GBR'; expected 'RGB'"),
    ],
)
def test_npz_files_that_would_give_other_rows_are_refused(tmp_path, arrays, message):
    path = npz(tmp_path / "vgg.npz", **arrays)
    with pytest.raises(ValueError, match=rf"vgg\.npz'.*{message}"):
        weights.load(path, SHAPES)


def test_numbers_of_other_dtypes_are_cast(tmp_path):
    for dtype in (">f8", np.float16, np.int8, bool):
        path = npz(tmp_path / "vgg.npz", kernel=kernel(1).astype(dtype))
        found, _ = weights.load(path, SHAPES).parameters[NAME]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, kernel(1))


@pytest.mark.parametrize("dtype", ["S3", complex, h5py.string_dtype()])
def test_hdf5_files_of_other_kinds_name_the_array(tmp_path, dtype):
    path = tmp_path / "vgg.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group(f"layers/{NAME}/vars")
        group.attrs["name"] = NAME
        group["1"] = np.zeros(64)
        group.create_dataset("0", SHAPES[NAME], dtype)
    with pytest.raises(ValueError, match=rf"vgg\.h5'.*'/layers/{NAME}/vars/0' in the"):
        weights.load(path, SHAPES)


def test_shapes_are_compared_before_gigabytes_are_read(tmp_path):
    huge = (3, 3, 3, 2**33)
    files = tmp_path / "vgg.h5", tmp_path / "vgg.npz"
    with h5py.File(files[0], "w") as file:
        group = file.create_group(f"layers/{NAME}/vars")
        group.attrs["name"] = NAME
        group["1"] = np.zeros(64)
        group.create_dataset("0", huge, "f4", chunks=(3, 3, 3, 1024))
    header = {"descr": "<f4", "fortran_order": False, "shape": huge}
    with zipfile.ZipFile(files[1], "w") as file:
        with file.open(f"{NAME}/kernel.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, header)
        with file.open(f"{NAME}/bias.npy", "w") as member:
            np.save(member, np.zeros(64))
    for path in files:
        with pytest.raises(ValueError, match=r"has shape \(3, 3, 3, 8589934592\)"):
            weights.load(path, SHAPES)
