"""Write a bundle folder: graphs, golden vectors, card and manifest, then prove it by loading."""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import onnxruntime as ort
import tomlkit

from edge_daemon.classify.bundle import MANIFEST, Bundle, load_bundle
from edge_daemon.classify.manifest import (
    BUNDLE_FILES,
    STAGE1_CLASSES,
    STAGE2_CLASSES,
    Calibration,
    Coincidence,
    FileEntry,
    Habit,
    Identity,
    Inputs,
    Manifest,
    Provenance,
    Runtime,
    SpeciesHabits,
    Stage,
    Uncertainty,
    Validity,
)
from edge_daemon.classify.session import StageSession
from edge_daemon.errors import EdgeError
from edge_daemon.training.graphs import CLIP, OPSET, Network, build_graph, encoder_inputs
from edge_daemon.training.quantize import input_step, quantize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Run = tuple[NDArray[np.float32], NDArray[np.float32]]

GOLDEN_EVENTS: Final = 192
_MARGIN = 0.02  # of an int8 input step


@dataclass(frozen=True)
class Recipe:
    """Everything a bundle says about itself besides its graphs.

    Attributes
    ----------
    identity, validity, inputs, uncertainty, provenance
        Tables of the manifest.
    stage1_priors, stage2_priors
        Class frequencies of the training cohort: ``(classes,)`` or ``(strata, classes)``.
    coincidence_ul
        Chance coincidences per event and per event/µL of diluted sample.
    card
        Markdown.
    calibration
        What values are multiplied with.
    habit, species
        What runs of training were like, and how species differ.
    """

    identity: Identity
    validity: Validity
    inputs: Inputs
    uncertainty: Uncertainty
    provenance: Provenance
    stage1_priors: Sequence[float] | NDArray[np.float32]
    stage2_priors: Sequence[float] | NDArray[np.float32]
    coincidence_ul: float
    card: str
    calibration: Calibration = field(default_factory=Calibration)
    habit: Habit | None = None
    species: SpeciesHabits | None = None


def write_bundle(
    out: Path, networks: tuple[Network, Network], recipe: Recipe, runs: Sequence[Run]
) -> Bundle:
    """Quantize, make golden vectors, write the folder and load it back with every check.

    Parameters
    ----------
    out
        Folder to create; must not exist.
    networks
        Stage 1 and stage 2.
    recipe
        The manifest's content and the card.
    runs
        ``(signals, peak)`` of training runs: calibrate the quantizer, give the golden events.

    Raises
    ------
    EdgeError
        The folder exists or cannot be written.
    BundleError
        The bundle does not pass its own checks.
    """
    models = [
        quantize(build_graph(network, name), runs)
        for network, name in zip(networks, ("stage1", "stage2"), strict=True)
    ]
    files = dict(
        zip(
            BUNDLE_FILES,
            (*models, golden_vectors(models, networks, runs), recipe.card.encode()),
            strict=True,
        )
    )
    files[MANIFEST] = _manifest(recipe, networks, files).encode()
    return _install(out, files)


def exact_twin(bundle: Bundle, networks: tuple[Network, Network]) -> Bundle:
    """Take the bundle with its networks before quantization."""
    stage1, stage2 = (
        build_graph(network, name).SerializeToString()
        for network, name in zip(networks, ("stage1", "stage2"), strict=True)
    )
    return replace(bundle, stage1=stage1, stage2=stage2)


def golden_vectors(
    models: Sequence[bytes], networks: Sequence[Network], runs: Sequence[Run]
) -> bytes:
    """Pick events from a run and record what the graphs give for them.

    Only events whose scaled inputs stay clear of a rounding boundary are taken: a logarithm
    that differs in its last bit between processors then cannot move an int8 input.
    """
    signals, peak = max(runs, key=lambda run: len(run[0]))
    clear = np.ones(len(signals), dtype=bool)
    for model, network in zip(models, networks, strict=True):
        clear &= _clear_of_rounding(
            encoder_inputs(signals, peak, network.absolute), network, input_step(model)
        )
    # Spread over the extinction range, so that rare populations are among them.
    order = np.argsort(signals[clear].sum(axis=1), kind="stable")
    pick = order[np.linspace(0, len(order) - 1, min(GOLDEN_EVENTS, len(order))).astype(int)]
    events = np.ascontiguousarray(signals[clear][pick])
    arrays = {"signals": events, "peak": peak}
    for name, model in zip(("stage1", "stage2"), models, strict=True):
        arrays[f"{name}_latent"], arrays[f"{name}_posterior"] = StageSession(model, name).run(
            events, peak
        )
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # the stub takes no mapping
    return buffer.getvalue()


def _clear_of_rounding(
    inputs: NDArray[np.float32], network: Network, step: float
) -> NDArray[np.bool_]:
    scaled = (inputs - network.shift) * network.scale
    steps = np.clip(scaled, -CLIP, CLIP) / step
    # The zero point is a whole number of steps, so boundaries lie at half steps.
    from_boundary = np.abs(steps - np.floor(steps) - 0.5)
    clear: NDArray[np.bool_] = np.all(from_boundary > _MARGIN, axis=1)
    return clear


def _manifest(recipe: Recipe, networks: tuple[Network, Network], files: dict[str, bytes]) -> str:
    manifest = Manifest(
        schema=1,
        bundle=recipe.identity,
        runtime=Runtime(onnxruntime=ort.__version__, opset=OPSET, quantization="static_qdq_int8"),
        valid=recipe.validity,
        input=recipe.inputs,
        stage1=_stage(STAGE1_CLASSES, recipe.stage1_priors, networks[0]),
        stage2=_stage(STAGE2_CLASSES, recipe.stage2_priors, networks[1]),
        uncertainty=recipe.uncertainty,
        coincidence=Coincidence(window_ul=recipe.coincidence_ul),
        files={
            name: FileEntry(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
            for name, data in files.items()
        },
        provenance=recipe.provenance,
        calibration=recipe.calibration,
        habit=recipe.habit,
        species=recipe.species,
    )
    return tomlkit.dumps(manifest.model_dump(by_alias=True, exclude_none=True))


def _stage(
    classes: Sequence[str], priors: Sequence[float] | NDArray[np.float32], network: Network
) -> Stage:
    rows = []
    for row in np.atleast_2d(np.asarray(priors, dtype=np.float64)):
        rounded = [round(float(p), 6) for p in row[1:]]
        rows.append([round(1 - sum(rounded), 6), *rounded])
    return Stage(
        classes=list(classes), priors=rows if len(rows) > 1 else rows[0], latent=network.latent
    )


def _install(out: Path, files: dict[str, bytes]) -> Bundle:
    if out.exists():
        raise EdgeError(
            f"{out}: exists already; a bundle is never overwritten",
            action="choose another folder, or a new version",
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            for name, data in files.items():
                (staging / name).write_bytes(data)
            load_bundle(staging)
            staging.chmod(0o755)
            staging.rename(out)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    except OSError as error:
        raise EdgeError(
            f"{out}: cannot write the bundle: {error.strerror}",
            action="check the folder's permissions and free space",
        ) from error
    return load_bundle(out)
