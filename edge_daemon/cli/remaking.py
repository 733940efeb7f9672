"""Stored runs made again in memory, with the very profile and model that made them.

The archived bytes are decoded and the cells called as the run did; the store is only read, so the
service may go on meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from edge_daemon import errors
from edge_daemon.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edge_daemon.classify.bundle import Bundle, BundleShelf
    from edge_daemon.classify.runtime import Classifier
    from edge_daemon.decode.profile import Profile
    from edge_daemon.decode.registry import Registry
    from edge_daemon.records import CellBatch, CellCalls
    from edge_daemon.tasks import Plan

_RESTORE: Final = (
    "Put back what made the run, or analyse its file again with `edge-daemon process FILE "
    "--replay` and take the new run."
)


def plan_of(config_file: Path) -> Plan:
    """Folders the service finds profiles and models in; a box without a service has no file."""
    if config_file == options.DEFAULT_CONFIG and not config_file.is_file():
        from edge_daemon.updates.places import own_plan, with_updates

        return with_updates(own_plan(None), options.present_data_dir())
    from edge_daemon.config import load_config
    from edge_daemon.service import plan_for

    return plan_for(load_config(config_file))


@dataclass(frozen=True, slots=True)
class Remade:
    """One run made again.

    Attributes
    ----------
    same
        Whether it counts exactly as the stored run.
    """

    batch: CellBatch
    calls: CellCalls
    profile: Profile
    bundle: Bundle
    same: bool


class Remaker:
    """Makes runs again; profiles and models are loaded once.

    Parameters
    ----------
    plan
        Where profiles and models lie.
    data_dir
        Whose archive the bytes are in.
    """

    def __init__(self, plan: Plan, data_dir: Path) -> None:
        self._plan = plan
        self._data_dir = data_dir
        self._classifiers: dict[str, Classifier] = {}

    def make(self, run: Mapping[str, Any]) -> Remade:
        """Decode and classify as the run did.

        Parameters
        ----------
        run
            As `store.queries.run` gives it.

        Raises
        ------
        EdgeError
            Profile or model are no longer those that made it, or its bytes were deleted for the
            archive's budget.
        Quarantine
            The archived bytes are missing or damaged.
        """
        from edge_daemon.classify.quantify import quantify
        from edge_daemon.classify.runtime import Classifier
        from edge_daemon.decode import decode
        from edge_daemon.decode.limits import Limits
        from edge_daemon.store.archive import archived_path, raw_deleted, read_archived
        from edge_daemon.store.layout import ARCHIVE_NAME
        from edge_daemon.tasks import dataset_of

        profile, bundle = self._profile(run), self._bundle(run)
        if when := run["capture"]["raw_deleted_wall"]:
            raise raw_deleted(f"run {run['id']}", when)
        path = archived_path(self._data_dir / ARCHIVE_NAME, run["sha256"])
        data = read_archived(path, run["sha256"])
        limits = Limits(max_bytes=self._plan.max_bytes)
        name, dataset = run["capture"]["name"], dataset_of(run["notes"])
        batch = decode(data, profile, name=name, dataset=dataset, limits=limits)
        corrected = {field: run[field] for field in run["corrected"]}
        batch = replace(batch, sample=replace(batch.sample, **corrected))
        if bundle.id not in self._classifiers:
            self._classifiers[bundle.id] = Classifier(bundle)
        calls = self._classifiers[bundle.id].classify(batch)
        same = dict(quantify(batch, calls, bundle).counts) == run["counts"]
        return Remade(batch, calls, profile, bundle, same)

    @cached_property
    def _registry(self) -> Registry:
        from edge_daemon.decode.registry import Registry

        return Registry.load(self._plan.profile_dirs)

    @cached_property
    def _shelf(self) -> BundleShelf:
        from edge_daemon.classify.bundle import BundleShelf

        return BundleShelf.load(self._plan.model_dirs)

    def _profile(self, run: Mapping[str, Any]) -> Profile:
        profile = self._registry.profiles.get(run["profile"])
        if profile is None:
            raise _gone(run, "profile", self._registry.problems)
        _must_be_the_same(run, "profile", profile.sha256)
        return profile

    def _bundle(self, run: Mapping[str, Any]) -> Bundle:
        bundle = self._shelf.bundles.get(run["model"])
        if bundle is None:
            raise _gone(run, "model", self._shelf.problems)
        _must_be_the_same(run, "model", bundle.manifest_sha256)
        return bundle


def _gone(
    run: Mapping[str, Any], what: str, problems: Sequence[errors.EdgeError]
) -> errors.EdgeError:
    """Say that it is absent, with the problems of those that are there and cannot be used."""
    unusable = "".join(f"; {problem.message}" for problem in problems)
    return errors.EdgeError(
        f"{what} {run[what]}, which made run {run['id']}, is not on this box or not usable"
        f"{unusable}",
        action=_RESTORE,
    )


def _must_be_the_same(run: Mapping[str, Any], what: str, found: str) -> None:
    expected = run[f"{what}_sha256"]
    if found != expected:
        raise errors.EdgeError(
            f"{what} {run[what]} is not the one that made run {run['id']}: expected SHA-256 "
            f"{expected}, found {found}",
            action=_RESTORE,
        )
