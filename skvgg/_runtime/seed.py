"""One seed out of scikit-learn's ``random_state``."""

from __future__ import annotations

import numpy as np

#: Seeds lie in 0..MAX_SEED - 1, the range that every generator in use takes.
MAX_SEED = 2**31 - 1


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Return the seed that `random_state` stands for.

    An int is its own seed and a RandomState gives its next one. None asks the
    operating system, not NumPy's global generator, whose state stays as it is.
    """
    if random_state is None:
        return int(np.random.default_rng().integers(MAX_SEED))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(MAX_SEED))
    return int(random_state)
