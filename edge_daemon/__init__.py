"""edge_daemon: single-cell results beside a veterinary haematology analyzer."""

import os

__version__ = "0.1.0"

# onnxruntime >= 1.29 uploads telemetry from Linux by default (microsoft/onnxruntime#27379).
# The pinned release does not, but a box must stay silent whatever is installed on it, so the
# switch is thrown before anything can import the runtime.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# Workers are one per core; BLAS threads on top of them only fight each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
