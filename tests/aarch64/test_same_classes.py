"""An aarch64 box calls every cell as an x86-64 one does.

Needs the emulated box that `bash .ci/aarch64 DIR` makes; EDGE_AARCH64 names its folder.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_daemon.cli.demo_analyzers import ANIMALS
from edge_daemon.resources import models_dir
from edge_daemon.simulator.cohort import sample, simulate

PROCESSORS = ("cortex-a53", "cortex-a72", "cortex-a76")
"""Raspberry Pi 3, 4 and 5: without and with the dot-product instructions."""
SCRIPT = Path(__file__).with_name("classify_folder.py")


@pytest.fixture(scope="module")
def box():
    folder = os.environ.get("EDGE_AARCH64")
    if not folder:
        pytest.skip("system: no emulated aarch64 box; bash .ci/aarch64 DIR, then EDGE_AARCH64=DIR")
    return Path(folder) / "python"


def emulate(box, processor, *arguments):
    environment = {**os.environ, "QEMU_CPU": processor}
    done = subprocess.run(
        [box, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Runs of several species and both instruments, and what this machine makes of them."""
    folder = tmp_path_factory.mktemp("cohort")
    simulate(folder, samples=5, events=4000, seed=64)
    pulses = sample(5, instrument="sim_pulse4", events=1500, seed=64)
    (folder / pulses.name).write_bytes(pulses.data)
    subprocess.run([sys.executable, SCRIPT, folder, folder / "here.npz"], check=True)
    return folder


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Every run of `edge-daemon demo --once`, in full, and what this machine makes of them."""
    folder = tmp_path_factory.mktemp("demo")
    for index, animal in enumerate(ANIMALS * 2):
        instrument = ("sim_optical4", "sim_pulse4")[index % 2]
        run = sample(index, instrument=instrument, events=20_000, seed=1, species=(animal,))
        (folder / run.name).write_bytes(run.data)
    subprocess.run([sys.executable, SCRIPT, folder, folder / "here.npz"], check=True)
    return folder


@pytest.mark.parametrize("processor", PROCESSORS)
def test_every_shipped_bundle_reproduces_its_golden_vectors(box, processor):
    bundles = sorted(path for path in models_dir().iterdir() if path.is_dir())
    assert bundles
    for bundle in bundles:
        said = emulate(box, processor, "-m", "edge_daemon.cli", "model", "verify", str(bundle))
        assert "golden vectors reproduced exactly" in said


@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_same_cells_get_the_same_classes(box, processor, cohort):
    hold_alike(box, processor, cohort)


@pytest.mark.campaign
@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_runs_of_the_demo_get_the_same_classes(box, processor, demo):
    hold_alike(box, processor, demo)


def test_the_service_and_the_command_line_can_be_imported(box):
    parts = "cli, service, web.app, sync.part, upkeep, doctor, simulator.cohort, sandbox"
    modules = ", ".join(f"edge_daemon.{part}" for part in parts.split(", "))
    said = emulate(
        box, PROCESSORS[0], "-c", f"import {modules}, platform; print(platform.machine())"
    )
    assert said.strip() == "aarch64"


def hold_alike(box, processor, folder):
    """Classify a folder there, and hold every cell and value to what came out here."""
    out = folder / f"{processor}.npz"
    emulate(box, processor, str(SCRIPT), str(folder), str(out))
    with np.load(folder / "here.npz") as here, np.load(out) as there:
        assert str(there["machine"]) == "aarch64"
        assert str(here["machine"]) == platform.machine()
        assert sorted(here.files) == sorted(there.files)
        names = [name.removesuffix(".codes") for name in here.files if name.endswith(".codes")]
        assert len(names) == 6
        for name in names:
            np.testing.assert_array_equal(there[f"{name}.codes"], here[f"{name}.codes"])
            # Logarithms differ in the last bit between processors. Where that lands on the other
            # side of an int8 step the posterior moves by that step: rarely, and by little.
            moved = np.abs(there[f"{name}.posterior"] - here[f"{name}.posterior"]).max(axis=1)
            assert (moved > 1e-5).mean() <= 1e-3
            assert moved.max() <= 0.02
            assert str(there[f"{name}.flags"]) == str(here[f"{name}.flags"])
            compare(
                json.loads(str(there[f"{name}.values"])), json.loads(str(here[f"{name}.values"]))
            )


def compare(there, here):
    """Hold values to a thousandth of their own 95 % interval."""
    assert [value["code"] for value in there] == [value["code"] for value in here]
    for theirs, ours in zip(there, here, strict=True):
        known = ours["low"] is not None
        slack = 1e-3 * (ours["high"] - ours["low"]) if known else 1e-5
        for key in ("value", "low", "high"):
            assert theirs[key] == pytest.approx(ours[key], abs=slack), (theirs, ours)
