"""Training that was interrupted goes on where it was, and ends with the same bytes.

After every epoch the whole state of training is written beside the bundle, in one file that is
replaced atomically. What is cheap and follows from the seed (decoding, thinning, the soft start)
is done again; the state of the random generator is part of what is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_daemon.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from edge_daemon.training.data import Cohort

FILE: Final = "state.npz"
SUFFIX: Final = ".part"
_META: Final = "meta"


class Checkpoint:
    """The state of one training, kept in a folder; use `open_checkpoint`.

    Parameters
    ----------
    folder
        Where it is kept.
    fingerprint
        What the training is of: another one has another fingerprint.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._arrays: dict[str, np.ndarray[Any, Any]] = {}
        self._stages: dict[str, Any] = {}

    @property
    def epochs(self) -> dict[str, int]:
        """Epochs done, by stage."""
        return {name: len(facts["history"]) for name, facts in self._stages.items()}

    def load(self) -> bool:
        """Take what an earlier training left; False where it is of another one or unreadable."""
        try:
            # Opened here: of a file that is no archive, numpy would leave its own handle open.
            with (self._folder / FILE).open("rb") as stream, np.load(stream) as archive:
                meta = json.loads(bytes(archive[_META]))
                arrays = {name: archive[name] for name in archive.files if name != _META}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return False
        if meta.get("fingerprint") != self._fingerprint:
            return False
        self._arrays, self._stages = arrays, meta["stages"]
        return True

    def stage(self, name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Facts and trees that `keep` was last given for a stage; None where there are none."""
        if name not in self._stages:
            return None
        prefix = f"{name}/"
        mine = {k.removeprefix(prefix): v for k, v in self._arrays.items() if k.startswith(prefix)}
        return dict(self._stages[name]), unflatten(mine)

    def keep(self, name: str, facts: Mapping[str, Any], trees: Mapping[str, Any]) -> None:
        """Write the state of a stage beside that of the stages before it.

        Parameters
        ----------
        name
            Of the stage.
        facts
            What JSON can hold; ``history`` has one value an epoch.
        trees
            Nested dictionaries and lists of arrays.

        Raises
        ------
        EdgeError
            The folder cannot be written.
        """
        prefix = f"{name}/"
        others = {k: v for k, v in self._arrays.items() if not k.startswith(prefix)}
        mine = {f"{prefix}{k}": v for k, v in flatten(dict(trees))}
        self._arrays = others | mine
        self._stages[name] = dict(facts)
        self._write()

    def drop(self) -> None:
        """Forget everything: the bundle is written."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self) -> None:
        meta = {"fingerprint": self._fingerprint, "stages": self._stages}
        packed = {_META: np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)} | self._arrays
        temporary = self._folder / f".{FILE}.new"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as stream:
                np.savez(stream, **packed)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self._folder / FILE)
        except OSError as error:
            raise EdgeError(
                f"{self._folder}: cannot keep the state of training: {error.strerror}",
                action="check the folder's permissions and free space",
            ) from error


def open_checkpoint(out: Path, fingerprint: str, say: Callable[[str], None]) -> Checkpoint:
    """Find what an interrupted training of the same thing left beside a bundle to be.

    Parameters
    ----------
    out
        The bundle's folder.
    fingerprint
        Of the training (`fingerprint_of`).
    say
        Told whether training goes on or starts anew.
    """
    folder = out.with_name(out.name + SUFFIX)
    checkpoint = Checkpoint(folder, fingerprint)
    if not folder.exists():
        return checkpoint
    if checkpoint.load():
        done = ", ".join(f"{name} {epochs}" for name, epochs in checkpoint.epochs.items())
        say(f"{folder}: going on with an interrupted training; epochs done: {done}")
    else:
        say(
            f"{folder}: left by a training with other captures, references, seed or settings, "
            "or unreadable; starting anew"
        )
    return checkpoint


def fingerprint_of(cohort: Cohort, settings: object) -> str:
    """SHA-256 over everything that a training follows from.

    Parameters
    ----------
    cohort
        Runs and reported values.
    settings
        Seed, schedule, versions; by their representation.
    """
    digest = hashlib.sha256(repr((settings, cohort.channels, cohort.profiles)).encode())
    for run in cohort.runs:
        digest.update(repr(run.reference).encode())
        digest.update(np.ascontiguousarray(run.signals).data)
    return digest.hexdigest()


def flatten(tree: Any, path: str = "") -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Leaves of nested dictionaries and lists with their paths."""
    if isinstance(tree, dict):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, (list, tuple)):
        items = [(f"{index:03d}", value) for index, value in enumerate(tree)]
    else:
        yield path, np.asarray(tree)
        return
    for key, value in items:
        yield from flatten(value, f"{path}/{key}" if path else key)


def unflatten(leaves: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Undo `flatten`; tuples come back as lists."""
    root: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, last = path.split("/")
        node = root
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = leaf
    return {key: _as_lists(value) for key, value in root.items()}


def _as_lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    values = {key: _as_lists(value) for key, value in node.items()}
    if values and all(key.isdigit() for key in values):
        return [values[key] for key in sorted(values)]
    return values
