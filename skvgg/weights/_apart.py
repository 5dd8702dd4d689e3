"""Read a weights file in another process, so that a crash or a hang is an error.

The processes exchange a line of JSON and bytes, no pickles: the other one may have run
into a file that was made to take it over.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np

from skvgg.weights._base import FileArray, FileArrays, RefusedError

#: Seconds that the process may take to find the layers, and bytes it reads per second.
_PATIENCE, _SLOWEST = 60, 4_000_000

_START = "from skvgg.weights._apart import serve; serve()"


@contextmanager
def layers_apart(module: str, path: Path, names: list[str]) -> Iterator[FileArrays]:
    """Return the result of a module's ``layers_here``, called in another process.

    Arrays have to be read in the order of `names`, and each kernel before its bias.
    """
    # Without -P, modules in the working directory would be imported.
    command = [sys.executable, "-P", "-c", _START, module, str(path), json.dumps(names)]
    paths = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": paths},
    ) as process:
        assert process.stdout is not None
        patience = _PATIENCE + path.stat().st_size / _SLOWEST
        watch = threading.Timer(patience, process.kill)
        watch.start()
        try:
            yield _receive(process.stdout, partial(_describe_end, process, watch))
        finally:
            watch.cancel()
            process.kill()


def _receive(stream: IO[bytes], describe_end: Callable[[], str]) -> FileArrays:
    answer = json.loads(stream.readline() or "{}")
    if "refused" in answer:
        raise RefusedError(answer["refused"])
    if "error" in answer:
        raise ValueError(answer["error"])
    if "layers" not in answer:
        raise ValueError(describe_end())

    def array(name: str, shape: list[int], dtype: str) -> FileArray:
        def read() -> np.ndarray:
            n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
            data = stream.read(n_bytes)
            if len(data) < n_bytes:
                raise ValueError(describe_end())
            return np.frombuffer(data, dtype).reshape(shape)

        return FileArray(name, tuple(shape), np.dtype(dtype), read)

    return {
        name: (array(*kernel), array(*bias))
        for name, (kernel, bias) in answer["layers"].items()
    }


def _describe_end(process: subprocess.Popen[bytes], watch: threading.Timer) -> str:
    code = process.wait()
    watch.join(0.1)
    if not watch.is_alive():
        return f"the process that read it took longer than {watch.interval:.0f} s"
    how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
    return f"the process that read it {how}"


def serve() -> None:
    """Answer on standard output; the arguments are module, path and names."""
    module, path, names = sys.argv[1:]
    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    answer: dict[str, Any]
    arrays: list[np.ndarray] = []
    try:
        wanted = json.loads(names)
        with import_module(module).layers_here(Path(path), wanted) as found:
            pairs = {name: found[name] for name in wanted if name in found}
            for array in (array for pair in pairs.values() for array in pair):
                arrays.append(np.ascontiguousarray(array.read()))
            answer = {
                "layers": {
                    name: [[a.name, a.shape, a.dtype.str] for a in pair]
                    for name, pair in pairs.items()
                }
            }
    except RefusedError as error:
        answer = {"refused": str(error)}
    except Exception as error:  # SciPy raises various errors
        answer = {"error": str(error) or type(error).__name__}
    answers.write(json.dumps(answer).encode() + b"\n")
    if "layers" in answer and all(array.dtype.kind in "buif" for array in arrays):
        for array in arrays:
            answers.write(array.data)
    answers.flush()
