"""Model bundles: a folder that is used only when every part of it proves right.

A bundle holds ``manifest.toml``, ``stage1.onnx``, ``stage2.onnx`` (static int8), ``golden.npz``
(inputs with their exact outputs) and ``card.md``. Nothing is taken on trust: the digests, the
graphs' inputs and outputs, and the golden vectors on this very processor are all checked.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import ValidationError

from edge_daemon.arrays import ArraysError, read_arrays
from edge_daemon.classify.manifest import (
    BUNDLE_FILES,
    STAGE1_CLASSES,
    STAGE2_CLASSES,
    Manifest,
    version_key,
)
from edge_daemon.classify.session import (
    LATENT,
    LOGS,
    PEAK,
    POSTERIOR,
    SIGNALS,
    ModelError,
    StageSession,
    runtime_version,
)
from edge_daemon.errors import EdgeError, Quarantine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MANIFEST: Final = "manifest.toml"
MAX_MANIFEST_BYTES: Final = 256 * 1024
MAX_GOLDEN_BYTES: Final = 16 * 2**20
_SHOWN: Final = 20  # problems in a message; a file with more of them is no manifest
POSTERIOR_TOLERANCE: Final = 1e-5
"""The heads are float: allowed absolute difference between processor families."""

# An external tensor names its file under this key. Only the key is looked for: the length before
# it can be written in more than one way.
_EXTERNAL_DATA = b"location"
_REINSTALL = "install the bundle again from its source; never edit its files"


class BundleError(EdgeError):
    """A bundle, or one of its files, is not what it must be.

    Parameters
    ----------
    file
        The file concerned.
    expected, found
        What should have been there and what was.
    """

    def __init__(self, file: Path, expected: str, found: str, *, action: str = _REINSTALL) -> None:
        super().__init__(f"{file}: expected {expected[:600]}, found {found[:1200]}", action=action)
        self.file = str(file)
        self.expected = expected
        self.found = found


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded bundle.

    Attributes
    ----------
    path
        Its folder.
    manifest
        The checked manifest.
    manifest_sha256
        Digest of ``manifest.toml``, which holds the digests of all other files.
    stage1, stage2
        The serialised graphs whose digests were checked; sessions are made from these bytes, so
        a later change of the files cannot slip in.
    """

    path: Path
    manifest: Manifest
    manifest_sha256: str
    stage1: bytes
    stage2: bytes

    @property
    def id(self) -> str:
        """``<name>@<version>``."""
        return f"{self.manifest.bundle.name}@{self.manifest.bundle.version}"

    @property
    def channels(self) -> tuple[str, ...]:
        """Canonical channels the graphs take, in order."""
        return tuple(self.manifest.input.channels)


def load_bundle(path: Path, *, verify: bool = True) -> Bundle:
    """Load a bundle and check it.

    Parameters
    ----------
    path
        The bundle's folder.
    verify
        Also open the graphs and run the golden vectors. Schema and digests are always checked.

    Raises
    ------
    BundleError
        Any file is missing, malformed, changed, or does not reproduce its golden vectors here.
    """
    raw = _read(path / MANIFEST, MAX_MANIFEST_BYTES)
    manifest = _parse_manifest(path / MANIFEST, raw)
    files = {name: _read_checked(path / name, manifest) for name in BUNDLE_FILES}
    bundle = Bundle(
        path=path,
        manifest=manifest,
        manifest_sha256=hashlib.sha256(raw).hexdigest(),
        stage1=files["stage1.onnx"],
        stage2=files["stage2.onnx"],
    )
    for name in ("stage1.onnx", "stage2.onnx"):
        if _EXTERNAL_DATA in files[name]:
            raise BundleError(path / name, "weights inside the file", "a reference to another file")
    if verify:
        _verify(bundle, files["golden.npz"])
    return bundle


def _read(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise BundleError(file, "a readable file", error.strerror or str(error)) from error
    if len(data) > limit:
        raise BundleError(file, f"at most {limit} bytes", "more")
    return data


def _parse_manifest(file: Path, raw: bytes) -> Manifest:
    try:
        table = tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BundleError(file, "TOML in UTF-8", str(error)) from error
    try:
        return Manifest.model_validate(table)
    except ValidationError as error:
        found = [
            f"{'.'.join(str(key) for key in item['loc']) or 'manifest'}: {item['msg']}"
            for item in error.errors(include_url=False)
        ]
        problems = "; ".join(problem[:300] for problem in found[:_SHOWN])
        if len(found) > _SHOWN:
            problems += f"; and {len(found) - _SHOWN} more"
        raise BundleError(file, "a manifest of schema 1", problems) from error


def _read_checked(file: Path, manifest: Manifest) -> bytes:
    entry = manifest.files[file.name]
    data = _read(file, entry.bytes)
    if len(data) != entry.bytes:
        raise BundleError(file, f"{entry.bytes} bytes", f"{len(data)} bytes")
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry.sha256:
        raise BundleError(file, f"SHA-256 {entry.sha256}", digest)
    return data


def _verify(bundle: Bundle, golden: bytes) -> None:
    vectors = _read_golden(bundle.path / "golden.npz", golden)
    stages = (
        ("stage1", bundle.stage1, bundle.manifest.stage1.latent, len(STAGE1_CLASSES)),
        ("stage2", bundle.stage2, bundle.manifest.stage2.latent, len(STAGE2_CLASSES)),
    )
    for stage, model, latent, classes in stages:
        file = bundle.path / f"{stage}.onnx"
        try:
            session = StageSession(model, str(file))
            _check_signature(session, file, len(bundle.channels), latent, classes)
            outputs = session.run(vectors["signals"], vectors["peak"])
        except ModelError as error:
            raise BundleError(file, "a graph this runtime can run", error.message) from error
        _check_golden(bundle, stage, outputs, vectors)


def _check_signature(
    session: StageSession, file: Path, channels: int, latent: int, classes: int
) -> None:
    events: tuple[tuple[int | None, ...], tuple[int | None, ...]]
    signals, events = SIGNALS, ((None, channels), (None, classes))
    if session.takes_logs:
        signals, events = LOGS, ((channels, None), (classes, None))
    expected: dict[str, tuple[str, tuple[int | None, ...]]] = {
        signals: ("tensor(float)", events[0]),
        PEAK: ("tensor(float)", (channels,)),
        LATENT: ("tensor(float)", (None, latent)),
        POSTERIOR: ("tensor(float)", events[1]),
    }
    found = session.signature()
    if found != expected:
        raise BundleError(file, f"inputs and outputs {expected}", str(found))


def _read_golden(file: Path, data: bytes) -> Mapping[str, NDArray[np.float32]]:
    names = {"signals", "peak"} | {
        f"{stage}_{output}" for stage in ("stage1", "stage2") for output in (LATENT, POSTERIOR)
    }
    try:
        arrays = read_arrays(data, MAX_GOLDEN_BYTES)
    except ArraysError as error:
        raise BundleError(file, "a readable npz archive", str(error)) from error
    if set(arrays) != names or any(a.dtype != np.float32 for a in arrays.values()):
        found = {name: str(array.dtype) for name, array in sorted(arrays.items())}
        raise BundleError(file, f"float32 arrays {sorted(names)}", str(found))
    if arrays["signals"].ndim != 2 or not len(arrays["signals"]):
        raise BundleError(file, "signals (events, channels)", str(arrays["signals"].shape))
    return arrays


def _check_golden(
    bundle: Bundle,
    stage: str,
    outputs: tuple[NDArray[np.float32], NDArray[np.float32]],
    vectors: Mapping[str, NDArray[np.float32]],
) -> None:
    latent, posterior = outputs
    file = bundle.path / "golden.npz"
    made_with = bundle.manifest.runtime.onnxruntime
    action = (
        f"do not use this bundle on this machine (onnxruntime {runtime_version()}, bundle made "
        f"with {made_with}); report processor and versions to whoever made it"
    )
    wanted = vectors[f"{stage}_{LATENT}"]
    if latent.shape != wanted.shape or not np.array_equal(latent, wanted):
        wrong = "another shape" if latent.shape != wanted.shape else _rows(latent != wanted)
        raise BundleError(file, f"{stage} int8 outputs reproduced exactly", wrong, action=action)
    wanted = vectors[f"{stage}_{POSTERIOR}"]
    if posterior.shape != wanted.shape:
        raise BundleError(file, f"{stage} posterior {wanted.shape}", str(posterior.shape))
    # "not <=" so that NaN counts as wrong.
    wrong_rows = ~(np.abs(posterior - wanted) <= POSTERIOR_TOLERANCE)
    if wrong_rows.any():
        expected = f"{stage} posteriors within {POSTERIOR_TOLERANCE:g}"
        raise BundleError(file, expected, _rows(wrong_rows), action=action)


def _rows(wrong: NDArray[np.bool_]) -> str:
    return f"{int(wrong.any(axis=1).sum())} of {len(wrong)} events differ"


class BundleShelf:
    """All bundles of some directories; a broken bundle does not hide the others.

    Attributes
    ----------
    bundles
        Usable bundles by id.
    problems
        Why the others are never used.
    """

    def __init__(self, bundles: Mapping[str, Bundle], problems: Sequence[BundleError]) -> None:
        self.bundles = dict(bundles)
        self.problems = tuple(problems)

    @classmethod
    def load(cls, directories: Sequence[Path]) -> BundleShelf:
        """Load and verify every bundle folder of the directories; absent ones are skipped."""
        bundles: dict[str, Bundle] = {}
        problems: list[BundleError] = []
        ambiguous: set[str] = set()
        for folder in _folders(directories, problems):
            try:
                bundle = load_bundle(folder)
            except BundleError as error:
                problems.append(error)
                continue
            other = bundles.setdefault(bundle.id, bundle)
            if other.manifest_sha256 != bundle.manifest_sha256:
                ambiguous.add(bundle.id)
                found = f"two different bundles of that name, also in {other.path}"
                problems.append(
                    BundleError(folder, f"one {bundle.id}", found, action="remove one of them")
                )
        usable = {key: value for key, value in bundles.items() if key not in ambiguous}
        return cls(usable, problems)

    def for_profile(self, profile_id: str, species: str | None) -> Bundle:
        """Choose the newest bundle valid for a profile and species.

        Parameters
        ----------
        profile_id
            ``<vendor>_<model>/<firmware>``.
        species
            One of `SPECIES`; None (not known) is accepted by every bundle and flagged later.

        Raises
        ------
        Quarantine
            ``no_bundle`` when none is valid, or when bundles of different names both claim it.
        """
        valid = [
            bundle
            for bundle in self.bundles.values()
            if profile_id in bundle.manifest.valid.profiles
            and (species is None or species in bundle.manifest.valid.species)
        ]
        names = sorted({bundle.manifest.bundle.name for bundle in valid})
        if len(names) != 1:
            raise _no_bundle(self, profile_id, species, names)
        return max(valid, key=lambda bundle: version_key(bundle.manifest.bundle.version))


def _folders(directories: Sequence[Path], problems: list[BundleError]) -> list[Path]:
    folders: list[Path] = []
    for directory in directories:
        try:
            folders += sorted(p for p in directory.iterdir() if (p / MANIFEST).is_file())
        except FileNotFoundError:
            continue
        except OSError as error:
            found = error.strerror or str(error)
            action = "correct the path or its permissions"
            problems.append(BundleError(directory, "a readable directory", found, action=action))
    return folders


def _no_bundle(
    shelf: BundleShelf, profile_id: str, species: str | None, names: list[str]
) -> Quarantine:
    wanted = f"profile {profile_id}" + (f" and species {species}" if species else "")
    if names:
        return Quarantine(
            "no_bundle",
            f"model bundles {', '.join(names)} all claim {wanted}; expected one name",
            action="remove all but one of them from the model directories",
        )
    broken = f"; {len(shelf.problems)} unusable bundle(s) were skipped" if shelf.problems else ""
    return Quarantine(
        "no_bundle",
        f"no verified model bundle is valid for {wanted}; "
        f"usable bundles: {', '.join(sorted(shelf.bundles)) or 'none'}{broken}",
        action="install a bundle for this instrument, then replay; see `edge-daemon model verify`",
    )
