"""Training of model bundles from sample-level values, and their evaluation."""

import os

# scikit-learn counts cores through joblib, which warns where a small system has no `lscpu`.
os.environ.setdefault("LOKY_MAX_CPU_COUNT", str(os.cpu_count() or 1))
