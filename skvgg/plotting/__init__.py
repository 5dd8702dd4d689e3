"""Displays of layer scores, embeddings, neighbors, mistakes and saliency maps.

They follow scikit-learn's displays: ``from_estimator`` computes and plots, and ``plot``
plots again on other axes or with other options. Plotting requires matplotlib:
``pip install "skvgg[plotting]"``.
"""

from __future__ import annotations

from skvgg.plotting._embedding import EmbeddingDisplay
from skvgg.plotting._history import HistoryDisplay
from skvgg.plotting._layer_scores import LayerScoreDisplay
from skvgg.plotting._mistakes import MistakesDisplay
from skvgg.plotting._neighbors import NeighborsDisplay
from skvgg.plotting._saliency import SaliencyDisplay

__all__ = [
    "EmbeddingDisplay",
    "HistoryDisplay",
    "LayerScoreDisplay",
    "MistakesDisplay",
    "NeighborsDisplay",
    "SaliencyDisplay",
]
