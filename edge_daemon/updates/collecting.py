"""From a bundle, a profile, a table or a file of settings to the archive that is signed.

Each is proved here as a box will prove it, so that nothing is signed that no box could take.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edge_daemon.errors import EdgeError
from edge_daemon.resources import profiles_dir
from edge_daemon.updates import archive
from edge_daemon.updates.kinds import Item
from edge_daemon.updates.proof import Proof, ProofPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_daemon.updates.kinds import Kind

Collected = tuple[Item, dict[str, bytes]]
_MAX_BYTES = 64 << 20


def collect(kind: Kind, path: Path, version: str | None, needs: Mapping[str, str]) -> Collected:
    """Gather the files of an update under the names that boxes search for.

    Parameters
    ----------
    kind
        What it is.
    path
        Folder of a bundle; file of a profile, of a table or of settings.
    version
        Three numbers; a bundle brings its own.
    needs
        What a box must have, beside what the update itself says.

    Raises
    ------
    EdgeError
        It is not what it should be.
    """
    item, files = _COLLECTORS[kind](path, version, needs)
    return item, files


def check(item: Item, files: Mapping[str, bytes]) -> None:
    """Prove an update as a box does.

    Raises
    ------
    EdgeError
        What is wrong with it.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, data in archive.unpack(archive.pack(files)).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        plan = ProofPlan(
            profile_dirs=(profiles_dir(), folder),
            model_dirs=(folder,),
            max_bytes=_MAX_BYTES,
            item=item,
            folder=folder,
        )
        for _, reason in Proof(plan).rejected:
            raise EdgeError(f"{item.id}: {reason}", action="Correct it before it is signed.")


def _model(path: Path, version: str | None, needs: Mapping[str, str]) -> Collected:
    from edge_daemon.classify.bundle import MANIFEST, load_bundle  # noqa: PLC0415
    from edge_daemon.classify.manifest import BUNDLE_FILES  # noqa: PLC0415

    manifest = load_bundle(path).manifest
    if version not in {None, manifest.bundle.version}:
        raise EdgeError(f"the bundle's own version is {manifest.bundle.version}, not {version}")
    item = Item(
        "model",
        manifest.bundle.name,
        manifest.bundle.version,
        {"onnxruntime": manifest.runtime.onnxruntime, **needs},
    )
    folder = f"{item.name}-{item.version}"
    names = (MANIFEST, *BUNDLE_FILES)
    return item, {f"{folder}/{name}": (path / name).read_bytes() for name in names}


def _profile(path: Path, version: str | None, needs: Mapping[str, str]) -> Collected:
    from edge_daemon.decode.profile import load_profile  # noqa: PLC0415

    profile = load_profile(path)
    item = Item("profile", profile.id, _given(version), needs)
    folder = path.resolve().parent
    shared = [] if profile.calibration is None else [folder / profile.calibration.table]
    beside = [p for p in folder.iterdir() if p.name.startswith(f"{path.stem}.") and p.is_file()]
    files = {f"{folder.name}/{p.name}": p.read_bytes() for p in {*beside, *shared}}
    return item, files


def _table(path: Path, version: str | None, needs: Mapping[str, str]) -> Collected:
    from edge_daemon.reference.loading import check_file  # noqa: PLC0415

    read = check_file(path)
    if read.content is None:
        raise EdgeError(f"{path}: " + "; ".join(str(p) for p in read.problems[:10]))
    kind: Kind = "rules" if read.species is None else "intervals"
    name = read.species or "rules"
    item = Item(kind, name, _given(version), needs)
    return item, {f"{name}.toml": path.read_bytes()}


def _settings(path: Path, version: str | None, needs: Mapping[str, str]) -> Collected:
    from edge_daemon.updates.settings import FILE, read_fleet_settings  # noqa: PLC0415

    read_fleet_settings(path)
    return Item("settings", "fleet", _given(version), needs), {FILE: path.read_bytes()}


def _given(version: str | None) -> str:
    if version is None:
        raise EdgeError("it has no version of its own", action="Give --version, e.g. 1.0.0.")
    return version


_COLLECTORS: Mapping[Kind, Callable[[Path, str | None, Mapping[str, str]], Collected]] = {
    "model": _model,
    "profile": _profile,
    "intervals": _table,
    "rules": _table,
    "settings": _settings,
}
