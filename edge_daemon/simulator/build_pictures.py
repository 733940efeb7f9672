"""Write the pictures of healthy animals that a run is shown beside.

Run ``python -m edge_daemon.simulator.build_pictures`` after the simulator, a shipped bundle, a
profile or the format of pictures changes. Each file holds simulated healthy animals of one
species together, called by the shipped bundle, scaled to the events of one run; it says that it is
simulated. A clinic's own instrument gets such files from runs of its own healthy animals.
"""

from __future__ import annotations

import sys
from typing import Final

from edge_daemon.classify.bundle import BundleShelf
from edge_daemon.classify.pictures import Pictures, draw, pool
from edge_daemon.classify.quantify import quantify
from edge_daemon.classify.runtime import Classifier
from edge_daemon.decode import decode
from edge_daemon.decode.registry import Registry
from edge_daemon.records import SPECIES
from edge_daemon.resources import models_dir, profiles_dir, reference_pictures_dir
from edge_daemon.simulator.cohort import sample

INSTRUMENTS: Final = {"sim_optical4": "1.0", "sim_pulse4": "1.0"}
"""Instrument and the firmware whose runs are drawn; the others share its units and axes."""
ANIMALS: Final = 12
EVENTS: Final = 20_000
SHOWN: Final = 50_000
"""Events that the pictures are scaled to: bins with under five of all events stay empty."""
SEED: Final = 20_261


def build(instrument: str, species: str, *, animals: int = ANIMALS, events: int = EVENTS) -> bytes:
    """Draw healthy animals of one species together.

    Parameters
    ----------
    instrument
        A simulated instrument with a profile and a bundle.
    species
        One of `records.SPECIES`.
    animals, events
        Runs, and events in each.

    Returns
    -------
    bytes
        As `Pictures.encode` writes them, with ``example`` in the header.
    """
    firmware = INSTRUMENTS[instrument]
    profile = Registry.load((profiles_dir(),)).get(f"{instrument}/{firmware}")
    bundle = BundleShelf.load((models_dir(),)).for_profile(profile.id, species)
    classifier = Classifier(bundle)
    runs: list[Pictures] = []
    for index in range(animals):
        capture = sample(
            index, instrument=instrument, firmware=firmware, events=events, seed=SEED,
            species=(species,), condition="healthy",
        )  # fmt: skip
        batch = decode(capture.data, profile, name=capture.name)
        calls = classifier.classify(batch)
        found = quantify(batch, calls, bundle)
        runs.append(draw(batch, calls, found.red_cells, found.platelets, profile.scales))
    about = {
        "species": species, "instrument": instrument, "animals": animals, "model": bundle.id,
        "condition": "healthy",
    }  # fmt: skip
    return pool(runs, SHOWN).encode(example=about)


def main() -> None:
    """Write every file."""
    for instrument in INSTRUMENTS:
        folder = reference_pictures_dir() / instrument
        folder.mkdir(parents=True, exist_ok=True)
        for species in SPECIES:
            body = build(instrument, species)
            (folder / f"{species}.pictures").write_bytes(body)
            sys.stdout.write(f"{instrument} {species} {len(body)} bytes\n")


if __name__ == "__main__":
    main()
