"""``joblib.Memory(location, backend="skvgg")``: joblib's own promises kept."""

import datetime
import pickle
import time
from pathlib import Path

import joblib
import numpy as np
import pytest

from skvgg import VGG19Features  # registers the backend
from skvgg._store.backend import ArrayStoreBackend

assert VGG19Features

calls = []


def double(x):
    calls.append(x)
    return np.asarray(x) * 2.0


def triple(x):
    return np.asarray(x) * 3.0


def a_list(x):
    return [x]


@pytest.fixture(params=["folder", "server"])
def place(request, tmp_path):
    if request.param == "folder":
        yield str(tmp_path)
    else:
        from .redis_server import serving

        with serving(tmp_path) as url:
            yield url


@pytest.fixture
def memory(place):
    calls.clear()
    memory = joblib.Memory(place, backend="skvgg", verbose=0)
    yield memory
    memory.store_backend.store.close()


@pytest.fixture
def folder_memory(tmp_path):
    memory = joblib.Memory(tmp_path, backend="skvgg", verbose=0)
    yield memory
    memory.store_backend.store.close()


def test_a_function_runs_once_for_each_argument(memory, place):
    cached = memory.cache(double)
    assert not cached.check_call_in_cache(3)
    np.testing.assert_array_equal([cached(3), cached(3), cached(4)], [6, 6, 8])
    assert calls == [3, 4]
    assert cached.check_call_in_cache(3)
    again = joblib.Memory(place, backend="skvgg", verbose=0)
    np.testing.assert_array_equal(again.cache(double)(3), 6)
    assert calls == [3, 4]
    again.store_backend.store.close()


def test_a_folder_named_by_a_path_is_that_named_by_a_text(folder_memory, tmp_path):
    folder_memory.cache(double)(3)
    assert (tmp_path / "joblib" / "rows-0.sqlite3").is_file()


def test_an_array_that_comes_back_is_ones_own(memory):
    cached = memory.cache(double)
    cached([1, 2])
    first = cached([1, 2])
    first += 1
    np.testing.assert_array_equal(cached([1, 2]), [2, 4])


def test_references_and_a_pickled_memory_work(memory):
    reference = memory.cache(double).call_and_shelve(3)
    copy = pickle.loads(pickle.dumps(memory))
    np.testing.assert_array_equal(reference.get(), 6)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reference)).get(), 6)
    np.testing.assert_array_equal(copy.cache(double)(3), 6)
    assert calls == [3]
    reference.clear()
    memory.cache(double)(3)
    assert calls == [3, 3]
    copy.store_backend.store.close()


def test_clear_of_a_function_leaves_the_others(memory):
    two, three = memory.cache(double), memory.cache(triple)
    two(1)
    three(1)
    two.clear(warn=False)
    assert not two.check_call_in_cache(1)
    assert three.check_call_in_cache(1)
    memory.clear(warn=False)
    assert not three.check_call_in_cache(1)


def test_a_function_that_changes_is_run_again(memory):
    cached = memory.cache(double)
    cached(3)
    memory.store_backend.store_cached_func_code([cached.func_id], "# first line: 1\nx")
    fresh = memory.cache(double)
    joblib.memory._FUNCTION_HASHES.clear()
    fresh(3)
    assert calls == [3, 3]


def test_other_results_than_arrays_are_refused(memory):
    with pytest.raises(TypeError, match=r"a_list returned a list.*NumPy arrays only"):
        memory.cache(a_list)(1)


def test_results_expire(memory):
    expired = joblib.expires_after(hours=1)
    cached = memory.cache(double, cache_validation_callback=lambda _: False)
    cached(1)
    cached(1)
    assert calls == [1, 1]
    cached = memory.cache(double, cache_validation_callback=expired)
    cached(1)
    assert calls == [1, 1]


def keep(memory, **limits):
    """Store a, b, c in turn, use a again, reduce; return what is left."""
    cached = memory.cache(double)
    start = time.time()
    with pytest.MonkeyPatch.context() as patch:
        for hours, x in ((0, 10), (30, 20), (60, 30), (90, 10)):
            patch.setattr(time, "time", lambda now=start + 3600 * (hours - 90): now)
            cached(np.full(1000, x))
    memory.reduce_size(**limits)
    return [x for x in (10, 20, 30) if cached.check_call_in_cache(np.full(1000, x))]


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({"items_limit": 2}, [10, 30]),
        ({"bytes_limit": "10K"}, [10]),
        ({"bytes_limit": 20_000}, [10, 30]),
        ({"age_limit": datetime.timedelta(hours=50)}, [10, 30]),
        ({"items_limit": 5}, [10, 20, 30]),
        ({}, [10, 20, 30]),
    ],
)
def test_reduce_size_drops_what_was_not_used_for_longest(folder_memory, limits, left):
    assert keep(folder_memory, **limits) == left


def test_bytes_limit_is_that_of_the_disk_or_the_server(memory):
    cached = memory.cache(double)
    for i in range(100):
        cached(np.full(4096, i))
    memory.reduce_size(bytes_limit="1M")
    assert 0.5e6 < memory.store_backend.store.usage()[1] < 1.2e6


def test_it_is_a_backend_of_joblibs(memory):
    assert isinstance(memory.store_backend, joblib.memory.StoreBackendBase)
    assert isinstance(memory.store_backend, ArrayStoreBackend)
    assert memory.store_backend.get_items() == []


def test_a_subfolder_that_is_a_link_is_one_store_too(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "joblib").symlink_to(tmp_path / "elsewhere")
    places = [tmp_path / "cache", tmp_path / "cache" / "joblib"]
    memories = [
        joblib.Memory(place, backend="skvgg", verbose=0)
        for place in (*places, *map(str, places))
    ]
    for number, memory in enumerate(memories):
        memory.store_backend.dump_item(["f", str(number)], np.ones(3))
    assert [len(memory.store_backend.get_items()) for memory in memories] == [4] * 4
    assert len([*(tmp_path / "elsewhere").rglob("*.sqlite3")]) == 1


def test_one_place_is_one_store_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    monkeypatch.setenv("HOME", str(tmp_path))
    places = [
        "cache",
        Path("cache"),
        str(tmp_path / "cache"),
        tmp_path / "cache",
        "cache/",
        "./x/../cache",
        "~/cache",
        Path("link"),
        "cache/joblib",
        Path("cache/joblib"),
    ]
    memories = [joblib.Memory(place, backend="skvgg", verbose=0) for place in places]
    assert len({memory.store_backend.location for memory in memories}) == 1
    calls = []

    def double(x):
        calls.append(x)
        return np.array([2 * x])

    for memory in memories:
        assert memory.cache(double)(3) == 6
    assert calls == [3]
    memories[1].clear(warn=False)
    assert memories[0].cache(double)(3) == 6
    assert calls == [3, 3]
