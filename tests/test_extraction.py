"""Which images go through the network, in which batches, with what kept."""

import io
import threading
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from skvgg._definition.architecture import Output
from skvgg._extraction.local import LocalPasses
from skvgg._extraction.recipe import Recipe
from skvgg._extraction.results import Results, Rows
from skvgg._extraction.run import run as run_images
from skvgg._extraction.run import warn_of_bad
from skvgg._extraction.views import Flip
from skvgg._images import Framing, together
from skvgg._runtime import threads
from skvgg._runtime.warn import warn
from skvgg._store.cache import Cache
from skvgg.exceptions import BadImageWarning

MEAN, CORNER, SIZE = Output("mean", None), Output("corner", None), (8, 8)


class Network:
    """Stands for VGG19: the mean of the pixels, and the pixels of a corner."""

    def __init__(self, outputs):
        self.batches, self.outputs = [], outputs

    def __call__(self, pixels):
        self.batches.append(len(pixels))
        made = {MEAN: pixels.mean((1, 2)), CORNER: pixels[:, 0, 0]}
        return [made[output].astype(np.float32) for output in self.outputs]


def run(images, memory=None, outputs=(MEAN,), also=(), batch_size=4, **settings):
    told = []
    framing, key = Framing(SIZE, "stretch"), settings.get("network_key")
    recipe = Recipe(outputs, also, framing, key, settings.get("views", (None,)))
    cache = Cache(memory)
    network, views = Network(recipe.all_outputs), len(recipe.views)
    rows = Rows(len(images), 3 * len(outputs), views)

    def report(n, counts):
        told.append((n, *counts.values()))

    skips_bad = settings.get("skips_bad", False)
    results = Results(
        recipe, cache, rows, skips_bad=skips_bad, report=report, warn=warn
    )
    passes = LocalPasses(recipe, cache, results, network, batch_size)
    run_images(images, recipe, cache, results, passes)
    cache.close()
    if results.bad:
        warn_of_bad(results.bad, len(images))
    return rows.values[0], network.batches, told


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (10, *SIZE, 3), np.uint8)


def means(images):
    return np.stack([image.mean((0, 1)) for image in images])


def test_rows_come_in_order_and_in_full_batches(images):
    rows, batches, told = run(images)
    np.testing.assert_allclose(rows, means(images), rtol=1e-6)
    assert batches == [4, 4, 2]
    assert sum(n for n, *_ in told) == 10
    assert told[-1][1:] == (0, 10)


@pytest.mark.parametrize("with_memory", [False, True])
def test_duplicates_are_computed_once(images, tmp_path, with_memory):
    order = [0, 1, 0, 0, 2, 1, 3, 4, 5, 0] * 3
    memory = tmp_path if with_memory else None
    rows, batches, told = run(images[order], memory)
    np.testing.assert_allclose(rows, means(images[order]), rtol=1e-6)
    assert sum(batches) == 6
    assert sum(n for n, *_ in told) == 30
    assert told[-1][1:] == (24, 6)


def test_misses_among_hits_fill_whole_batches(images, tmp_path):
    run(images[::2], tmp_path)
    rows, batches, _ = run(images, tmp_path)
    np.testing.assert_allclose(rows, means(images), rtol=1e-6)
    assert batches == [4, 1]


def test_a_row_needs_all_its_outputs(images, tmp_path):
    run(images, tmp_path)
    rows, batches, _ = run(images, tmp_path, outputs=(CORNER, MEAN))
    assert sum(batches) == 10
    np.testing.assert_array_equal(rows[:, :3], images[:, 0, 0])
    rows, batches, _ = run(images, tmp_path, outputs=(CORNER,))
    assert batches == []
    np.testing.assert_array_equal(rows, images[:, 0, 0])


def test_what_is_also_stored_needs_no_pass_later(images, tmp_path):
    rows, _, _ = run(images, tmp_path, also=(CORNER, MEAN))
    assert rows.shape == (10, 3)
    rows, batches, _ = run(images, tmp_path, outputs=(CORNER,))
    assert batches == []
    np.testing.assert_array_equal(rows, images[:, 0, 0])


FLIPPED = (None, Flip(True, False), Flip(True, True))


def corners(images):
    return np.stack([images[:, 0, 0], images[:, 0, -1], images[:, -1, -1]])


def test_the_row_of_an_image_is_the_mean_of_its_views(images):
    rows, batches, _ = run(images, outputs=(CORNER,), views=FLIPPED)
    np.testing.assert_allclose(rows, corners(images).mean(0, np.float32), rtol=1e-6)
    assert batches == [4] * 7 + [2]


def test_an_image_is_read_and_decoded_once_for_all_views(images, tmp_path, monkeypatch):
    paths, read, decoded = [], [], []
    for index, image in enumerate(images):
        paths.append(str(tmp_path / f"{index}.png"))
        Image.fromarray(image).save(paths[-1])
    load, decode = together.load, together.decode
    monkeypatch.setattr(together, "load", lambda *a: read.append(a) or load(*a))
    monkeypatch.setattr(together, "decode", lambda *a: decoded.append(a) or decode(*a))
    rows, _, _ = run(paths, outputs=(CORNER,), views=FLIPPED)
    np.testing.assert_allclose(rows, corners(images).mean(0, np.float32), rtol=1e-6)
    assert (len(read), len(decoded)) == (10, 10)


def test_views_that_are_cached_already_are_not_computed_again(images, tmp_path):
    run(images[:6], tmp_path, outputs=(CORNER,))
    rows, batches, told = run(images, tmp_path, outputs=(CORNER,), views=FLIPPED)
    np.testing.assert_allclose(rows, corners(images).mean(0, np.float32), rtol=1e-6)
    assert sum(batches) == 30 - 6
    assert told[-1][1:] == (6, 24)
    again, batches, _ = run(images, tmp_path, outputs=(CORNER,), views=FLIPPED)
    assert batches == []
    np.testing.assert_array_equal(again, rows)


def test_bad_and_repeated_images_count_once_for_all_views(images):
    X = [images[0], b"no image", images[0], images[1]]
    with pytest.warns(BadImageWarning, match="1 of 4") as caught:
        rows, _, told = run(X, outputs=(CORNER,), views=FLIPPED, skips_bad=True)
    assert len(caught) == 1
    expected = corners(images).mean(0, np.float32)[[0, 0, 1]]
    np.testing.assert_allclose(rows[[0, 2, 3]], expected, rtol=1e-6)
    assert np.isnan(rows[1]).all()
    assert sum(n for n, *_ in told) == 4 * 3
    assert told[-1][1:] == (3, 6, 1)


def test_other_settings_are_other_rows(images, tmp_path):
    run(images, tmp_path, network_key=1)
    assert sum(run(images, tmp_path, network_key=2)[1]) == 10
    assert sum(run(images, tmp_path, network_key=1)[1]) == 0


def test_a_bad_image_leaves_the_rows_before_it_stored(images, tmp_path):
    bad = [*images[:9], np.full((8, 8, 3), 300)]
    with pytest.raises(ValueError, match=r"X\[9\]: pixels lie in 300"):
        run(bad, tmp_path)
    assert sum(run(images[:8], tmp_path)[1]) == 0


@pytest.mark.parametrize("with_memory", [False, True])
def test_bad_images_get_nan_and_one_warning(images, tmp_path, with_memory):
    bad, missing = np.full((8, 8, 3), 300), "nowhere.jpg"
    X = [images[0], bad, images[1], None, bad, missing, images[2]]
    memory = tmp_path if with_memory else None
    for turn in range(2):
        with pytest.warns(BadImageWarning, match=r"4 of \d+ images") as record:
            rows, batches, told = run(X, memory, skips_bad=True)
        (warning,) = record
        assert list(warning.message.bad_images) == [1, 3, 4, 5]
        assert "X[5] ('nowhere.jpg'): no such file" in str(warning.message)
        np.testing.assert_allclose(rows[[0, 2, 6]], means(images[:3]), rtol=1e-6)
        assert np.isnan(rows[[1, 3, 4, 5]]).all()
        assert sum(n for n, *_ in told) == 7
        assert sum(batches) == (0 if turn and with_memory else 3)


def test_a_copy_of_a_bad_file_is_named_by_its_own_path(images, tmp_path):
    paths = [tmp_path / name for name in ("a.jpg", "b.jpg")]
    for path in paths:
        path.write_bytes(b"no image")
    with pytest.warns(BadImageWarning) as record:
        run([images[0], *paths], skips_bad=True)
    assert record[0].message.bad_images.keys() == {1, 2}
    for index, path in enumerate(paths, start=1):
        error = record[0].message.bad_images[index]
        assert (error.index, error.path) == (index, str(path))
        assert str(error).startswith(f"X[{index}] ({str(path)!r}): not an image")


def test_a_warning_of_many_names_the_first_few(images):
    with pytest.warns(BadImageWarning, match=r"(?s)X\[4\].*and 3 more$") as record:
        run([None] * 8 + [images[0]], skips_bad=True)
    assert "X[5]" not in str(record[0].message)
    assert len(record[0].message.bad_images) == 8


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_next_batch_is_decoded_while_one_is_in_the_network(monkeypatch, n_threads):
    images = np.random.default_rng(0).integers(0, 256, (40, *SIZE, 3), np.uint8)
    all_are_decoded, seen = threading.Event(), []
    decode, compute = together.decode, Network.__call__

    def note(content, *settings):
        seen.append(threading.current_thread())
        if len(seen) == 32:
            all_are_decoded.set()
        return decode(content, *settings)

    def wait(self, pixels):
        if n_threads == 1:
            assert len(seen) == 16 * (1 + len(self.batches)) or len(seen) == 40
        elif not self.batches:
            assert all_are_decoded.wait(60)
        return compute(self, pixels)

    monkeypatch.setattr(threads, "max_threads", lambda: n_threads)
    monkeypatch.setattr(together, "decode", note)
    monkeypatch.setattr(Network, "__call__", wait)
    rows, batches, _ = run(images, batch_size=16)
    assert batches == [16, 16, 8]
    np.testing.assert_allclose(rows, means(images), rtol=1e-6)
    assert (threading.main_thread() in seen) == (n_threads == 1)
    assert len(set(seen)) <= n_threads


def test_as_many_images_are_decoded_at_a_time_as_there_are_threads(monkeypatch):
    met, decode = threading.Barrier(3, timeout=60), together.decode

    def meet(content, *settings):
        met.wait()
        return decode(content, *settings)

    monkeypatch.setattr(threads, "max_threads", lambda: 3)
    monkeypatch.setattr(together, "decode", meet)
    images = np.random.default_rng(0).integers(0, 256, (12, *SIZE, 3), np.uint8)
    rows, _, _ = run(images)
    np.testing.assert_allclose(rows, means(images), rtol=1e-6)


def test_a_path_that_cannot_be_one_is_a_bad_image(images):
    with pytest.warns(BadImageWarning, match="no such file"):
        rows, _, _ = run([images[0], "nul\0.jpg"], skips_bad=True)
    np.testing.assert_allclose(rows[:1], means(images[:1]), rtol=1e-6)
    assert np.isnan(rows[1]).all()


def test_an_open_file_that_comes_twice_is_read_in_turn(images):
    in_use = threading.Lock()

    class File(io.BytesIO):
        def read(self, *args):
            assert in_use.acquire(blocking=False)
            time.sleep(0.01)
            in_use.release()
            return super().read(*args)

    file = File()
    Image.fromarray(images[0]).save(file, "PNG")
    file.seek(0)
    rows, _, _ = run([file] * 10)
    np.testing.assert_allclose(rows, means(images[:1].repeat(10, 0)), rtol=1e-6)


def test_a_bad_image_does_not_lose_the_batch_in_the_network(images, tmp_path):
    with pytest.raises(ValueError, match=r"X\[6\]"):
        run([*images[:6], b"no image"], tmp_path, batch_size=4)
    assert sum(run(images, tmp_path)[1]) == 6


def test_a_failure_of_the_network_stores_nothing(images, tmp_path, monkeypatch):
    def fail(self, pixels):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Network, "__call__", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            run(images, tmp_path)
    assert sum(run(images, tmp_path)[1]) == 10


def test_a_float_image_in_0_to_1_warns_once_and_names_the_first(images):
    X = [images[0], images[1] / 255, images[2] / 255]
    with pytest.warns(UserWarning, match=r"X\[1\].*in 0\.\.255.*\* 255\.") as record:
        run(X)
    assert len(record) == 1


def test_a_16_bit_image_of_8_bits_warns(images):
    with pytest.warns(UserWarning, match=r"X\[0\]: a 16-bit.*0\.\.65535.*\* 257\."):
        run(images.astype(np.uint16))


def test_a_black_float_image_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run([np.zeros((*SIZE, 3))])
