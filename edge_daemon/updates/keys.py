"""Signing keys as files: Ed25519, encrypted with a passphrase, readable to their owner alone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, SSlibKey

from edge_daemon.errors import EdgeError, Fatal

if TYPE_CHECKING:
    from pathlib import Path

    from securesystemslib.signer import Key


def make_key(path: Path, passphrase: bytes) -> Key:
    """Make ``PATH.key`` (0600, encrypted) and ``PATH.pub``, and return the public key.

    Raises
    ------
    Fatal
        A file of that name is there.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    _new_file(path.with_name(f"{path.name}.key"), pem, 0o600)
    _new_file(path.with_name(f"{path.name}.pub"), public, 0o644)
    return SSlibKey.from_crypto(key.public_key())


def read_public(path: Path) -> Key:
    """Read a public key.

    Raises
    ------
    EdgeError
        It is none of Ed25519: boxes verify nothing else.
    """
    try:
        key = SSlibKey.from_crypto(serialization.load_pem_public_key(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise EdgeError(f"{path}: is no public key: {error}") from error
    if key.keytype != "ed25519":
        raise EdgeError(f"{path}: is a key of {key.keytype}; boxes verify Ed25519 alone")
    return key


def read_signer(path: Path, passphrase: bytes) -> CryptoSigner:
    """Read a private key.

    Raises
    ------
    EdgeError
        It cannot be read: another file, or another passphrase.
    """
    if path.stat().st_mode & 0o077:
        raise EdgeError(
            f"{path}: others than its owner can read this key",
            action=f"Run `chmod 600 {path}`, and think about whether it is still yours alone.",
        )
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), passphrase)
    except (OSError, ValueError, TypeError) as error:
        raise EdgeError(
            f"{path}: the key cannot be read: {error}", action="Check the passphrase."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise EdgeError(f"{path}: is no Ed25519 key")
    return CryptoSigner(key)


def _new_file(path: Path, data: bytes, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise Fatal(
            f"{path}: exists already and was not changed", action="Name another file."
        ) from None
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
