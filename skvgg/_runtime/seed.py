"""Draw a seed from scikit-learn's ``random_state``."""

from __future__ import annotations

import numpy as np

#: Seeds lie in 0..MAX_SEED - 1, the range that every generator in use takes.
MAX_SEED = 2**31 - 1


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Return the seed for `random_state`.

    An int is the seed itself, and a RandomState draws one. None draws from the
    operating system and leaves NumPy's global generator unchanged.
    """
    if random_state is None:
        return int(np.random.default_rng().integers(MAX_SEED))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(MAX_SEED))
    return int(random_state)
