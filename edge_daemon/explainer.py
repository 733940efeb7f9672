"""Explanations for the page: the command `explain` in a process of its own.

A page sees no stage, and the seconds and memory that an explanation takes must not be the
service's. One is computed at a time, at low priority; the last ones are kept.
"""

from __future__ import annotations

import collections
import threading
from typing import TYPE_CHECKING, Any, Final

from edge_daemon import own_command
from edge_daemon.errors import Retryable

if TYPE_CHECKING:
    from pathlib import Path

_KEPT: Final = 16


class Explainer:
    """Explains stored runs of one data folder. Thread-safe.

    Parameters
    ----------
    data_dir
        The data folder.
    config_file
        Configuration that names further profile and model folders; None for the box's own.
    timeout_s
        How long an explanation may take.
    wait_s
        How long to wait for another that is being computed.
    """

    def __init__(
        self,
        data_dir: Path,
        config_file: Path | None = None,
        *,
        timeout_s: float = 60.0,
        wait_s: float = 10.0,
    ) -> None:
        self._arguments = ["explain", "--json", "--data-dir", str(data_dir)]
        if config_file is not None:
            self._arguments += ["--config", str(config_file)]
        self._timeout_s = timeout_s
        self._wait_s = wait_s
        self._busy = threading.Lock()
        self._kept: collections.OrderedDict[tuple[int, str], dict[str, Any]] = (
            collections.OrderedDict()
        )

    def explain(self, run_id: int, digest: str) -> dict[str, Any]:
        """Explain a run.

        Parameters
        ----------
        run_id, digest
            Of the run; the same run is computed once.

        Returns
        -------
        dict
            What ``edge-daemon explain RUN --json`` prints; docs/explanation.md describes it.

        Raises
        ------
        EdgeError
            It cannot be explained; message and action say why.
        Retryable
            Another one takes too long, or this one did.
        """
        key = run_id, digest
        if not self._busy.acquire(timeout=self._wait_s):
            raise Retryable(
                "another explanation is being computed", action="try again in a few seconds"
            )
        try:
            if key not in self._kept:
                self._kept[key] = self._compute(run_id)
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return self._kept[key]
        finally:
            self._busy.release()

    def _compute(self, run_id: int) -> dict[str, Any]:
        return own_command.ask(
            [*self._arguments, f"run:{run_id}"],
            timeout_s=self._timeout_s,
            what=f"the explanation of run {run_id}",
        )
