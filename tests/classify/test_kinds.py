import numpy as np
import pytest

from edge_daemon.classify.kinds import distances
from edge_daemon.classify.manifest import Kind

RNG = np.random.default_rng(1)
MIX = RNG.standard_normal((5, 5))
COVARIANCE = MIX @ MIX.T + 0.1 * np.eye(5)
CENTRE = RNG.standard_normal(5)
KINDS = {"one": Kind(centre=CENTRE.tolist(), precision=np.linalg.inv(COVARIANCE).tolist())}


@pytest.mark.parametrize("unknown", [[], [4], [1, 3], [0, 1, 2, 3], [0, 1, 2, 3, 4]])
def test_what_is_not_known_is_left_out(unknown):
    """The distance is that among the traits that are known, as if there were no others."""
    traits = CENTRE + RNG.standard_normal(5)
    traits[unknown] = np.nan
    known = np.isfinite(traits)
    offset = (traits - CENTRE)[known]
    alone = offset @ np.linalg.inv(COVARIANCE[np.ix_(known, known)]) @ offset
    assert distances(traits, KINDS)["one"] == pytest.approx(alone)
