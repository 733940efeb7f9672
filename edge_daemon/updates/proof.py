"""Whether an update is what it says and works on this very box; run in a confined worker.

The worker answers as every other does: what did not prove right stands in `rejected`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import EdgeError
from edge_daemon.tasks import Plan, WorkerLimits

if TYPE_CHECKING:
    from edge_daemon.updates.kinds import Item

ENTRY: Final = "edge_daemon.updates.proof:Proof"
_LIMITS: Final = WorkerLimits(memory_mb=512, cpu_s=60, wall_s=90.0)


@dataclass(frozen=True, slots=True)
class ProofPlan(Plan):
    """A plan with the candidate's folder searched last.

    Attributes
    ----------
    item
        What the candidate says it is.
    folder
        Its search folder.
    """

    item: Item
    folder: Path


UNNEEDED: Final = "unneeded"
"""Name under which the worker says that the box has no need of a candidate."""


class UnneededError(EdgeError):
    """The box has what the candidate would bring, and keeps it."""


class Proof:
    """Proves one candidate when it is made.

    Attributes
    ----------
    rejected
        Empty, or what is wrong with it.
    """

    def __init__(self, plan: ProofPlan) -> None:
        self.rejected: tuple[tuple[str, str], ...] = ()
        try:
            _CHECKS[plan.item.kind](plan)
        except UnneededError as error:
            self.rejected = ((UNNEEDED, error.message),)
        except EdgeError as error:
            self.rejected = ((plan.item.id, error.message),)


def prove(plan: ProofPlan) -> tuple[tuple[str, str], ...]:
    """Prove a candidate in a worker of its own.

    Returns
    -------
    tuple
        What is wrong with it, or that it is `UNNEEDED`: a name and words. Empty: it is right.

    Raises
    ------
    Retryable
        No worker could be started now.
    """
    from edge_daemon.worker_handle import Worker  # noqa: PLC0415 - not inside the worker itself

    worker = Worker(plan, _LIMITS, ENTRY, readable=(plan.folder,))
    try:
        worker.wait_ready()
        return worker.rejected
    finally:
        worker.end()


def _model(plan: ProofPlan) -> None:
    """Digests, graphs and golden vectors; and that it stands alone for its captures."""
    from edge_daemon.classify.bundle import MANIFEST, BundleShelf, load_bundle  # noqa: PLC0415
    from edge_daemon.errors import Quarantine  # noqa: PLC0415

    bundle = load_bundle(_one(plan.folder, f"*/{MANIFEST}").parent)
    _must_be(f"{plan.item.name}@{plan.item.version}", bundle.id)
    shelf = BundleShelf.load(plan.model_dirs)
    for problem in shelf.problems:
        if Path(problem.file).is_relative_to(plan.folder):
            raise problem
    for profile in bundle.manifest.valid.profiles:
        for species in bundle.manifest.valid.species:
            try:
                chosen = shelf.for_profile(profile, species)
            except Quarantine as error:
                raise EdgeError(error.message) from error
            if chosen.path != bundle.path:
                raise UnneededError(f"{chosen.id} of this box is newer, and stays in use")


def _profile(plan: ProofPlan) -> None:
    """Prove that it loads, is chosen for its own sample, and decodes it as expected."""
    from edge_daemon.decode import kit  # noqa: PLC0415
    from edge_daemon.decode.profile import load_profile  # noqa: PLC0415
    from edge_daemon.decode.registry import Registry  # noqa: PLC0415

    path = _one(plan.folder, "*/*.toml")
    registry = Registry.load(plan.profile_dirs)
    here = registry.profiles.get(plan.item.name)
    if here is not None and here.sha256 != load_profile(path).sha256:
        raise UnneededError(f"this box has a profile {plan.item.name}, which stays in use")
    for problem in registry.problems:
        if Path(problem.path).is_relative_to(plan.folder):
            raise problem
    profile = next((p for p in registry.profiles.values() if p.id == plan.item.name), None)
    if profile is None:
        raise EdgeError(f"it holds no profile {plan.item.name}")
    if kit.needs_sample(profile):
        sample = kit.read_sample(path)
        _must_be(plan.item.name, registry.match(sample.data, sample.name).id)
        if differing := kit.differences(path):
            raise EdgeError(f"its sample decodes to other {', '.join(differing)}")


def _tables(plan: ProofPlan) -> None:
    """Prove that it parses, with units that convert and rules that exist."""
    from edge_daemon.reference.loading import check_file  # noqa: PLC0415

    read = check_file(_one(plan.folder, "*.toml"))
    if read.content is None:
        raise EdgeError("; ".join(str(problem) for problem in read.problems[:10]))
    _must_be(plan.item.name, read.species or "rules")


def _settings(plan: ProofPlan) -> None:
    """Prove that it holds keys that a fleet may set, with values that the file may have."""
    from edge_daemon.updates.settings import FILE, read_fleet_settings  # noqa: PLC0415

    read_fleet_settings(_one(plan.folder, FILE))


_CHECKS: Final = {
    "model": _model,
    "profile": _profile,
    "intervals": _tables,
    "rules": _tables,
    "settings": _settings,
}


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise EdgeError(f"expected one file {pattern} in the update, found {len(found)}")
    return found[0]


def _must_be(signed: str, found: str) -> None:
    if found != signed:
        raise EdgeError(f"it is signed as {signed}, and holds {found}")
