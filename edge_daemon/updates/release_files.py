"""Pieces of the release side that need no repository: files, and what keys are enough."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Targets

from edge_daemon.errors import EdgeError, Fatal
from edge_daemon.updates.folder import sync_folder
from edge_daemon.updates.kinds import Item, version_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securesystemslib.signer import Signer


def items_of(targets: Metadata[Targets] | None) -> list[Item]:
    """List the items of published or drafted targets, by key and version."""
    if targets is None:
        return []
    found = [Item.of_target(path, t.custom) for path, t in targets.signed.targets.items()]
    found.sort(key=lambda item: (item.key, version_key(item.version)))
    return found


def must_hold(root: Root) -> None:
    """Refuse thresholds that a role's keys cannot reach."""
    for name, role in root.roles.items():
        if not 1 <= role.threshold <= len(role.keyids):
            raise EdgeError(
                f"{name} would need {role.threshold} signatures of {len(role.keyids)} keys",
                action="Give it more keys, or a lower threshold.",
            )


def signers_of(root: Root, role: str, signers: Sequence[Signer]) -> list[Signer]:
    """Pick the signers of a role; refuse too few."""
    wanted = root.roles[role]
    found = [signer for signer in signers if signer.public_key.keyid in wanted.keyids]
    if len(found) < wanted.threshold:
        raise EdgeError(
            f"{len(found)} of {wanted.threshold} keys of {role} were given",
            action=f"Give the key files of {role} with --key.",
        )
    return found


def read_metadata(path: Path) -> Metadata[Any]:
    """Read a file of metadata."""
    try:
        return Metadata.from_file(str(path))
    except (exceptions.RepositoryError, OSError, ValueError) as error:
        raise Fatal(f"{path}: cannot be read: {error}", action="Restore the repository.") from error


def write_whole(path: Path, data: bytes) -> None:
    """Put a file in place whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.new")
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise Fatal(f"{path}: cannot be written: {error.strerror}") from error
