"""What every comparison of two methods asks of its pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.errors import EdgeError
from edge_daemon.wording import counted

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

MIN_PAIRS: Final = 10
"""Below it, limits of agreement and slopes say more about chance than about the methods."""


def as_pairs(ours: ArrayLike, theirs: ArrayLike) -> tuple[Floats, Floats]:
    """Check and convert.

    Parameters
    ----------
    ours, theirs
        ``(pairs,)``, in the same unit.

    Raises
    ------
    EdgeError
        Other shapes, a value that is not finite, or fewer than `MIN_PAIRS`.
    """
    y, x = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if y.shape != x.shape or y.ndim != 1:
        raise EdgeError(f"two lists of equal length were expected, found {y.shape} and {x.shape}")
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        raise EdgeError("a value is not a finite number", action="leave such pairs out")
    if y.size < MIN_PAIRS:
        raise EdgeError(
            f"{counted(y.size, 'pair is', 'pairs are')} too few to compare the methods; "
            f"{MIN_PAIRS} are needed, 40 are usual",
            action="let more samples run on both, or choose a longer time",
        )
    return y, x
