"""Classify every capture of a folder in this process; run on both kinds of processor.

    python classify_folder.py FOLDER OUT.npz

Writes, per capture, class codes and posteriors, and the measurements as JSON.
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from edge_daemon.classify.bundle import BundleShelf
from edge_daemon.classify.quantify import quantify
from edge_daemon.classify.runtime import Classifier
from edge_daemon.decode import Registry, decode
from edge_daemon.resources import models_dir, profiles_dir


def main(folder: Path, out: Path) -> None:
    """Classify the folder's captures in the order of their names."""
    registry = Registry.load([profiles_dir()])
    shelf = BundleShelf.load([models_dir()])
    arrays: dict[str, np.ndarray] = {"machine": np.array(platform.machine())}
    for path in sorted([*folder.glob("*.fcs"), *folder.glob("*.edp")]):
        data = path.read_bytes()
        batch = decode(data, registry.match(data, path.name), name=path.name)
        bundle = shelf.for_profile(batch.profile, batch.sample.species)
        calls = Classifier(bundle).classify(batch)
        result = quantify(batch, calls, bundle)
        arrays[f"{path.stem}.codes"] = calls.codes
        arrays[f"{path.stem}.posterior"] = calls.posterior
        values = [asdict(measurement) for measurement in result.measurements]
        arrays[f"{path.stem}.values"] = np.array(json.dumps(values))
        arrays[f"{path.stem}.flags"] = np.array(json.dumps([f.code for f in result.flags]))
    np.savez_compressed(out, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
