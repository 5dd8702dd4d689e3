"""Display of a Grad-CAM map over an image."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from skvgg.plotting._axes import check_axes, check_cmap, get_axes
from skvgg.plotting._branches import branches_of
from skvgg.plotting._grad_cam import (
    ViewedImage,
    check_layer,
    last_convolution,
    read_image,
)
from skvgg.plotting._row_gradient import row_gradient
from skvgg.plotting._scores import predicted_target


class SaliencyDisplay:
    """Grad-CAM [1]_ map of the image regions that a prediction depends on.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters
    are stored as attributes, arrays as ndarray.

    Parameters
    ----------
    saliency : array-like of shape (map height, map width)
        Nonnegative contribution of each location in the map to the score, in units of
        the score times the number of locations.
    image : array-like of shape (height, width, 3), uint8
        The RGB input image of the network.
    target : label or int
        The class, or the index of the output, whose score is explained.
    layer : str
        The layer of the map.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the image.
    figure_ : matplotlib Figure
        Figure containing the axes.
    im_ : matplotlib AxesImage
        The image.
    heatmap_ : matplotlib AxesImage
        The map, resized to the image.

    See Also
    --------
    skvgg.plotting.LayerScoreDisplay : Cross-validated scores of layers.

    Notes
    -----
    For linear models and multi-layer perceptrons of scikit-learn and skvgg, the score
    of a class is its output before the softmax or logistic function. For other
    classifiers, it is the decision function or the log-odds, whose gradient is computed
    by central differences. The map shows evidence for the target, not against it. Maps
    of early layers are fine and follow edges; maps of late layers are coarse and follow
    objects.

    For models that average predictions over views of an image, or over the folds of a
    calibration, the score is the mean of their scores. The maps of views are flipped
    or placed back onto the image and summed up before negative values are set to zero.

    References
    ----------
    .. [1] R. R. Selvaraju et al., "Grad-CAM: Visual explanations from deep networks
       via gradient-based localization", ICCV 2017, equations 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skvgg import VGG19Features
    >>> from skvgg.plotting import SaliencyDisplay
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 256, (8, 32, 32, 3), dtype="uint8")
    >>> y = np.repeat(["dark", "light"], 4)
    >>> images[y == "dark"] //= 2
    >>> features = VGG19Features(
    ...     None, layer="block3_pool", pooling="avg", image_size=32, random_state=0
    ... )
    >>> model = make_pipeline(features, StandardScaler(), LogisticRegression())
    >>> display = SaliencyDisplay.from_estimator(
    ...     model.fit(images, y), images[0], layer="block3_conv4", target="dark"
    ... )
    >>> display.saliency.shape, display.image.shape
    ((8, 8), (32, 32, 3))
    >>> plt.close(display.figure_)
    """

    def __init__(
        self, *, saliency: ArrayLike, image: ArrayLike, target: Any, layer: str
    ) -> None:
        self.saliency = np.asarray(saliency, dtype=np.float32)
        self.image = np.asarray(image, dtype=np.uint8)
        self.target = target
        self.layer = layer

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        image: Any,
        *,
        layer: str | None = None,
        target: Any = None,
        ax: Any = None,
        cmap: Any = "inferno",
        alpha: float = 0.5,
    ) -> SaliencyDisplay:
        """Compute and plot the Grad-CAM map of a fitted model for an image.

        Parameters
        ----------
        model : estimator
            A fitted pipeline of a :class:`~skvgg.VGG19Features`, any transformers and
            a classifier or regressor; a fitted :class:`~skvgg.VGG19Classifier` or
            :class:`~skvgg.VGG19Regressor`; a fitted search over one of these; or a
            :class:`~sklearn.calibration.CalibratedClassifierCV` or a
            :class:`~sklearn.model_selection.TunedThresholdClassifierCV` around one.
        image : image
            One image: a path, bytes, an open binary file, a PIL image or an array.
        layer : str, default=None
            The convolution or pooling layer of the map. It must not be above the layers
            of the features. None uses their last convolution: "block5_conv4" for "fc1",
            "block4_conv4" for "block4_pool".
        target : label or int, default=None
            The class whose score is explained; None uses the class that
            ``model.predict`` returns, and the most probable one of several labels. For
            a regressor with several outputs, the index of an output; None uses the
            first.
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.
        cmap : str or Colormap, default="inferno"
            Colormap of the map.
        alpha : float, default=0.5
            Opacity of the map, in 0..1.

        Returns
        -------
        SaliencyDisplay

        Raises
        ------
        ValueError
            If `model` or a parameter is invalid, the image cannot be used, or the
            gradient of the score is zero, as for trees.
        sklearn.exceptions.NotFittedError
            If `model` is not fitted.
        ImportError
            If matplotlib is not installed.
        """
        check_axes(ax, f"{cls.__name__}.from_estimator")
        _check_look(cmap, alpha)
        branches = branches_of(model)
        features = branches[0].features
        if layer is None:
            layer = last_convolution(features)
        check_layer(features, layer)
        pixels, digest = read_image(features, image)
        if target is None:
            target = predicted_target(model, [image])
        evidence = []
        for branch in branches:
            viewed = ViewedImage(branch.features, branch.views, pixels, digest, layer)
            gradient = row_gradient(branch.steps, viewed.row, target)
            evidence.append(viewed.grad_cam(gradient))
        display = cls(
            saliency=np.maximum(np.mean(evidence, axis=0), 0),  # equation 2
            image=np.clip(np.round(pixels), 0, 255),
            target=target,
            layer=layer,
        )
        return display.plot(ax, cmap=cmap, alpha=alpha)

    def plot(
        self, ax: Any = None, *, cmap: Any = "inferno", alpha: float = 0.5
    ) -> SaliencyDisplay:
        """Plot the map over the image.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes object to plot on. If None, a new figure and axes are created.
        cmap : str or Colormap, default="inferno"
            Colormap of the map.
        alpha : float, default=0.5
            Opacity of the map, in 0..1.

        Returns
        -------
        SaliencyDisplay
            The display itself.

        Raises
        ------
        ValueError
            If a parameter is invalid.
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{type(self).__name__}.plot"
        check_axes(ax, caller)
        _check_look(cmap, alpha)
        self.ax_ = get_axes(ax, caller)
        self.figure_ = self.ax_.figure
        heatmap = self._resized()
        self.im_ = self.ax_.imshow(self.image)
        self.heatmap_ = self.ax_.imshow(
            heatmap, cmap=cmap, alpha=alpha, vmin=0, vmax=heatmap.max() or 1
        )
        self.ax_.set_axis_off()
        self.ax_.set_title(f"{self.target}: {self.layer}", parse_math=False)
        return self

    def _resized(self) -> np.ndarray:
        """Return the map, resized to the image."""
        height, width, _ = self.image.shape
        resized = Image.fromarray(self.saliency).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        return np.asarray(resized)


def _check_look(cmap: Any, alpha: Any) -> None:
    """Check the colormap and the opacity of a map."""
    check_cmap(cmap)
    if not isinstance(alpha, Real) or not 0 <= float(alpha) <= 1:
        raise ValueError(f"alpha={alpha!r}; expected a number in 0..1.")
