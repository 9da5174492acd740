"""Seeds of what a run draws."""

from __future__ import annotations

import numpy as np

__all__ = ["mixed_seed"]


def mixed_seed(*parts: int) -> int:
    """One seed below 2**32 that all of some numbers decide.

    PyTorch's generator on a processor looks at the lowest 32 bits of a seed only: numbers that are
    put side by side in a longer one, such as a run's and an image's, would not all reach it.
    """
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
