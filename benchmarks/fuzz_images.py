"""Damage images and weights files at random, and count the results of reading them.

    pip install -e ".[bench]"
    python benchmarks/fuzz_images.py --images 5000 --weights 500

Reading must return a result of the right shape or raise a ValueError that names the
file. It must not raise another exception, crash, hang for more than 20 seconds, or use
1 GB of memory. A monitored process does the work, so crashes and hangs are counted.
"""

import argparse
import collections
import faulthandler
import io
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import h5py
import numpy as np
import scipy.io
from PIL import Image, ImageCms, features
from safetensors.numpy import save

from skvgg import weights
from skvgg._images import MAX_PIXELS, Framing, decode, load

SECONDS = 20
FRAMING = Framing((16, 24), "stretch", max_pixels=MAX_PIXELS)
SHAPES = {"block1_conv1": (3, 3, 3, 64), "block1_conv2": (3, 3, 64, 64)}


# Files to damage


def make_images():
    """Return files of many formats, by name."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    image = small.resize((64, 48), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    rgba = image.copy()
    rgba.putalpha(128)
    deep = Image.fromarray(np.arange(3072, dtype=np.uint16).reshape(48, 64))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    profile = {"icc_profile": srgb.tobytes()}
    several = {"save_all": True, "append_images": [small.resize((64, 48))]}
    cases = {
        "jpeg": (image, "JPEG", {"exif": exif}),
        "jpeg progressive": (image, "JPEG", {"progressive": True}),
        "jpeg cmyk": (image.convert("CMYK"), "JPEG", {}),
        "jpeg gray": (image.convert("L"), "JPEG", {}),
        "png": (image, "PNG", {}),
        "png alpha": (rgba, "PNG", {"exif": exif}),
        "png palette": (image.quantize(16), "PNG", {"transparency": 3}),
        "png 1 bit": (image.convert("1"), "PNG", {}),
        "png 16 bit": (deep, "PNG", {}),
        "png gray": (image.convert("L"), "PNG", {"transparency": 3, **profile}),
        "png gray alpha": (rgba.convert("LA"), "PNG", profile),
        "apng": (image, "PNG", several),
        "gif": (image, "GIF", several),
        "tiff": (image, "TIFF", {}),
        "tiff negative": (deep, "TIFF", {"tiffinfo": {262: 0}, **profile}),
        "tiff lzw": (image, "TIFF", {"compression": "tiff_lzw"}),
        "tiff float": (Image.fromarray(np.ones((48, 64), np.float32)), "TIFF", {}),
        "bmp": (image, "BMP", {}),
        "bmp alpha": (rgba, "BMP", {}),
        "webp": (image, "WEBP", {}),
        "webp alpha": (rgba, "WEBP", {"lossless": True}),
        "webp animated": (rgba, "WEBP", several),
        "jpeg2000": (image, "JPEG2000", {}),
        "jpeg2000 alpha": (rgba, "JPEG2000", {}),
        "ppm": (image, "PPM", {}),
        "tga": (image, "TGA", {"compression": "tga_rle"}),
        "tga alpha": (rgba, "TGA", {}),
    }
    if features.check("avif"):
        cases["avif"] = (image, "AVIF", {})
    files = {}
    for name, (image, form, options) in cases.items():
        stream = io.BytesIO()
        image.save(stream, form, **options)
        files[name] = stream.getvalue()
    return files


def make_weights():
    """Return small weights files of each format except TensorFlow's, by name."""
    rng = np.random.default_rng(0)
    parameters = {
        name: (rng.standard_normal(shape, np.float32), np.zeros(shape[-1], np.float32))
        for name, shape in SHAPES.items()
    }
    state, layers, files = {}, [], {}
    for number, (name, (kernel, bias)) in zip((0, 2), parameters.items(), strict=True):
        state[f"features.{number}.weight"] = np.ascontiguousarray(
            kernel.transpose(3, 2, 0, 1)
        )
        state[f"features.{number}.bias"] = bias
        cell = np.empty(2, object)
        cell[:] = [kernel, bias]
        theirs = name.replace("block", "conv").replace("_conv", "_")
        layers.append({"name": theirs, "weights": cell})
    files["safetensors"] = save(state)
    cells = np.empty(2, object)
    cells[:] = layers
    stream = io.BytesIO()
    scipy.io.savemat(stream, {"layers": cells})
    files["mat"] = stream.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        weights.save(path, parameters)
        files["npz"] = path.read_bytes()
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name, (kernel, bias) in parameters.items():
            group = file.create_group(f"layers/{name}/vars")  # as Keras 3 has it
            group.attrs["name"] = name
            group["0"], group["1"] = kernel, bias
    files["hdf5"] = stream.getvalue()
    return files


# Damage


def mutate(data, rng):
    """Return damaged bytes."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        kind = rng.choice(["flip", "cut", "swap", "huge", "noise", "repeat", "zero"])
        # Half of the damage is in the first 200 bytes, in the headers.
        size = min(len(data), 200) if rng.random() < 0.5 else len(data)
        at, length = int(rng.integers(max(size, 1))), int(rng.integers(1, 64))
        if kind == "flip" and data:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == "cut":
            del data[at:]
        elif kind == "swap":
            other = int(rng.integers(len(data) + 1))
            data[at : at + length], data[other : other + length] = (
                data[other : other + length],
                data[at : at + length],
            )
        elif kind == "huge":
            data[at : at + 4] = rng.choice([b"\xff" * 4, b"\x7f" + b"\xff" * 3])
        elif kind == "noise":
            data[at : at + length] = rng.bytes(length)
        elif kind == "repeat":
            data[at:at] = data[at : at + length] * int(rng.integers(1, 50))
        else:
            data[at : at + length] = bytes(length)
    return bytes(data)


def try_image(data):
    """Return the result of reading an image."""
    try:
        pixels = decode(load(data, 7), FRAMING)
    except ValueError as error:
        return "named" if str(error).startswith("X[7]") else f"unnamed: {error}"
    # Float images keep their fractions.
    right = pixels.shape == (16, 24, 3) and pixels.dtype in (np.uint8, np.float32)
    return "pixels" if right else f"wrong shape {pixels.shape} {pixels.dtype}"


def try_weights(data):
    """Return the result of reading a weights file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged"
        path.write_bytes(data)
        try:
            parameters = weights.load(path, SHAPES, seed=None).parameters
        except ValueError as error:
            return "named" if "damaged'" in str(error) else f"unnamed: {error}"
    right = all(parameters[name][0].shape == shape for name, shape in SHAPES.items())
    return "weights" if right else "wrong shape"


KINDS = {
    "images": (make_images, try_image),
    "weights": (make_weights, try_weights),
}


def attempt(kind, number, files):
    """Damage one file and read it; the number is the seed."""
    rng = np.random.default_rng(number)
    name = sorted(files)[number % len(files)]
    return KINDS[kind][1](mutate(files[name], rng))


# The monitored process


def work(kind, start, stop):
    warnings.simplefilter("ignore")
    files = KINDS[kind][0]()
    for number in range(start, stop):
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            outcome = attempt(kind, number, files)
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        faulthandler.cancel_dump_traceback_later()
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
        print(number, megabytes, ascii(outcome), flush=True)


def run(kind, n):
    outcomes, start, peak = collections.Counter(), 0, 0
    while start < n:
        command = [sys.executable, __file__, "--work", kind, str(start), str(n)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            number, megabytes, outcome = line.split(" ", 2)
            start, peak = int(number) + 1, max(peak, int(megabytes))
            outcomes[outcome.strip("'")] += 1
            if outcome not in ("'named'", "'pixels'", "'weights'"):
                print(f"{kind} {number}: {outcome}")
        if start < n:  # it died of this one
            outcomes["crash or hang"] += 1
            print(f"{kind} {start}: died ({done.returncode})\n{done.stderr[-2000:]}")
            start += 1
    print(f"{n} damaged {kind}: {dict(outcomes)}; {peak} MB at most")
    return set(outcomes) <= {"named", "pixels", "weights"} and peak < 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--weights", type=int, default=500)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        kind, start, stop = args.work
        work(kind, int(start), int(stop))
        return 0
    well = [run("images", args.images), run("weights", args.weights)]
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
