"""Whom this box believes about updates, and what they offer: TUF through python-tuf.

Loaded only while updates are looked for. Signatures are Ed25519 alone, which python-tuf verifies
without any further library.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, TargetFile, Targets
from tuf.ngclient import Updater, UpdaterConfig

from edge_daemon.errors import EdgeError, Fatal
from edge_daemon.updates.errors import UpdateError
from edge_daemon.updates.fetching import METADATA, TARGETS, SlowError
from edge_daemon.updates.folder import FIRST_ROOT, sync_folder
from edge_daemon.updates.kinds import Item

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tuf.ngclient import FetcherInterface

MAX_TARGET: Final = 80 << 20
_LIMITS: Final = UpdaterConfig(
    max_root_rotations=64,
    max_delegations=0,
    root_max_length=256 << 10,
    timestamp_max_length=16 << 10,
    snapshot_max_length=256 << 10,
    targets_max_length=2 << 20,
)


@dataclass(frozen=True, slots=True)
class Offer:
    """A signed version that can be had.

    Attributes
    ----------
    item
        What it is.
    sha256, length
        Of its archive.
    """

    item: Item
    sha256: str
    length: int


def read_root(data: bytes) -> Metadata[Root]:
    """Read a root file and hold it to its own signatures.

    Raises
    ------
    EdgeError
        It is none, or not signed by as many of its own keys as it asks for.
    """
    try:
        root = Metadata[Root].from_bytes(data)
        if not isinstance(root.signed, Root):
            raise EdgeError("the file is metadata of updates, but no root")
        root.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
    except (exceptions.RepositoryError, ValueError, KeyError, TypeError) as error:
        raise EdgeError(
            f"this is no root file of updates: {error}",
            action="Take the file `root.json` of the repository from whoever signs the updates.",
        ) from error
    return root


def fingerprint(data: bytes) -> str:
    """Digest of a root file, for two people to compare on the telephone."""
    text = hashlib.sha256(data).hexdigest()[:32]
    return " ".join(text[i : i + 4] for i in range(0, 32, 4))


class Trust:
    """The trust of one box, kept in a folder.

    Parameters
    ----------
    folder
        Of the metadata that was believed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def root(self) -> bytes | None:
        """The first root, which a person gave; None before that."""
        try:
            return (self._folder / FIRST_ROOT).read_bytes()
        except FileNotFoundError:
            return None

    def begin(self, data: bytes, *, replace: bool = False) -> None:
        """Believe a root file from now on.

        Raises
        ------
        EdgeError
            It is no root file, or there is another one already.
        """
        read_root(data)
        known = self.root
        if known == data:
            return
        if known is not None and not replace:
            raise Fatal(
                "this box trusts another root already",
                action="To change whom it believes, give --replace; what is in use stays.",
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        # The new root first: without the old metadata nothing is believed, with it the wrong.
        for left in ("timestamp", "snapshot", "targets"):
            (self._folder / f"{left}.json").unlink(missing_ok=True)
        for former in (self._folder / "root_history").glob("*.root.json"):
            former.unlink()
        partial = self._folder / f"{FIRST_ROOT}.new"
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._folder / FIRST_ROOT)
        sync_folder(self._folder)

    def look(self, fetcher: FetcherInterface, incoming: Path) -> Source:
        """Fetch what is offered now.

        Raises
        ------
        UpdateError
            Nothing can be believed, or had, now.
        """
        root = self.root
        if root is None:
            raise UpdateError("no_root", "this box does not know who signs its updates")
        self._folder.mkdir(parents=True, exist_ok=True)
        with _explained():
            updater = Updater(
                metadata_dir=str(self._folder),
                metadata_base_url=METADATA,
                target_dir=str(incoming),
                target_base_url=TARGETS,
                fetcher=fetcher,
                config=_LIMITS,
                bootstrap=root,
            )
            updater.refresh()
            self._make_durable()
            targets = Metadata[Targets].from_file(str(self._folder / "targets.json")).signed
        return Source(updater, targets.targets, incoming)

    def expires(self) -> dict[str, datetime]:
        """Until when each part of what was last believed holds, UTC."""
        found = {}
        for role in ("root", "timestamp", "snapshot", "targets"):
            try:
                signed = Metadata.from_file(str(self._folder / f"{role}.json")).signed
            except (OSError, ValueError, exceptions.RepositoryError):
                continue
            found[role] = signed.expires.astimezone(UTC)
        return found

    def _make_durable(self) -> None:
        """Keep what was seen over a power cut: else something older could come back."""
        for path in [*self._folder.glob("*.json"), *self._folder.glob("root_history/*.json")]:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        for folder in (self._folder / "root_history", self._folder):
            sync_folder(folder)


class Source:
    """A place whose metadata was believed.

    Attributes
    ----------
    offers
        Everything it offers that this software knows how to take.
    strange
        Targets it does not know, with the reason.
    """

    def __init__(self, updater: Updater, targets: Mapping[str, TargetFile], incoming: Path) -> None:
        self._updater = updater
        self._incoming = incoming
        self.offers: list[Offer] = []
        self.strange: list[str] = []
        for path, target in sorted(targets.items()):
            try:
                self.offers.append(_offer(path, target))
            except (EdgeError, KeyError) as error:
                self.strange.append(str(error))

    def fetch(self, offer: Offer) -> bytes:
        """Fetch an offer; what is returned has its signed length and digest.

        Raises
        ------
        UpdateError
            It cannot be had, or is not what was signed.
        """
        self._incoming.mkdir(parents=True, exist_ok=True)
        path = self._incoming / f"{offer.sha256}.tar"
        with _explained():
            target = self._updater.get_targetinfo(offer.item.path)
            if target is None or target.hashes.get("sha256") != offer.sha256:
                raise UpdateError("not_trusted", f"{offer.item.id} is not offered any more")
            if self._updater.find_cached_target(target, str(path)) is None:
                self._updater.download_target(target, str(path))
            data = path.read_bytes()
            target.verify_length_and_hashes(data)
        return data

    def forget(self, offer: Offer) -> None:
        """Delete the archive: it was unpacked, or refused."""
        (self._incoming / f"{offer.sha256}.tar").unlink(missing_ok=True)


def _offer(path: str, target: TargetFile) -> Offer:
    item = Item.of_target(path, target.custom)
    if target.length > MAX_TARGET:
        raise EdgeError(f"{path}: {target.length} bytes are more than a box takes")
    return Offer(item, target.hashes["sha256"], target.length)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what TUF finds into a reason with its next action."""
    try:
        yield
    except exceptions.ExpiredMetadataError as error:
        raise UpdateError("expired", f"the offer of updates has run out: {error}") from error
    except SlowError as error:
        raise UpdateError("slow", f"an update comes too slowly: {error}") from error
    except exceptions.DownloadLengthMismatchError as error:
        raise UpdateError("not_trusted", f"a file does not end where it must: {error}") from error
    except exceptions.DownloadError as error:
        raise UpdateError("unreachable", f"updates cannot be fetched: {error}") from error
    except (exceptions.RepositoryError, ValueError, KeyError, TypeError) as error:
        raise UpdateError("not_trusted", f"what is offered is not believed: {error}") from error
    except OSError as error:
        raise UpdateError("disk", f"an update cannot be kept: {error.strerror or error}") from error
