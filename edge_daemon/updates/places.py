"""Where everything is searched for: what ships, the site's own, and the updates in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_daemon.resources import models_dir, profiles_dir
from edge_daemon.tasks import Plan
from edge_daemon.updates.folder import UpdateFolder, active_folders

if TYPE_CHECKING:
    from pathlib import Path

    from edge_daemon.config import Settings

_MAX_BYTES: Final = 64 << 20


def own_plan(settings: Settings | None) -> Plan:
    """Search what ships, then the site's own; no updates."""
    if settings is None:
        return Plan((profiles_dir(),), (models_dir(),), _MAX_BYTES)
    return Plan(
        profile_dirs=(profiles_dir(), *settings.profiles.extra_dirs),
        model_dirs=(models_dir(), *settings.models.extra_dirs),
        max_bytes=settings.limits.max_file_mb << 20,
    )


def with_updates(plan: Plan, data_dir: Path) -> Plan:
    """Search the updates in use after everything else.

    A profile that ships or is the site's own cannot be changed by one that comes later; of model
    bundles the newest version of a name is used.
    """
    return Plan(
        profile_dirs=(*plan.profile_dirs, *active_folders(data_dir, "profile")),
        model_dirs=(*plan.model_dirs, *active_folders(data_dir, "model")),
        max_bytes=plan.max_bytes,
    )


def plan_with(plan: Plan, data_dir: Path, key: str, place: Path) -> Plan:
    """Search as the box would with another version of one item in use.

    Parameters
    ----------
    plan
        What ships and the site's own.
    data_dir
        Of the box.
    key
        Of the item.
    place
        Search folder of that version.
    """
    kind = key.partition("/")[0]
    beside = UpdateFolder(data_dir).versions_of(key)
    others = {
        name: [path for path in active_folders(data_dir, name) if path.parent != beside]
        for name in ("profile", "model")
    }
    if kind in others:
        others[kind].append(place)
    return Plan(
        profile_dirs=(*plan.profile_dirs, *others["profile"]),
        model_dirs=(*plan.model_dirs, *others["model"]),
        max_bytes=plan.max_bytes,
    )
