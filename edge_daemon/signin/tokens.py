"""Secrets that cannot be guessed, and how they are looked up."""

from __future__ import annotations

import hashlib
import secrets


def new_token() -> str:
    """Make a secret that cannot be guessed."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """Look tokens up by digest, so that the time a look-up takes says nothing about them."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
