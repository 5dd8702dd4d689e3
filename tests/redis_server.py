"""A Redis server of a test's own: on the loopback, in a folder of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import time

import pytest

redis = pytest.importorskip("redis")


@contextlib.contextmanager
def serving(folder, *options, port=None):
    """Start a server; give its URL; stop it, whatever happens.

    Parameters
    ----------
    folder : path-like
        Where the server may write.
    *options : str
        More of its options, such as ``"--maxmemory", "4mb"``.
    port : int or None
        Where it listens; None finds a free one.
    """
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian: apt install redis-server)")
    port = port or free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port)]
    command += ["--dir", os.fspath(folder), "--save", "", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for(process, port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def wait_for(process, port):
    for _ in range(200):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        assert process.poll() is None, "redis-server ended at once"
        time.sleep(0.05)
    raise TimeoutError("redis-server does not listen")


@contextlib.contextmanager
def asking(url, **options):
    """Give a client of redis-py's own."""
    with redis.Redis.from_url(url, **options) as client:
        yield client


def stop(url):
    """Have a server end at once, as if its machine had."""
    with contextlib.suppress(redis.ConnectionError), asking(url) as client:
        client.shutdown(nosave=True, now=True, force=True)
