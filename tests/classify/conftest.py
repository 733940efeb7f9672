"""A bundle whose networks are written down, not trained: identity encoder, known centres."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import tomlkit

from edge_daemon.classify.bundle import load_bundle
from edge_daemon.classify.calibrate import red_cell_peak
from edge_daemon.classify.manifest import Identity, Inputs, Provenance, Uncertainty, Validity
from edge_daemon.records import CellBatch, SampleInfo
from edge_daemon.training.bundling import Recipe, write_bundle
from edge_daemon.training.graphs import Head, Network

CHANNELS = tuple(f"{d}.{f}" for d in ("LA", "HA", "EXT", "FL") for f in "HAW")
# Natural logarithm of each population's signals over the red-cell peak, one per detector and W.
CENTRES = {
    "pure_rbc": (0.0, 0.0, 0.0, 0.0, 0.0),
    "reticulocyte": (0.15, 0.0, 0.05, 2.2, 0.0),
    "clumped_rbc": (0.9, 0.9, 1.0, 0.9, 0.5),
    "platelet": (-3.0, -2.0, -3.0, -0.5, -0.3),
    "other": (-5.0, -5.0, -5.0, -3.0, -0.6),
}
SPREAD = 0.12


def _centre(name):
    la, ha, ext, fl, width = CENTRES[name]
    return np.array([x for v in (la, ha, ext, fl) for x in (v, v + width, width)])


def _network(groups, spread):
    """Latent = the five informative inputs; the head = one Gaussian for each population."""
    picked = [CHANNELS.index(c) for c in ("LA.H", "HA.H", "EXT.H", "FL.H", "EXT.W")]
    split = np.zeros((12, 10), dtype=np.float32)
    merge = np.zeros((10, 5), dtype=np.float32)
    for i, channel in enumerate(picked):
        split[channel, 2 * i], split[channel, 2 * i + 1] = 1, -1
        merge[2 * i, i], merge[2 * i + 1, i] = 1, -1
    centres = np.stack([[_centre(name)[c] for c in picked] for name in CENTRES if name in groups])
    quadratic = np.full((5, len(centres)), -0.5 / spread**2, dtype=np.float32)
    head = Head(
        quadratic=quadratic,
        linear=(centres.T / spread**2).astype(np.float32),
        constant=(-0.5 * (centres**2).sum(1) / spread**2).astype(np.float32),
        student=None,
        log_weight=np.log(np.array([w for _, w in groups.values()], dtype=np.float32)),
        groups=np.eye(3, dtype=np.float32)[[g for g, _ in groups.values()]],
    )
    return Network(
        absolute=(),
        shift=np.zeros(12, dtype=np.float32),
        scale=np.full(12, 0.7, dtype=np.float32),
        layers=[(split / 0.7, np.zeros(10, np.float32)), (merge, np.zeros(5, np.float32))],
        head=head,
    )


STAGE1 = {
    "pure_rbc": (0, 0.90),
    "reticulocyte": (0, 0.015),
    "clumped_rbc": (0, 0.005),
    "platelet": (1, 0.06),
    "other": (2, 0.02),
}
STAGE2 = {"pure_rbc": (0, 0.975), "reticulocyte": (1, 0.02), "clumped_rbc": (2, 0.005)}


@pytest.fixture(scope="session")
def make_cells():
    """Return a function: class counts → shuffled CellBatch and true codes."""

    def make(counts, *, seed=0, gain=1.0, **sample):
        rng = np.random.default_rng(seed)
        codes = np.repeat(np.arange(5), counts)
        rng.shuffle(codes)
        centres = np.stack([_centre(name) for name in CENTRES])
        logs = centres[codes] + rng.normal(0, SPREAD, (len(codes), 12))
        base = np.array([10, 50, 5, 8, 40, 5, 50, 250, 5, 1, 5, 5]) * gain
        info = {"species": "dog", "volume_ul": 2.0, "dilution": 200.0, "simulated": True} | sample
        signals = (np.exp(logs) * base).astype(np.float32)
        batch = CellBatch(
            signals=signals,
            channels=CHANNELS,
            saturated=np.zeros(signals.shape, dtype=bool),
            sample=SampleInfo(**info),
            profile="sim_optical4/1.0",
        )
        return batch, codes

    return make


def _recipe(**changes):
    tables = {
        "identity": Identity(name="written", version="1.2.3", title="Networks written by hand"),
        "validity": Validity(profiles=["sim_optical4/1.0"], species=["dog", "cat"]),
        "inputs": Inputs(
            channels=list(CHANNELS), anchor="EXT.A", transform="log_over_red_cell_peak"
        ),
        "uncertainty": Uncertainty(rbc=0.01, platelet=0.02, reticulocyte=0.05, clumped_rbc=0.1),
        "provenance": Provenance(
            simulated=True,
            captures=1,
            cells=1,
            references_sha256=hashlib.sha256(b"").hexdigest(),
            seed=0,
            trained_with="by hand",
            method="centres written down",
        ),
    }
    tables |= changes
    return Recipe(
        **tables,
        stage1_priors=(0.92, 0.06, 0.02),
        stage2_priors=(0.975, 0.02, 0.005),
        coincidence_ul=0.0,
        card="# A bundle for tests\n",
    )


@pytest.fixture(scope="session")
def make_bundle(make_cells):
    """Return a function that writes a bundle with hand-written networks."""
    batch, _ = make_cells([1500, 100, 60, 200, 140], seed=7)
    peak = red_cell_peak(batch.signals, CHANNELS, "EXT.A")
    networks = (_network(STAGE1, SPREAD * 2), _network(STAGE2, SPREAD * 1.2))

    def make(out, **changes):
        return write_bundle(Path(out), networks, _recipe(**changes), [(batch.signals, peak)])

    return make


@pytest.fixture(scope="session")
def pristine(tmp_path_factory, make_bundle):
    """Folder of one good bundle; never change it, copy it."""
    return make_bundle(tmp_path_factory.mktemp("bundle") / "written-1.2.3").path


@pytest.fixture(scope="session")
def bundle(pristine):
    """Return the good bundle, loaded."""
    return load_bundle(pristine)


@pytest.fixture
def copy(pristine, tmp_path):
    """Return a copy of the good bundle that a test may spoil."""
    return Path(shutil.copytree(pristine, tmp_path / "copy"))


@pytest.fixture
def edit_manifest(copy):
    """Return a function that changes the copied manifest through a callable."""

    def edit(change):
        file = copy / "manifest.toml"
        table = tomlkit.parse(file.read_text())
        change(table)
        file.write_text(tomlkit.dumps(table))
        return copy

    return edit


@pytest.fixture
def replace_file(copy):
    """Return a function that replaces a file and makes the manifest agree with it."""

    def swap(name, data):
        (copy / name).write_bytes(data)
        file = copy / "manifest.toml"
        table = tomlkit.parse(file.read_text())
        table["files"][name]["sha256"] = hashlib.sha256(data).hexdigest()
        table["files"][name]["bytes"] = len(data)
        file.write_text(tomlkit.dumps(table))
        return copy

    return swap
