"""One onnxruntime session: single-threaded, no arena, its errors wrapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.model_runtime import onnxruntime as ort
from edge_daemon.errors import EdgeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNALS: Final = "signals"
"""Input of the graphs of earlier bundles, which take and give rows: an event each."""
LOGS: Final = "logs"
PEAK: Final = "peak"
LATENT: Final = "latent"
POSTERIOR: Final = "posterior"

_TINY: Final = np.float32(1e-12)
"""What a logarithm is taken of at least; far below what a graph tells apart."""


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

    Attributes
    ----------
    takes_logs
        Whether the graph takes logarithms, channel by channel, and gives posteriors class by
        class; those of earlier bundles take and give rows.
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
        self.takes_logs = any(node.name == LOGS for node in self._session.get_inputs())

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
        latent, posterior = self._outputs([LATENT, POSTERIOR], signals, peak)
        return latent, posterior.T if self.takes_logs else posterior

    def posterior(
        self, signals: NDArray[np.float32], peak: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Run the graph for the posterior alone; see `run`."""
        (posterior,) = self._outputs([POSTERIOR], signals, peak)
        return posterior.T if self.takes_logs else posterior

    def _outputs(
        self, names: list[str], signals: NDArray[np.float32], peak: NDArray[np.float32]
    ) -> list[NDArray[np.float32]]:
        if self.takes_logs:
            feed = {LOGS: logarithms(signals), PEAK: peak}
        else:
            feed = {SIGNALS: np.ascontiguousarray(signals), PEAK: peak}
        try:
            found: list[NDArray[np.float32]] = self._session.run(names, feed)
        except Exception as error:  # see above
            raise ModelError(
                f"{self._label}: onnxruntime {ort.__version__} failed: {error}"
            ) from error
        return found


def logarithms(signals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Natural logarithms ``(channels, events)`` of signals ``(events, channels)``, any order."""
    logs = np.maximum(signals.T, _TINY, order="C")
    return np.log(logs, out=logs)


def runtime_version() -> str:
    """Version of the onnxruntime in use."""
    return str(ort.__version__)
