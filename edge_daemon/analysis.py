"""What a worker does with one capture: match, decode, classify, count."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_daemon.classify.bundle import BundleShelf
from edge_daemon.classify.pictures import draw
from edge_daemon.classify.quantify import quantify
from edge_daemon.classify.runtime import Classifier
from edge_daemon.decode import decode, decode_raw
from edge_daemon.decode.limits import Limits
from edge_daemon.decode.registry import Registry
from edge_daemon.decode.report import read_reports
from edge_daemon.errors import Quarantine
from edge_daemon.records import Classified, Decoded, RawCapture, Reported, SampleInfo
from edge_daemon.store.archive import read_archived
from edge_daemon.tasks import dataset_note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.decode.profile import Profile
    from edge_daemon.records import CellBatch, Step
    from edge_daemon.tasks import Plan, Task


class Analyst:
    """Holds what stays the same between captures: profiles, bundles and loaded models.

    Parameters
    ----------
    plan
        Where profiles and bundles lie, and the limits.

    Attributes
    ----------
    rejected
        Names of the model bundles that did not prove right here, each with the reason.
    """

    def __init__(self, plan: Plan) -> None:
        self._registry = Registry.load(plan.profile_dirs)
        self._shelf = BundleShelf.load(plan.model_dirs)
        self.rejected = tuple(
            (Path(problem.file).parent.name, f"expected {problem.expected}, found {problem.found}")
            for problem in self._shelf.problems
        )
        self._limits = Limits(max_bytes=plan.max_bytes)
        self._classifiers: dict[str, Classifier] = {}

    def __call__(self, task: Task) -> Iterator[Step]:
        """Analyse one archived capture.

        Raises
        ------
        Quarantine
            With the capture's name in front of the message.
        Retryable
            The archive cannot be read now.
        """
        try:
            yield from self.analyse(
                RawCapture(
                    task.instrument,
                    task.source,
                    task.name,
                    task.sha256,
                    read_archived(Path(task.path), task.sha256),
                ),
                profile_id=task.profile,
                dataset=task.dataset,
                species=task.species,
            )
        except Quarantine as error:
            if not error.message.startswith(task.name):
                error.message = f"{task.name}: {error.message}"
            raise

    def analyse(
        self,
        capture: RawCapture,
        *,
        profile_id: str | None = None,
        dataset: int = 1,
        species: str | None = None,
    ) -> Iterator[Step]:
        """Yield what the analyzer reported, then what its cells say.

        `Reported` for each sample of a profile with reports; `Decoded` where the capture holds
        columns; `Classified` unless the profile is decode-only.

        Parameters
        ----------
        capture
            The bytes.
        profile_id
            Profile to use; None: the one that matches.
        dataset
            Which data set of the file, from 1.
        species
            What people have corrected the instrument's species to: the cells are called for it,
            `Decoded` still says what the instrument did.

        Raises
        ------
        Quarantine
            The capture cannot be read or must not be classified.
        EdgeError
            There is no profile `profile_id`.
        """
        started = time.process_time()
        profile = (
            self._registry.match(capture.data, capture.name)
            if profile_id is None
            else self._registry.get(profile_id)
        )
        extra = () if dataset == 1 else (dataset_note(dataset),)
        if profile.reports:
            for report, notes in read_reports(
                capture.data, profile, name=capture.name, limits=self._limits
            ):
                yield Reported(profile.id, profile.sha256, report, notes)
        if not profile.classify:
            decoded = self._decode_raw(capture, profile, dataset, extra)
            if decoded.channels or not profile.reports:
                yield decoded
            return
        batch = decode(
            capture.data, profile, name=capture.name, dataset=dataset, limits=self._limits
        )
        del capture  # its bytes are as large as the cells, and nobody needs them any more
        yield _decoded(profile, batch, extra)
        if species is not None:
            batch = replace(batch, sample=replace(batch.sample, species=species))
        bundle = self._shelf.for_profile(profile.id, batch.sample.species)
        calls = self._classifier(bundle).classify(batch)
        result = quantify(batch, calls, bundle)
        drawn = draw(batch, calls, result.red_cells, result.platelets, profile.scales)
        yield Classified(
            model=bundle.id,
            model_sha256=bundle.manifest_sha256,
            counts=dict(result.counts),
            measurements=result.measurements,
            flags=result.flags,
            pictures=drawn.encode(),
            elapsed_s=time.process_time() - started,
        )

    def _decode_raw(
        self, capture: RawCapture, profile: Profile, dataset: int, extra: tuple[str, ...]
    ) -> Decoded:
        table = decode_raw(
            capture.data, profile, name=capture.name, dataset=dataset, limits=self._limits
        )
        return Decoded(
            profile=profile.id,
            profile_sha256=profile.sha256,
            events=table.events,
            channels=tuple(column.name for column in table.columns),
            sample=SampleInfo(simulated=profile.simulated),
            notes=(*table.notes, *extra),
        )

    def _classifier(self, bundle: Bundle) -> Classifier:
        found = self._classifiers.get(bundle.manifest_sha256)
        if found is None:
            found = self._classifiers[bundle.manifest_sha256] = Classifier(bundle)
        return found


def _decoded(profile: Profile, batch: CellBatch, extra: tuple[str, ...]) -> Decoded:
    return Decoded(
        profile=profile.id,
        profile_sha256=profile.sha256,
        events=batch.events,
        channels=batch.channels,
        sample=batch.sample,
        notes=(*batch.notes, *extra),
    )
