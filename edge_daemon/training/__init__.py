"""Training of model bundles from sample-level values, and their evaluation."""

import os

# scikit-learn only starts the mixtures here. One thread keeps its sums in one order, and spares
# it a count of physical cores that warns where a small system has no `lscpu`.
os.environ.setdefault("OMP_NUM_THREADS", "1")
