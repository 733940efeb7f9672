"""One onnxruntime session: single-threaded, no arena, its errors wrapped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_daemon.classify.model_runtime import onnxruntime as ort
from edge_daemon.errors import EdgeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNALS = "signals"
PEAK = "peak"
LATENT = "latent"
POSTERIOR = "posterior"


class ModelError(EdgeError):
    """The runtime refused the graph or failed while running it."""


class StageSession:
    """A stage's graph, ready to run.

    Parameters
    ----------
    model
        Serialised ONNX, already checked against its digest.
    label
        File name, for messages.
    """

    def __init__(self, model: bytes, label: str) -> None:
        self._label = label
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # The arena keeps the largest batch ever seen for the life of the process.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(
                model,
                sess_options=options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # a second try would be the same, and is told to stdout
            )
        except Exception as error:  # the binding's errors share no narrower base class
            raise ModelError(
                f"{label}: onnxruntime {ort.__version__} cannot load the graph: {error}",
                action="install the bundle again; if it stays, it was made for another runtime",
            ) from error

    def signature(self) -> dict[str, tuple[str, tuple[int | None, ...]]]:
        """Return name → (type, shape) of every input and output; None is a free dimension."""
        nodes = [*self._session.get_inputs(), *self._session.get_outputs()]
        return {
            node.name: (
                str(node.type),
                tuple(d if isinstance(d, int) else None for d in node.shape),
            )
            for node in nodes
        }

    def run(
        self, signals: NDArray[np.float32], peak: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the graph.

        Parameters
        ----------
        signals
            float32 ``(events, channels)``, canonical units.
        peak
            float32 ``(channels,)``, the run's red-cell peak.

        Returns
        -------
        tuple
            Latent ``(events, dimensions)``, the last int8 layer, and posterior
            ``(events, classes)``, both float32.

        Raises
        ------
        ModelError
            The runtime failed.
        """
        feed = {SIGNALS: np.ascontiguousarray(signals), PEAK: peak}
        try:
            latent, posterior = self._session.run([LATENT, POSTERIOR], feed)
        except Exception as error:  # see above
            raise ModelError(
                f"{self._label}: onnxruntime {ort.__version__} failed: {error}"
            ) from error
        return latent, posterior


def runtime_version() -> str:
    """Version of the onnxruntime in use."""
    return str(ort.__version__)
