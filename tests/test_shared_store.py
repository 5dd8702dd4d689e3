"""memory="redis://...": one store for many machines, on a server that is real."""

import os
import pickle
import socket
import subprocess
import sys
import threading
import time

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed
from sklearn.base import clone

from skvgg import VGG19Classifier, VGG19Features
from skvgg._network import vgg19
from skvgg._store.cache import Cache
from skvgg._store.redis_store import PREFIX, RedisStore

from .conftest import run_python
from .redis_server import asking, free_port, serving, stop
from .test_store import key, n_right, row, rows


def small(memory, **params):
    defaults = {"layer": "block1_pool", "pooling": "avg", "image_size": 32}
    params = {"weights": None, "random_state": 0, **defaults, **params}
    return VGG19Features(memory=memory, **params)


@pytest.fixture
def url(tmp_path):
    with serving(tmp_path) as url:
        yield url


# Several machines

A_MACHINE = """
import os, pickle, sys
import numpy as np
from pathlib import Path
shared = Path(sys.argv[1])
assert str(Path.home()) == os.getcwd()
features = pickle.loads((shared / "features.pkl").read_bytes())
rows = features.transform(np.load(shared / "X.npy"))
print(*features.cache_info()[:3], "tensorflow" in sys.modules)
np.save("rows.npy", rows)
"""


def test_a_second_machine_computes_nothing_and_has_the_same_rows(
    url, tiles, tmp_path, monkeypatch
):
    """Each is a process with a home of its own, and knows the pickle and the URL."""
    np.save(tmp_path / "X.npy", tiles[0][:8])
    (tmp_path / "features.pkl").write_bytes(pickle.dumps(small(url)))
    told = []
    for name in ("first", "second"):
        home = tmp_path / name
        home.mkdir()
        monkeypatch.setenv("HOME", str(home))
        told += run_python(A_MACHINE, tmp_path, cwd=home).stdout.splitlines()
        assert [path.name for path in home.glob("[!.]*")] == ["rows.npy"]
    assert told == ["0 8 8 True", "8 0 8 False"]
    first, second = (np.load(tmp_path / n / "rows.npy") for n in ("first", "second"))
    np.testing.assert_array_equal(second, first)
    np.testing.assert_array_equal(first, small(None).transform(tiles[0][:8]))


#: Imports little, so that it starts soon; its rows are those of test_store.py.
A_WRITER = """
import os, sys
from hashlib import sha256
import numpy as np
from skvgg._store.redis_store import RedisStore
def rows(start, stop):
    return {
        sha256(str(i).encode()).digest()[:20]:
        np.random.default_rng(i).standard_normal(300, np.float32)
        for i in range(start, stop)
    }
store = RedisStore(sys.argv[1])
"""


def test_processes_and_threads_write_to_one_store_at_once(url):
    code = A_WRITER + "for i in range(0, 400, 8): store.put(rows(i, i + 8))"
    command = [sys.executable, "-c", code, url]
    workers = [subprocess.Popen(command) for _ in range(2)]
    store = RedisStore(url)
    while any(worker.poll() is None for worker in workers):
        Parallel(4, backend="threading")(
            delayed(store.put)(rows(i, i + 5)) for i in range(300, 500, 5)
        )
    assert [worker.returncode for worker in workers] == [0, 0]
    found = Parallel(4, backend="threading")(
        delayed(n_right)(store, 500) for _ in range(4)
    )
    assert found == [500] * 4
    assert len(store) == 500
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_opens_a_connection_of_its_own(url):
    code = """
store.put(rows(0, 10))
child = os.fork()
for i in range(10, 200, 2):
    store.put(rows(i, i + 2))
    if len(store.get(rows(0, i + 2))) != i + 2:
        sys.exit("what was stored is not there")
if child:
    print(os.waitpid(child, 0)[1])
"""
    assert run_python(A_WRITER + code, url).stdout.split() == ["0"]
    store = RedisStore(url)
    assert n_right(store, 300) == 200
    store.close()


# Arrays


@pytest.mark.parametrize(
    "as_memory", [str, lambda url: joblib.Memory(url, backend="skvgg", verbose=0)]
)
def test_the_second_transform_computes_nothing(url, tiles, passes, as_memory):
    X = tiles[0][:6]
    computed = small(as_memory(url)).transform(X)
    features = clone(small(as_memory(url)))
    np.testing.assert_array_equal(features.transform(X), computed)
    assert sum(passes) == 6
    info = features.cache_info()
    assert info[:3] == (6, 6, 6)
    with asking(url) as client:
        used = [client.memory_usage(name) for name in client.scan_iter()]
    assert info.bytes == sum(used)


def test_arrays_of_any_type_come_back(url):
    arrays = [
        np.arange(5),
        np.float32(3.5),
        np.zeros((2, 0, 3), np.uint8),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.array([True, False]),
        np.array(["é", "a line\nbreak"]),
        np.array([1, 2], ">i4"),
        np.full(10, 10, np.uint8),  # line breaks
    ]
    store = RedisStore(url)
    store.put({key(i): array for i, array in enumerate(arrays)})
    found = store.get([key(i) for i in range(len(arrays) + 1)])
    store.close()
    for i, array in enumerate(arrays):
        np.testing.assert_array_equal(found.pop(key(i)), array, strict=True)
    assert found == {}


def test_objects_are_refused(url):
    with pytest.raises(TypeError, match="cannot hold Python objects"):
        RedisStore(url).put({key(0): np.array([{}])})


# What others do to the server


def flipped(value):
    return value[:-7] + bytes([value[-7] ^ 16]) + value[-6:]


class Bomb:
    def __reduce__(self):
        return sys.exit, ("unpickled",)


@pytest.mark.parametrize(
    "change",
    [
        flipped,
        lambda value: value[:100],
        lambda value: value[:10],
        lambda value: b"",
        lambda value: value + b"\0",
        lambda value: pickle.dumps(Bomb()),
        lambda value: b"\n" + pickle.dumps(Bomb(), 0) + 20 * b"\n",
    ],
)
def test_a_row_that_is_not_what_was_stored_is_computed_again(
    url, tiles, passes, change
):
    X = tiles[0][:6]
    computed = small(url).transform(X)
    with asking(url) as client:
        name = client.keys()[2]
        client.set(name, change(client.get(name)))
    with pytest.warns(UserWarning, match="is damaged") as record:
        again = small(url).transform(X)
    assert len(record) == 1
    np.testing.assert_allclose(again, computed, rtol=1e-5)
    assert sum(passes) == 7
    np.testing.assert_array_equal(small(url).transform(X), again)
    assert sum(passes) == 7


def test_a_row_under_another_rows_key_is_not_taken(url):
    store = RedisStore(url)
    store.put(rows(0, 2))
    with asking(url) as client:
        first, second = client.keys()
        client.copy(first, second, replace=True)
    with pytest.warns(UserWarning, match="is damaged"):
        assert n_right(store, 2) == 1
    store.close()


def test_what_the_server_drops_is_computed_again(url, tiles, passes):
    X = tiles[0][:6]
    computed = small(url).transform(X)
    with asking(url) as client:
        first, second, third = client.keys()[:3]
        client.delete(first)
        client.pexpire(second, 1)
        client.delete(third)
        client.rpush(third, "not even a string")
        while client.exists(second):
            pass
    np.testing.assert_allclose(small(url).transform(X), computed, rtol=1e-5)
    assert sum(passes) == 6 + 3
    small(url).transform(X)
    assert sum(passes) == 6 + 3


def test_a_server_that_evicts_keeps_right_rows(tmp_path):
    limits = ("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru")
    with serving(tmp_path, *limits) as url:
        store = RedisStore(url)
        for i in range(0, 3000, 50):
            store.put(rows(i, i + 50))
        assert 100 < n_right(store, 3000) < 2500
        store.close()


def test_a_full_server_is_one_warning_and_is_read_on(tmp_path):
    with serving(tmp_path, "--maxmemory", "3mb") as url:
        store = RedisStore(url)
        with pytest.warns(
            UserWarning, match="no longer accepts rows .*memory"
        ) as record:
            for i in range(0, 3000, 50):
                store.put(rows(i, i + 50))
        assert len(record) == 1
        assert 100 < n_right(store, 3000) < 2500
        store.close()


def test_a_user_who_may_only_read_reads(url):
    RedisStore(url).put(rows(0, 5))
    with asking(url) as client:
        client.acl_setuser(
            "reader", enabled=True, nopass=True, keys=["skvgg*"], commands=["+@read"]
        )
    store = RedisStore(url.replace("redis://", "redis://reader@"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDISCLI_AUTH", "any")
        with pytest.warns(UserWarning, match="no longer accepts rows") as record:
            store.put(rows(5, 10))
            assert n_right(store, 10) == 5
        assert len(record) == 1
        store.close()


# A server that fails


def test_a_server_that_dies_in_a_run_costs_the_caching_only(url, tiles, monkeypatch):
    X = tiles[0][:8]
    features = vgg19.VGG19.features
    computed = []

    def compute(self, pixels, *args):
        if computed:
            stop(url)
        computed.append(len(pixels))
        return features(self, pixels, *args)

    expected = small(None, batch_size=2).transform(X)
    monkeypatch.setattr(vgg19.VGG19, "features", compute)
    with pytest.warns(
        UserWarning, match=r"cannot be used.*neither read nor stored"
    ) as record:
        np.testing.assert_array_equal(small(url, batch_size=2).transform(X), expected)
    assert len(record) == 1
    assert computed == [2, 2, 2, 2]
    assert small(url).cache_info()[:3] == (0, 8, 0)


def test_without_a_server_one_warning_names_it(tiles):
    url = f"redis://127.0.0.1:{free_port()}/3"
    features = small(url)
    with pytest.warns(UserWarning, match=f"'{url}' cannot be used.*refused") as record:
        features.transform(tiles[0][:3])
        features.transform(tiles[0][:3])
    assert len(record) == 1
    assert record[0].filename == __file__


class NoServer:
    """Takes connections, and answers what it is told to."""

    def __init__(self, answer):
        self.n_connections = 0
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self):
        connections = []
        while True:
            try:
                connections.append(self._socket.accept()[0])
                self.n_connections += 1
                connections[-1].sendall(self._answer)
            except OSError:
                return [connection.close() for connection in connections]

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*-7\r\n:x\r\n$9\r\n\xff"]
)
def test_a_server_that_is_none_is_tried_once_and_once_more(tiles, answer):
    server = NoServer(answer)
    url = f"redis://127.0.0.1:{server.port}/0?socket_timeout=0.1"
    with pytest.warns(UserWarning, match="cannot be used") as record:
        computed = small(url, batch_size=2).transform(tiles[0][:6])
    server.close()
    assert len(record) == 1
    assert server.n_connections <= 2
    np.testing.assert_allclose(computed, small(None).transform(tiles[0][:6]), rtol=1e-5)


def test_a_server_that_is_there_again_is_used_again(tmp_path, monkeypatch):
    from skvgg._store import pause

    with serving(tmp_path) as url:
        store = RedisStore(url)
        store.put(rows(0, 5))
    with pytest.warns(UserWarning, match="cannot be used"):
        assert store.get([key(0)]) == {}
    with serving(tmp_path, port=int(url.split(":")[-1][:-2])):
        assert store.get([key(0)]) == {}
        store.put(rows(0, 5))
        assert len(store) == 0
        monkeypatch.setattr(pause, "_paused_until", {})  # some time goes by
        store.put(rows(0, 5))
        assert n_right(store, 5) == len(store) == 5
        store.close()


def test_what_a_server_cannot_delete_is_an_error_also_during_a_pause(tmp_path):
    with serving(tmp_path) as url:
        memory = joblib.Memory(url, backend="skvgg", verbose=0)
        store = memory.store_backend.store
    with pytest.warns(UserWarning, match="cannot be used"):
        store.put(rows(0, 2))
    for delete in (
        memory.clear,
        lambda: memory.reduce_size(items_limit=1),
        lambda: memory.store_backend.clear_item(["rows", "x"]),
        lambda: memory.store_backend.clear_path(["rows"]),
    ):
        with pytest.raises(OSError, match=r"cannot be used.*Not all rows were deleted"):
            delete()
    with serving(tmp_path, port=int(url.split(":")[-1][:-2])):
        with asking(url) as client:
            client.set(PREFIX + b"row:" + key(0), b"")
        memory.clear()
        with asking(url) as client:
            assert client.dbsize() == 0
        store.close()


@pytest.mark.slow
def test_a_fit_that_reads_its_maps_from_a_server_is_that_of_a_folder(
    url, tiles, tmp_path
):
    X, y = tiles[0][:12], tiles[1][:12]
    params = {"weights": None, "layer": "block5_pool", "image_size": 32, "max_iter": 1}
    models = [
        VGG19Classifier(**params, memory=memory, random_state=0).fit(X, y)
        for memory in (url, str(tmp_path / "folder"))
    ]
    first, second = (model.predict_proba(X) for model in models)
    np.testing.assert_array_equal(first, second)
    assert models[0].features_.cache_info().entries >= 24  # a map and a row an image


# Passwords


def test_a_password_comes_from_the_environment_and_shows_nowhere(
    tmp_path, tiles, monkeypatch
):
    X = tiles[0][:3]
    with serving(tmp_path, "--requirepass", "s3cret") as url:
        monkeypatch.setenv("REDISCLI_AUTH", "s3crat")
        with pytest.warns(UserWarning, match="cannot be used.*password") as record:
            small(url).transform(X)
        assert len(record) == 1
        monkeypatch.setattr("skvgg._store.pause._paused_until", {})
        monkeypatch.setenv("REDISCLI_AUTH", "s3cret")
        memory = joblib.Memory(url, backend="skvgg", verbose=0)
        features = small(memory)
        features.transform(X)
        info = features.cache_info()
        assert info.entries == 3
        shown = [str(record[0].message), features, memory, info, memory.cache(key)]
        assert "s3c" not in repr(shown)
        assert b"s3c" not in pickle.dumps(features)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cret@127.0.0.1/0",
        "rediss://me:s3cret@127.0.0.1/0",
        "redis://127.0.0.1/0?password=s3cret",
        "redis://me:s3cret/more@127.0.0.1/0",
        "redis://me:s3cret#more@127.0.0.1/0",
        "redis://:12?s3cret@127.0.0.1/0",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_shown(url, tiles):
    for use in (
        lambda: small(url).transform(tiles[0][:1]),
        lambda: small(url).cache_info(),
        lambda: joblib.Memory(url, backend="skvgg", verbose=0),
    ):
        with pytest.raises(ValueError, match="memory is") as caught:
            use()
        assert "s3cret" not in str(caught.value)
        assert caught.value.__cause__ is None


# URLs


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://bucket/rows", r"with the scheme 's3'.*joblib\.Memory with your own"),
        ("redis://127.0.0.1:port/0", "not the URL of a Redis server"),
        ("redis://127.0.0.1/rows", "not the URL of a Redis server"),
        ("redis://", "not the URL of a Redis server.*redis://host:6379/0"),
        ("redis:///0", "not the URL of a Redis server"),
        ("unix://", "not the URL of a Redis server"),
        ("redis://h/0?decode_responses=True", "decode_responses: rows are bytes"),
        ("redis://h/0?nonsense=1", "an option that redis-py does not acc.*'nonsense'"),
        ("unix:///path?nonsense=1", "an option that redis-py does not.*'nonsense'"),
        ("redis://h/0?socket_timeout=abc", "an option that redis-py.*'socket_timeout'"),
    ],
)
def test_other_urls_are_refused(tiles, tmp_path, monkeypatch, url, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        small(url).transform(tiles[0][:1])
    with pytest.raises(ValueError, match=message):
        joblib.Memory(url, backend="skvgg", verbose=0)
    assert list(tmp_path.iterdir()) == []


def test_the_certificate_must_be_of_the_host_unless_the_url_says_otherwise():
    for query, expected in (("", True), ("?ssl_check_hostname=false", False)):
        store = RedisStore(f"rediss://localhost:1/0{query}")
        options = store._client.connection_pool.connection_kwargs
        assert options["ssl_check_hostname"] is expected


def test_the_scheme_may_be_in_capitals(url, tiles, passes):
    capitals = url.replace("redis", "REDIS")
    small(capitals).transform(tiles[0][:2])
    memory = joblib.Memory(capitals, backend="skvgg", verbose=0)
    small(memory).transform(tiles[0][:2])
    assert sum(passes) == 2
    with asking(url) as client:
        assert client.dbsize() >= 2
    memory.store_backend.store.close()


def test_the_number_of_the_database_counts(tmp_path):
    with serving(tmp_path) as url:
        for number in ("/0", "/2", "/2/", "?db=2"):
            memory = joblib.Memory(url[:-2] + number, backend="skvgg", verbose=0)
            memory.store_backend.store.put({key(0): row(0)})
            memory.store_backend.store.close()
        with asking(url) as client:
            assert set(client.info("keyspace")) == {"db0", "db2"}


def test_a_socket_of_this_machine_will_do(tmp_path):
    path = tmp_path / "socket"
    with serving(tmp_path, "--unixsocket", str(path)):
        cache = Cache(f"unix://{path}?db=1")
        cache.put(rows(0, 3))
        assert cache.get([key(2), key(3)]).keys() == {key(2)}
        cache.close()


@pytest.mark.parametrize("joblibs", [False, True])
def test_a_pickled_url_stays_what_it_is(joblibs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = "redis://somewhere:1234/5?socket_timeout=1"
    memory = joblib.Memory(url, backend="skvgg", verbose=0) if joblibs else url
    loaded = pickle.loads(pickle.dumps(small(memory))).memory
    cache = Cache(loaded)
    assert (loaded.location if joblibs else loaded) == url
    assert cache.location is None  # no folder whose free room could be told
    assert repr(joblib.Memory(url, backend="skvgg", verbose=0)) == (
        f"Memory(location={url})"
    )


def test_redis_is_imported_for_urls_only(tmp_path):
    code = """
import sys
from skvgg._store.cache import Cache
print(Cache(sys.argv[1]).get([bytes(20)]), "redis" in sys.modules)
Cache("redis://127.0.0.1/0")
print("redis" in sys.modules)
"""
    assert run_python(code, tmp_path).stdout.split() == ["{}", "False", "True"]


def test_without_redis_py_an_error_names_the_extra(tiles, monkeypatch):
    loaded = joblib.Memory("redis://127.0.0.1/0", backend="skvgg", verbose=0)
    data = pickle.dumps(small(loaded))
    for name in [name for name in sys.modules if name.split(".")[0] == "redis"]:
        monkeypatch.setitem(sys.modules, name, None)
    for features in (small("redis://127.0.0.1/0"), pickle.loads(data)):
        with pytest.raises(ImportError, match=r"pip install 'skvgg\[redis\]'"):
            features.transform(tiles[0][:1])


# Deleting


def test_what_others_keep_on_the_server_stays(url):
    store = RedisStore(url)
    store.put(rows(0, 3))
    with asking(url) as client:
        client.set("mine", "1")
        client.set("skvgg-10:row:later", "1")
        joblib.Memory(url, backend="skvgg", verbose=0).clear(warn=False)
        assert {*client.keys()} == {b"mine", b"skvgg-10:row:later"}
    assert len(store) == 0
    store.close()


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu"])
@pytest.mark.parametrize("rights", ["+@all", "+@read +scan"])
def test_sizes_are_those_that_the_server_names(tmp_path, policy, rights):
    """With a script, and for a user who may run none."""
    with serving(tmp_path, "--maxmemory-policy", policy) as url:
        store = RedisStore(url)
        store.put(rows(0, 30))
        store.close()
        with asking(url) as client:
            client.execute_command(
                *["ACL", "SETUSER", "me", "on", "nopass", "~skvgg-*", *rights.split()]
            )
            names = [PREFIX + b"row:" + key(i) for i in range(30)]
            expected = {name: client.memory_usage(name) for name in names}
        store = RedisStore(url.replace("//", "//me@"))
        assert {some.id: some.size for some in store.entries()} == expected
        assert store.usage() == (30, sum(expected.values()))
        assert all(abs(some.used - time.time()) < 60 for some in store.entries())
        store.close()


def test_reduce_size_drops_what_was_not_used_for_longest(url):
    store = RedisStore(url)
    store.put(rows(0, 10))
    with asking(url) as client:
        for i in range(10):  # the server gets to see the last ones first
            name, hours = PREFIX + b"row:" + key(i), 10 - i
            idle = ("REPLACE", "IDLETIME", 3600 * hours)
            client.execute_command("RESTORE", name, 0, client.dump(name), *idle)
    store.usage()  # to ask is not to use
    n_right(store, 1)
    memory = joblib.Memory(url, backend="skvgg", verbose=0)
    memory.reduce_size(items_limit=4)
    assert store.get([key(i) for i in range(10)]).keys() == {*map(key, (0, 7, 8, 9))}
    memory.reduce_size(bytes_limit="4K")
    assert len(store) == 2
    store.close()
    memory.store_backend.store.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"*1\r\n" * 20_000 + b":1\r\n",
        b"*3\r\n:1\r\n*1\r\n$1\r\na\r\n+text\r\n",
        b":7\r\n",
        b"*1\r\n$-1\r\n",
        b"*99999999999999\r\n",
        b"%2\r\n~1\r\n",
        b"$-5\r\n\xff\xfe",
    ],
)
def test_whatever_a_server_answers_rows_are_computed(tiles, answer):
    server = NoServer(answer)
    url = f"redis://127.0.0.1:{server.port}/0?socket_timeout=0.3"
    X = tiles[0][:3]
    with pytest.warns(UserWarning, match="The store at"):
        rows = small(url).transform(X)
    np.testing.assert_allclose(rows, small(None).transform(X), rtol=1e-5)
