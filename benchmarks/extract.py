"""Compare images per second through VGG19 up to fc1 with other libraries.

    python benchmarks/extract.py forward    # skvgg and ten peers, alternating
    python benchmarks/extract.py start      # cold processes, and peak memory at 32
    python benchmarks/extract.py photos     # JPEG files to a feature matrix
    python benchmarks/extract.py scale      # the same by processes and threads

Each contender has its own process and the same random weights. They alternate, round
by round; the figures are medians. skvgg gets 8-bit pixels and preprocesses them; the
others get float32 pixels that are already preprocessed.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from skvgg._definition.architecture import Output, layers_up_to, parameter_shapes
from skvgg._definition.preprocessing import CAFFE, Preprocessing

SIZE = 224
LAYERS = layers_up_to(["fc1"])
CONTENDERS = {}
#: The reference of the ratios: the fastest peer that computes in float32 only and is as
#: accurate as direct convolution. It runs with the others in each group.
PEER = "OpenVINO float32"
#: Default number of rounds.
ROUNDS = {"forward": 7, "start": 3, "photos": 3, "scale": 5}


def contender(name):
    def register(make):
        CONTENDERS[name] = make
        return make

    return register


def load_parameters():
    from skvgg import weights

    return weights.load(None, parameter_shapes(["fc1"], (SIZE, SIZE)), seed=0)


def make_pixels(n):
    shape = (n, SIZE, SIZE, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def as_float(pixels):
    return pixels.astype(np.float32) - np.float32(CAFFE.mean)


def skvgg_runner(precision, engine):
    from skvgg._network.engines import choose_method
    from skvgg._network.vgg19 import VGG19

    network = VGG19(precision)
    shapes = parameter_shapes(["fc1"], (SIZE, SIZE))
    network.require(shapes, lambda missing: load_parameters())
    means = Preprocessing(mean=CAFFE.mean)
    outputs = [Output("fc1", None)]

    method = choose_method(engine, precision)

    def run(x):
        return network.features(x, outputs, means, method)[0]

    return run, lambda x: x


@contender("skvgg direct")
def _():
    return skvgg_runner("float32", "direct")


@contender("skvgg winograd")
def _():
    return skvgg_runner("float32", "winograd")


@contender("skvgg bfloat16")
def _():
    return skvgg_runner("bfloat16", "auto")


@contender("skvgg bfloat16 direct")
def _():
    return skvgg_runner("bfloat16", "direct")


def keras_model():
    import keras

    model = keras.applications.VGG19(weights=None)
    parameters = load_parameters().parameters
    for layer in model.layers:
        if layer.name in parameters:
            layer.set_weights(parameters[layer.name])
    return keras.Model(model.input, model.get_layer("fc1").output)


@contender("Keras predict")
def _():
    model = keras_model()
    return lambda x: model.predict(x, batch_size=len(x), verbose=0), as_float


@contender("TensorFlow frozen")
def _():
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2 as freeze,
    )

    model = keras_model()
    spec = tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32)
    frozen = freeze(tf.function(model).get_concrete_function(spec))
    return lambda x: frozen(tf.constant(x))[0].numpy(), as_float


def torch_model(dtype):
    import torch
    from torch import nn

    class ByPixel(nn.Module):
        """Flatten in Keras' order: height, width, channels."""

        def forward(self, x):
            return x.permute(0, 2, 3, 1).flatten(1)

    parts = []
    parameters = load_parameters().parameters
    for layer in LAYERS:
        if layer.kind == "pool":
            parts.append(nn.MaxPool2d(2))
        elif layer.kind == "flatten":
            parts.append(ByPixel())
        else:
            kernel, bias = (torch.from_numpy(a) for a in parameters[layer.name])
            if layer.kind == "conv":
                part = nn.Conv2d(*kernel.shape[2:], 3, padding=1)
                part.weight.data = kernel.permute(3, 2, 0, 1).contiguous()
            else:
                part = nn.Linear(*kernel.shape)
                part.weight.data = kernel.T.contiguous()
            part.bias.data = bias
            parts += [part, nn.ReLU()]
    return nn.Sequential(*parts).to(dtype).eval().requires_grad_(False)


def channels_first(pixels):
    return np.ascontiguousarray(as_float(pixels).transpose(0, 3, 1, 2))


def torch_runner(prepare):
    import torch

    model = torch_model(torch.float32).to(memory_format=torch.channels_last)
    model = prepare(torch, model)

    def run(x):
        with torch.inference_mode():
            x = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
            return model(x).numpy()

    return run, channels_first


@contender("PyTorch channels_last")
def _():
    return torch_runner(lambda torch, model: model)


@contender("PyTorch compiled")
def _():
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # here, not in processes
    return torch_runner(lambda torch, model: torch.compile(model))


@contender("PyTorch frozen")
def _():
    def freeze(torch, model):
        return torch.jit.optimize_for_inference(torch.jit.script(model))

    return torch_runner(freeze)


def reference():
    """Return float64 features of pixels, computed by PyTorch."""
    import torch

    model = torch_model(torch.float64)
    return lambda x: model(torch.from_numpy(x.astype(float))).numpy(), channels_first


def onnx_model(parameters=None, layers=LAYERS, outputs=("fc1",), size=SIZE):
    """Return VGG19 as an ONNX model; what has height and width comes out averaged."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, tensors, x = [], [], "pixels"
    parameters = load_parameters().parameters if parameters is None else parameters
    for layer in layers:
        name, before = layer.name, f"{layer.name}_before"
        if layer.kind == "pool":
            sizes = {"kernel_shape": [2, 2], "strides": [2, 2]}
            nodes.append(helper.make_node("MaxPool", [x], [name], **sizes))
        elif layer.kind == "flatten":
            order = [0, 2, 3, 1]
            nodes.append(helper.make_node("Transpose", [x], [before], perm=order))
            nodes.append(helper.make_node("Flatten", [before], [name]))
        else:
            kernel, bias = parameters[name]
            is_conv = layer.kind == "conv"
            if is_conv:
                kernel = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
            tensors.append(numpy_helper.from_array(kernel, f"{name}_kernel"))
            tensors.append(numpy_helper.from_array(bias, f"{name}_bias"))
            op, options = ("Conv", {"pads": [1] * 4}) if is_conv else ("Gemm", {})
            inputs = [x, f"{name}_kernel", f"{name}_bias"]
            nodes.append(helper.make_node(op, inputs, [before], **options))
            nodes.append(helper.make_node("Relu", [before], [name]))
        x = name
    rows = []
    for layer in (layer for layer in layers if layer.name in outputs):
        row = layer.name
        if layer.is_spatial:
            row = f"{row}_avg"
            average = helper.make_node(
                "GlobalAveragePool", [layer.name], [f"{row}_map"]
            )
            nodes += [average, helper.make_node("Flatten", [f"{row}_map"], [row])]
        rows.append((row, [layer.width]))
    inputs, outputs = (
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])
            for name, shape in values
        ]
        for values in ([("pixels", [3, size, size])], rows)
    )
    graph = helper.make_graph(nodes, "vgg19", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def onnx_session(model, pixels=None):
    """Return what runs a model in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString())
    return lambda x: session.run(None, {"pixels": x})


def onnx_int8_session(model, pixels):
    """Return what runs a model in 8 bits, calibrated with pixels."""
    import onnx
    from onnxruntime import quantization

    class Batches(quantization.CalibrationDataReader):
        def __init__(self):
            parts = np.array_split(pixels, -(-len(pixels) // 16))
            self._rest = iter([{"pixels": part} for part in parts])

        def get_next(self):
            return next(self._rest, None)

    with tempfile.TemporaryDirectory() as folder:
        target = f"{folder}/int8.onnx"
        quantization.quantize_static(
            copy.deepcopy(model),  # it is changed
            target,
            Batches(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return onnx_session(onnx.load(target))


def openvino_request(model, precision):
    """Return what runs a model, of ONNX or of OpenVINO, in a precision."""
    import io

    import openvino

    core = openvino.Core()
    if not isinstance(model, openvino.Model):
        model = core.read_model(io.BytesIO(model.SerializeToString()))
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", hints).create_infer_request()

    def run(x):
        results = request.infer({0: x})
        return [results[i].copy() for i in range(len(results))]

    return run


def openvino_int8_request(model, pixels):
    """Return what runs a model in 8 bits, calibrated with pixels."""
    import io

    import nncf
    import openvino

    model = openvino.Core().read_model(io.BytesIO(model.SerializeToString()))
    images = [pixels[i : i + 1] for i in range(len(pixels))]
    quantized = nncf.quantize(model, nncf.Dataset(images), subset_size=len(images))
    return openvino_request(quantized, "f32")


def only_output(run):
    return lambda x: run(x)[0]


def calibration_pixels():
    return channels_first(make_pixels(16))


@contender("ONNX Runtime")
def _():
    return only_output(onnx_session(onnx_model())), channels_first


@contender("ONNX Runtime int8")
def _():
    run = onnx_int8_session(onnx_model(), calibration_pixels())
    return only_output(run), channels_first


@contender(PEER)
def _():
    return only_output(openvino_request(onnx_model(), "f32")), channels_first


@contender("OpenVINO bfloat16")
def _():
    return only_output(openvino_request(onnx_model(), "bf16")), channels_first


@contender("OpenVINO int8")
def _():
    run = openvino_int8_request(onnx_model(), calibration_pixels())
    return only_output(run), channels_first


@contender("MNN")
def _():
    import MNN
    import onnx

    folder = tempfile.mkdtemp()
    source, target = f"{folder}/vgg19.onnx", f"{folder}/vgg19.mnn"
    onnx.save(onnx_model(), source)
    convert = Path(sys.executable).with_name("mnnconvert")
    command = [convert, "-f", "ONNX", "--modelFile", source, "--MNNModel", target]
    subprocess.run([*command, "--bizCode", "x"], check=True, stdout=subprocess.DEVNULL)
    manager = MNN.nn.create_runtime_manager(
        ({"backend": "CPU", "precision": "high", "numThread": n_cores()},)
    )
    last = LAYERS[-1].name
    net = MNN.nn.load_module_from_file(
        target, ["pixels"], [last], runtime_manager=manager
    )

    def run(x):
        x = MNN.expr.const(x, list(x.shape), MNN.expr.NCHW)
        (y,) = net.onForward([x])
        return np.array(y.read(), copy=True)

    return run, channels_first


@contender("ncnn")
def _():
    import ncnn

    folder = tempfile.mkdtemp()
    description, last = write_ncnn_model(folder)
    net = ncnn.Net()
    net.opt.num_threads = n_cores()
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_storage = net.opt.use_bf16_storage = False
    net.load_param(description)
    net.load_model(f"{folder}/vgg19.bin")

    def of_one(pixels):
        extractor = net.create_extractor()
        extractor.input("pixels", ncnn.Mat(pixels))
        return np.array(extractor.extract(last)[1])

    return lambda x: np.stack([of_one(pixels) for pixels in x]), channels_first


def write_ncnn_model(folder):
    """Write VGG19 for ncnn; return the path of the description and the last blob."""
    lines = ["Input pixels 0 1 pixels"]
    parameters = load_parameters().parameters
    x, shape = "pixels", (3, SIZE, SIZE)
    with open(f"{folder}/vgg19.bin", "wb") as numbers:
        for layer in LAYERS:
            if layer.kind == "flatten":  # InnerProduct does that
                continue
            if layer.kind == "pool":
                what, settings = "Pooling", "0=0 1=2 2=2"
                shape = (shape[0], shape[1] // 2, shape[2] // 2)
            else:
                kernel, bias = parameters[layer.name]
                if layer.kind == "conv":
                    what, settings = "Convolution", "1=3 4=1 5=1 6="
                    kernel = kernel.transpose(3, 2, 0, 1)
                    shape = (len(kernel), *shape[1:])
                else:  # from (height, width, channel) to (channel, height, width)
                    what, settings = "InnerProduct", "1=1 2="
                    by_pixel = kernel.reshape(*shape[1:], shape[0], -1)
                    kernel = by_pixel.transpose(3, 2, 0, 1)
                settings = f"0={len(bias)} {settings}{kernel.size} 9=1"
                numbers.write(np.uint32(0).tobytes())  # they are float32
                numbers.write(np.ascontiguousarray(kernel).tobytes())
                numbers.write(bias.tobytes())
            lines.append(f"{what} {layer.name} 1 1 {x} {layer.name} {settings}")
            x = layer.name
    path = Path(folder, "vgg19.param")
    counts = f"{len(lines)} {len(lines)}"
    path.write_text("\n".join(["7767517", counts, *lines, ""]))
    return str(path), x


def n_cores():
    import joblib

    return joblib.cpu_count()


def describe_processor():
    """Return the name and relevant instructions of the processor (Linux only)."""
    from skvgg._runtime.processor import features

    (name, *_) = (
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    matter = (f for f in features() if f.startswith(("avx", "amx", "fma")))
    return f"{name}, {n_cores()} cores: {' '.join(sorted(matter))}"


def peak_memory():
    """Return the peak resident memory of this process, in MB (Linux only).

    getrusage would include the parent process.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) / 1024


def serve(name, batch, pipe):
    """Set up a contender; then run it on request and send the seconds."""
    try:
        run, prepare = CONTENDERS[name]()
        x = prepare(make_pixels(batch))
        rows = run(x)
        run(x)
    except Exception as error:  # it is left out, and said so
        pipe.send(f"{type(error).__name__}: {error}")
        return
    pipe.send(rows[:4])
    while pipe.recv():
        start = time.perf_counter()
        run(x)
        pipe.send(time.perf_counter() - start)
    pipe.send(peak_memory())


def forward(arguments):
    expected = reference_rows()
    others = [name for name in arguments.only or CONTENDERS if name != PEER]
    for batch in arguments.batches:
        # In groups, because all contenders do not fit into memory.
        size = 4 if batch >= 64 else 6
        for i in range(0, len(others), size):
            measure([PEER, *others[i : i + size]], batch, arguments.rounds, expected)


def reference_rows():
    run, prepare = reference()
    return run(prepare(make_pixels(4)))


def measure(names, batch, rounds, expected):
    context = multiprocessing.get_context("spawn")
    pipes, rows = {}, {}
    for name in names:
        pipe, theirs = context.Pipe()
        context.Process(target=serve, args=(name, batch, theirs), daemon=True).start()
        answer = pipe.recv()
        if isinstance(answer, str):
            print(f"{name}: left out, {answer}")
        else:
            pipes[name], rows[name] = pipe, answer
    seconds = {name: [] for name in pipes}
    for _ in range(rounds):
        for name, pipe in pipes.items():
            pipe.send(True)
            seconds[name].append(pipe.recv())
    print(f"\nbatch {batch}, {rounds} rounds")
    print(
        f"{'':22} {'ratio':>6} {'images/s':>9} {'quartiles':>15} {'error':>8} {'MB':>6}"
    )
    rates = {name: batch / np.array(times) for name, times in seconds.items()}
    base = np.median(rates[PEER]) if PEER in rates else np.nan
    for name, rate in rates.items():
        pipes[name].send(False)
        low, median, high = np.percentile(rate, [25, 50, 75])
        reference = expected[: len(rows[name])]
        error = np.abs(rows[name] - reference).max() / np.abs(reference).max()
        print(
            f"{name:22} {median / base:6.2f} {median:9.2f} {low:7.2f}-{high:7.2f} "
            f"{error:8.1e} {pipes[name].recv():6.0f}",
            flush=True,
        )


COLD = {
    "skvgg": """
from skvgg import VGG19Features
rows = VGG19Features(path, batch_size=32, engine=engine).transform(pixels)
""",
    "Keras": """
import keras
model = keras.applications.VGG19(weights=path)
model = keras.Model(model.input, model.get_layer("fc1").output)
x = keras.applications.vgg19.preprocess_input(pixels.astype("float32"))
rows = model.predict(x, batch_size=32, verbose=0)
""",
}

FRAME = """
import sys, time
import numpy as np
path, n, engine = sys.argv[1], int(sys.argv[2]), sys.argv[3]
pixels = np.random.default_rng(0).integers(0, 256, (n, 224, 224, 3), dtype=np.uint8)
start = time.perf_counter()
{}
print(time.perf_counter() - start)
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak[0].split()[1]) / 1024)
"""


def cold(what, path, n, engine="auto"):
    """Return seconds from the first import to the rows, and the peak in MB."""
    code = FRAME.format(COLD[what])
    command = [sys.executable, "-c", code, path, str(n), engine]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()[-2:]]


def start(arguments):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/vgg19.weights.h5"
        save = "keras.applications.VGG19(weights=None).save_weights(sys.argv[1])"
        command = [sys.executable, "-c", f"import keras, sys; {save}", path]
        subprocess.run(command, check=True, capture_output=True)
        print(f"{'cold process':28} {'ratio':>6} {'skvgg s':>8} {'Keras s':>8}")
        for n in (1, 32):
            both = [
                (cold("skvgg", path, n)[0], cold("Keras", path, n)[0])
                for _ in range(arguments.rounds)
            ]
            ours, theirs = np.median(both, axis=0)
            name = f"{n} image{'s' * (n > 1)}"
            print(f"{name:28} {ours / theirs:6.2f} {ours:8.2f} {theirs:8.2f}")
        theirs = cold("Keras", path, 64)[1]
        print(f"{'peak memory, 64 by 32':28} {'ratio':>6} {'MB':>8}")
        print(f"{'Keras':28} {1:6.2f} {theirs:8.0f}")
        for engine in ("direct", "winograd"):
            ours = cold("skvgg", path, 64, engine)[1]
            print(f"{'skvgg ' + engine:28} {ours / theirs:6.2f} {ours:8.0f}")


def write_photos(folder, n, size):
    """Write JPEG files of noisy photos of size (width, height); return the paths."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    paths = []
    for i in range(n):
        photo = Image.fromarray(load_sample_images().images[i % 2])
        left, top = rng.integers(0, 100, 2)
        photo = photo.crop((left, top, left + 500, top + 320)).resize(size)
        noisy = np.asarray(photo) + rng.normal(0, 6, (size[1], size[0], 1))
        paths.append(f"{folder}/{i}.jpg")
        clipped = np.clip(noisy, 0, 255).astype(np.uint8)
        Image.fromarray(clipped).save(paths[-1], quality=92)
    return paths


def photo_loops(n):
    """Return functions from paths to features, by name, after a warm-up."""
    from PIL import Image

    from skvgg import VGG19Features

    def pixels_of(path):
        with Image.open(path) as image:
            image = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            return np.asarray(image)

    model = keras_model()
    run, prepare = CONTENDERS["PyTorch channels_last"]()
    features = VGG19Features(None, random_state=0)
    pixels = make_pixels(n)
    features.transform(pixels[:32])

    def keras_loop(paths):
        return [
            model.predict_on_batch(
                as_float(np.stack([pixels_of(p) for p in paths[i : i + 32]]))
            )
            for i in range(0, len(paths), 32)
        ]

    def one_by_one(paths):
        return [model(as_float(pixels_of(path)[None])) for path in paths]

    def dataloader(paths):
        import torch

        loader = torch.utils.data.DataLoader(
            paths,
            batch_size=32,
            num_workers=n_cores(),
            collate_fn=lambda paths: np.stack([pixels_of(p) for p in paths]),
        )
        return [run(prepare(batch)) for batch in loader]

    return {
        "skvgg, no decoding": lambda paths: features.transform(pixels),
        "skvgg": features.transform,
        "Keras, batches of 32": keras_loop,
        "Keras, one by one": one_by_one,
        "PyTorch DataLoader": dataloader,
    }


def photos(arguments):
    n = arguments.photos
    loops = photo_loops(n)
    for size in arguments.sizes:
        size = tuple(map(int, size.split("x")))
        with tempfile.TemporaryDirectory() as folder:
            paths = write_photos(folder, n, size)
            rates = {name: [] for name in loops}
            for _ in range(arguments.rounds):
                for name, loop in loops.items():
                    start = time.perf_counter()
                    loop(paths)
                    rates[name].append(n / (time.perf_counter() - start))
        print(f"\n{n} JPEG files of {size[0]}x{size[1]}, {arguments.rounds} rounds")
        print(f"{'':28} {'ratio':>6} {'images/s':>9} {'quartiles':>15}")
        for name, rate in rates.items():
            ratio = np.median(np.array(rate) / rates["skvgg"])
            low, median, high = np.percentile(rate, [25, 50, 75])
            print(f"{name:28} {ratio:6.2f} {median:9.2f} {low:7.2f}-{high:7.2f}")


def serve_photos(paths, pipe):
    """Warm up; then compute features of the photos on request, in one process."""
    from skvgg import VGG19Features

    features = VGG19Features(None, random_state=0)
    features.transform(paths[:4])
    pipe.send(True)
    while pipe.recv():
        start = time.process_time()
        features.transform(paths)
        pipe.send(time.process_time() - start)


def scale(arguments):
    """Print the rate for numbers of processes and threads."""
    context = multiprocessing.get_context("spawn")
    n, n_all = arguments.photos, n_cores()
    ways = {(1, 1): [], (1, n_all): [], (n_all, 1): []}
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photos(folder, n, (500, 375))
        pipes = {}
        for n_processes, n_threads in ways:
            os.environ["OMP_NUM_THREADS"] = str(n_threads)
            pipes[n_processes, n_threads] = []
            for i in range(n_processes):
                pipe, theirs = context.Pipe()
                own = paths[i::n_processes], theirs
                context.Process(target=serve_photos, args=own, daemon=True).start()
                pipe.recv()
                pipes[n_processes, n_threads].append(pipe)
        for _ in range(arguments.rounds):
            for way, results in ways.items():
                start = time.perf_counter()
                for pipe in pipes[way]:
                    pipe.send(True)
                busy = sum(pipe.recv() for pipe in pipes[way])
                seconds = time.perf_counter() - start
                results.append((n / seconds, busy / seconds))
        for pipe in (pipe for group in pipes.values() for pipe in group):
            pipe.send(False)
    print(f"\n{n} JPEG files of 500x375, {arguments.rounds} rounds")
    print(
        f"{'processes, threads of each':28} {'ratio':>6} {'images/s':>9} {'cores':>6}"
    )
    base = np.median([rate for rate, _ in ways[1, 1]])
    for way, results in ways.items():
        rate, busy = np.median(results, axis=0)
        name = f"{way[0]}, {way[1]}"
        print(f"{name:28} {rate / base:6.2f} {rate:9.2f} {busy:6.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=[*ROUNDS])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--only", nargs="+", choices=[*CONTENDERS])
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--sizes", nargs="+", default=["500x375", "4000x3000"])
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or ROUNDS[arguments.what]
    print(describe_processor())
    peers = ["tensorflow", "keras", "torch", "onnxruntime", "openvino", "MNN", "ncnn"]
    for package in peers:
        try:
            print(package, version(package), end="  ")
        except PackageNotFoundError:
            print(package, "missing", end="  ")
    print()
    runs = {"forward": forward, "start": start, "photos": photos, "scale": scale}
    runs[arguments.what](arguments)


if __name__ == "__main__":
    main()
