"""Where the files that ship with the product lie: installed wheel or checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def profiles_dir() -> Path:
    """Directory of the shipped instrument profiles."""
    return _shipped("firmware_profiles")


def systemd_dir() -> Path:
    """Directory of the shipped systemd units."""
    return _shipped("systemd")


def models_dir() -> Path:
    """Directory of the shipped model bundles."""
    return _PACKAGE / "models"


def reference_pictures_dir() -> Path:
    """Directory of the pictures of healthy animals."""
    return _PACKAGE / "reference_pictures"


def docs_dir() -> Path:
    """Directory of the documentation the box serves offline."""
    return _PACKAGE / "docs"


def _shipped(name: str) -> Path:
    """Find a top-level folder: inside the package in a wheel, beside it in a checkout."""
    in_wheel = _PACKAGE / "_shipped" / name
    return in_wheel if in_wheel.is_dir() else _PACKAGE.parent / name
