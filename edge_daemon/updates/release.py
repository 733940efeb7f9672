"""The side that signs: a repository of updates, built step by step and published whole.

::

    REPO/
      draft/           what will be signed next: root.json, targets.json
      metadata/        what is published; a static web server serves it as it is
      targets/

Offline keys sign the draft of root and targets, wherever they are; the keys of snapshot and
timestamp sign when it is published, and every few weeks after. Needs `cryptography`.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from edge_daemon.errors import EXIT_NOT_FOUND, EdgeError, Fatal
from edge_daemon.updates.kinds import Item
from edge_daemon.updates.release_files import (
    items_of,
    must_hold,
    read_metadata,
    signers_of,
    write_whole,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from securesystemslib.signer import Key, Signer

ROLES: Final = ("root", "targets", "snapshot", "timestamp")
DAYS: Final[Mapping[str, int]] = {"root": 730, "targets": 365, "snapshot": 30, "timestamp": 30}
"""How long each part holds after it was signed; only updates wait when one has run out."""


class Repository:
    """One repository in a folder.

    Parameters
    ----------
    folder
        Of the repository.
    now
        The present time, UTC.
    """

    def __init__(self, folder: Path, now: datetime | None = None) -> None:
        self.folder = folder
        self.metadata = folder / "metadata"
        self.targets = folder / "targets"
        self._draft = folder / "draft"
        self._now = (now or datetime.now(UTC)).replace(microsecond=0)

    # Keys and root

    def init(self, keys: Mapping[str, Sequence[Key]], thresholds: Mapping[str, int]) -> None:
        """Begin a repository: a first draft of root and of empty targets.

        Raises
        ------
        Fatal
            There is one in the folder.
        """
        if self._draft.exists() or self.metadata.exists():
            raise Fatal(f"{self.folder}: there is a repository already", action="Name another.")
        root = Root(version=1, expires=self._until("root"), consistent_snapshot=True)
        for role in ROLES:
            for key in keys[role]:
                root.add_key(key, role)
            root.roles[role].threshold = thresholds.get(role, 1)
        must_hold(root)
        for folder in (self._draft, self.metadata, self.targets):
            folder.mkdir(parents=True)
        self._put_draft("root", Metadata(root))
        self._put_draft("targets", Metadata(Targets(1, expires=self._until("targets"))))

    def rotate(
        self,
        role: str,
        *,
        add: Sequence[Key] = (),
        remove: Sequence[str] = (),
        threshold: int | None = None,
    ) -> None:
        """Change who signs for a role, in a new draft of the root.

        The draft needs the signatures of the old root's keys and of the new one's.

        Raises
        ------
        EdgeError
            A key that is removed is none of the role, or too few would be left.
        """
        root = self._edit_root()
        for key in add:
            root.signed.add_key(key, role)
        for keyid in remove:
            full = [k for k in root.signed.roles[role].keyids if k.startswith(keyid)]
            if len(full) != 1:
                raise EdgeError(f"{keyid!r} is no key of {role}", action="See `release show`.")
            root.signed.revoke_key(full[0], role)
        if threshold is not None:
            root.signed.roles[role].threshold = threshold
        must_hold(root.signed)
        self._put_draft("root", root)
        if role == "targets":  # what is published must hold under the new keys too
            self._put_draft("targets", self._edit_targets())

    # Targets

    def add(self, item: Item, data: bytes) -> str:
        """Put an archive into the draft of targets; return its digest.

        Raises
        ------
        EdgeError
            The same version was added with other bytes: a version never changes.
        """
        draft = self._edit_targets()
        sha256 = hashlib.sha256(data).hexdigest()
        known = draft.signed.targets.get(item.path)
        if known is not None and known.hashes["sha256"] != sha256:
            raise EdgeError(
                f"{item.id} is there already, with other bytes",
                action="Give it a higher version: boxes remember versions.",
            )
        folder, _, name = item.path.rpartition("/")
        write_whole(self.targets / folder / f"{sha256}.{name}", data)
        custom = {"custom": item.custom()}
        draft.signed.targets[item.path] = TargetFile(
            len(data), {"sha256": sha256}, item.path, custom
        )
        self._put_draft("targets", draft)
        return sha256

    def remove(self, key: str, version: str | None) -> list[str]:
        """Take versions out of the draft of targets; return their ids.

        Raises
        ------
        EdgeError
            There is no such version.
        """
        draft = self._edit_targets()
        gone = [
            item
            for path, target in draft.signed.targets.items()
            if (item := Item.of_target(path, target.custom)).key == key
            and version in {None, item.version}
        ]
        if not gone:
            raise Fatal(
                f"there is no {key}{f'@{version}' if version else ''}",
                action="See `edge-daemon release show`.",
                exit_code=EXIT_NOT_FOUND,
            )
        for item in gone:
            del draft.signed.targets[item.path]
        self._put_draft("targets", draft)
        return [item.id for item in gone]

    # Signing and publishing

    def sign(self, signers: Sequence[Signer]) -> dict[str, str]:
        """Add signatures to whatever draft these keys may sign; return role → how far it is."""
        root = self._trusted_root()
        done = {}
        for role in ("root", "targets"):
            draft = self._read_draft(role)
            if draft is None:
                continue
            allowed = set(root.signed.roles[role].keyids)
            former = self._published_root()
            if role == "root" and former is not None:
                allowed |= set(former.signed.roles["root"].keyids)
            for signer in signers:
                if signer.public_key.keyid in allowed:
                    draft.sign(signer, append=True)
            self._put_draft(role, draft)
            done[role] = self._missing(role, draft) or "enough signatures"
        if not done:
            raise EdgeError("there is no draft to sign", action="`release add` makes one.")
        return done

    def publish(self, signers: Sequence[Signer]) -> dict[str, int]:
        """Publish the drafts that are signed, with a new snapshot and timestamp.

        Returns
        -------
        dict
            Role → version that is published now.

        Raises
        ------
        EdgeError
            A draft has too few signatures, or a key of snapshot or timestamp is missing.
        """
        drafts = {role: self._read_draft(role) for role in ("root", "targets")}
        judged = {**drafts, "targets": drafts["targets"] or self._newest("targets")}
        for role, draft in judged.items():
            if draft is not None and (lacking := self._missing(role, draft)):
                raise EdgeError(
                    f"the draft of {role} lacks signatures: {lacking}",
                    action="Run `edge-daemon release sign` with further keys.",
                )
        root = self._trusted_root()
        by_role = {
            role: signers_of(root.signed, role, signers) for role in ("snapshot", "timestamp")
        }
        for role, draft in drafts.items():
            if draft is not None:
                write_whole(self.metadata / f"{draft.signed.version}.{role}.json", draft.to_bytes())
        targets = drafts["targets"] or self._newest("targets")
        if targets is None:
            raise EdgeError("nothing was ever added", action="Run `edge-daemon release add`.")
        self._renew(targets.signed.version, by_role)
        for role, draft in drafts.items():
            if draft is not None:
                (self._draft / f"{role}.json").unlink()
        return self.versions()

    def renew(self, signers: Sequence[Signer]) -> dict[str, int]:
        """Sign snapshot and timestamp anew, so that they do not run out."""
        root = self._trusted_root()
        targets = self._newest("targets")
        if targets is None:
            raise EdgeError("nothing is published yet", action="Run `edge-daemon release publish`.")
        by_role = {
            role: signers_of(root.signed, role, signers) for role in ("snapshot", "timestamp")
        }
        self._renew(targets.signed.version, by_role)
        return self.versions()

    def _renew(self, targets_version: int, by_role: Mapping[str, Sequence[Signer]]) -> None:
        snapshot = self._newest("snapshot")
        number = 1 if snapshot is None else snapshot.signed.version + 1
        made = Metadata(
            Snapshot(
                version=number,
                expires=self._until("snapshot"),
                meta={"targets.json": MetaFile(targets_version)},
            )
        )
        for signer in by_role["snapshot"]:
            made.sign(signer, append=True)
        data = made.to_bytes()
        write_whole(self.metadata / f"{number}.snapshot.json", data)
        former = self._newest("timestamp")
        stamp = Metadata(
            Timestamp(
                version=1 if former is None else former.signed.version + 1,
                expires=self._until("timestamp"),
                snapshot_meta=MetaFile(
                    number, len(data), {"sha256": hashlib.sha256(data).hexdigest()}
                ),
            )
        )
        for signer in by_role["timestamp"]:
            stamp.sign(signer, append=True)
        write_whole(self.metadata / "timestamp.json", stamp.to_bytes())

    def copy_to(self, place: Path) -> int:
        """Bring a served folder or a stick up to date; return the number of new files.

        What points at other files goes last, so that a box that looks meanwhile finds the old
        state whole. ``root.json`` beside them is what boxes are told to trust.
        """
        if not (self.metadata / "timestamp.json").is_file():
            raise EdgeError("nothing is published yet", action="Run `edge-daemon release publish`.")
        files = sorted(p for p in self.targets.rglob("*") if p.is_file())
        files += sorted(self.metadata.glob("*.*.json"))
        new = 0
        for path in files:
            copy = place / path.relative_to(self.folder)
            if not copy.is_file() or copy.stat().st_size != path.stat().st_size:
                write_whole(copy, path.read_bytes())
                new += 1
        write_whole(place / "metadata" / "timestamp.json", self._file("timestamp"))
        first = (self.metadata / "1.root.json").read_bytes()
        write_whole(place / "root.json", first)
        return new

    # Looking

    def versions(self) -> dict[str, int]:
        """Return role → version of what is published."""
        found = {role: self._newest(role) for role in ROLES}
        return {role: meta.signed.version for role, meta in found.items() if meta is not None}

    def published(self) -> list[Item]:
        """List the items that are published, by kind, name and version."""
        return items_of(self._newest("targets"))

    def describe(self) -> dict[str, Any]:
        """Return what is published and what is in the draft, for people and for JSON."""
        root = self._trusted_root().signed
        keys = {
            role: {
                "threshold": root.roles[role].threshold,
                "keys": [keyid[:16] for keyid in root.roles[role].keyids],
            }
            for role in ROLES
        }
        expires = {
            role: meta.signed.expires.isoformat()
            for role in ROLES
            if (meta := self._newest(role)) is not None
        }
        drafts = {
            role: self._missing(role, draft) or "enough signatures"
            for role in ("root", "targets")
            if (draft := self._read_draft(role)) is not None
        }
        draft = self._read_draft("targets")
        return {
            "folder": str(self.folder),
            "versions": self.versions(),
            "expires": expires,
            "roles": keys,
            "drafts": drafts,
            "published": [item.custom() for item in self.published()],
            "draft": None if draft is None else [item.custom() for item in items_of(draft)],
        }

    # Files

    def _until(self, role: str) -> datetime:
        return self._now + timedelta(days=DAYS[role])

    def _trusted_root(self) -> Metadata[Root]:
        """Return the root that signatures are held against: the draft, else the published one."""
        root = self._read_draft("root") or self._published_root()
        if root is None:
            raise Fatal(
                f"{self.folder}: there is no repository of updates",
                action="Make one with `edge-daemon release init`.",
                exit_code=EXIT_NOT_FOUND,
            )
        return root

    def _published_root(self) -> Metadata[Root] | None:
        return self._newest("root")

    def _missing(self, role: str, draft: Metadata[Any]) -> str:
        """Say which signatures a draft lacks; empty when there are enough."""
        verifiers = [self._trusted_root()]
        former = self._published_root()
        if role == "root" and former is not None:
            verifiers.append(former)
        lacking = []
        for root in verifiers:
            found = root.signed.get_verification_result(role, draft.signed_bytes, draft.signatures)
            if not found.verified:
                whose = "of the former root " if root is former and len(verifiers) > 1 else ""
                lacking.append(f"{whose}{len(found.signed)} of {found.threshold}")
        return ", ".join(lacking)

    def _edit_root(self) -> Metadata[Root]:
        draft = self._read_draft("root")
        if draft is None:
            draft = self._published_root()
            if draft is None:
                raise EdgeError("there is no root to change", action="Run `release init`.")
            draft.signed.version += 1
        draft.signed.expires = self._until("root")
        draft.signatures.clear()
        return draft

    def _edit_targets(self) -> Metadata[Targets]:
        self._trusted_root()
        draft = self._read_draft("targets")
        if draft is None:
            draft = self._newest("targets")
            assert draft is not None, "a repository without draft has published targets"
            draft.signed.version += 1
        draft.signed.expires = self._until("targets")
        draft.signatures.clear()
        return draft

    def _read_draft(self, role: str) -> Metadata[Any] | None:
        path = self._draft / f"{role}.json"
        return read_metadata(path) if path.is_file() else None

    def _put_draft(self, role: str, draft: Metadata[Any]) -> None:
        write_whole(self._draft / f"{role}.json", draft.to_bytes())

    def _newest(self, role: str) -> Metadata[Any] | None:
        if role == "timestamp":
            path = self.metadata / "timestamp.json"
            return read_metadata(path) if path.is_file() else None
        found = sorted(
            self.metadata.glob(f"*.{role}.json"), key=lambda p: int(p.name.partition(".")[0])
        )
        return read_metadata(found[-1]) if found else None

    def _file(self, role: str) -> bytes:
        return (self.metadata / f"{role}.json").read_bytes()
