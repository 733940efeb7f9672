"""Sessions of onnxruntime: single-threaded, no arena, their errors wrapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_daemon.classify.model_runtime import onnxruntime as ort
from edge_daemon.classify.sharing import share
from edge_daemon.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        latent, posterior = self.outputs([LATENT, POSTERIOR], signals, peak)
        return latent, posterior.T if self.takes_logs else posterior

    def posterior(
        self, signals: NDArray[np.float32], peak: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Run the graph for the posterior alone; see `run`."""
        (posterior,) = self.outputs([POSTERIOR], signals, peak)
        return posterior.T if self.takes_logs else posterior

    def outputs(
        self, names: list[str], signals: NDArray[np.float32], peak: NDArray[np.float32]
    ) -> list[NDArray[np.float32]]:
        """Run the graph for outputs by their names, as it lays them out; see `run`."""
        if self.takes_logs:
            return self.fed(names, {LOGS: logarithms(signals), PEAK: peak})
        return self.fed(names, {SIGNALS: np.ascontiguousarray(signals), PEAK: peak})

    def fed(
        self, names: list[str], inputs: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[np.float32]]:
        """Run the graph on inputs by their names, for outputs by theirs; see `run`."""
        try:
            found: list[NDArray[np.float32]] = self._session.run(names, inputs)
        except Exception as error:  # see above
            raise ModelError(
                f"{self._label}: onnxruntime {ort.__version__} failed: {error}"
            ) from error
        return found


class Stages:
    """Both stages of a bundle: what they begin with is computed once where it is the same.

    Parameters
    ----------
    stage1, stage2
        Serialised ONNX, already checked against their digests.
    label
        Of the bundle, for messages.

    Attributes
    ----------
    shared
        Whether they begin alike (`sharing.share`).
    """

    def __init__(self, stage1: bytes, stage2: bytes, label: str) -> None:
        cut = share(stage1, stage2)
        self.shared = cut is not None
        first, second = (stage1, stage2) if cut is None else (cut.first, cut.second)
        self._inputs = "" if cut is None else cut.inputs
        self._first = StageSession(first, f"{label}/stage1.onnx")
        self._second = StageSession(second, f"{label}/stage2.onnx")

    def posteriors(
        self, signals: NDArray[np.float32], peak: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run both graphs; see `StageSession.posterior`."""
        if not self.shared:
            return self._first.posterior(signals, peak), self._second.posterior(signals, peak)
        first, inputs = self._first.outputs([POSTERIOR, self._inputs], signals, peak)
        (second,) = self._second.fed([POSTERIOR], {self._inputs: inputs})
        return (first.T, second.T) if self._first.takes_logs else (first, second)


def logarithms(signals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Natural logarithms ``(channels, events)`` of signals ``(events, channels)``, any order."""
    logs = np.maximum(signals.T, _TINY, order="C")
    return np.log(logs, out=logs)


def runtime_version() -> str:
    """Version of the onnxruntime in use."""
    return str(ort.__version__)
