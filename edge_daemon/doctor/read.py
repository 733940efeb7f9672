"""Read everything that `doctor` judges."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from edge_daemon.config import ConfigError, Settings, load_config, usable_cores
from edge_daemon.doctor import read_parts, read_store, read_system
from edge_daemon.doctor.access import service_account
from edge_daemon.doctor.facts import Config, Facts
from edge_daemon.sandbox import missing
from edge_daemon.updates.places import own_plan, with_updates

if TYPE_CHECKING:
    from pathlib import Path

_LEAST_FREE_MB: Final = 200


def read_facts(config: Path, data_dir: Path, pid: int | None, status_file: Path) -> Facts:
    """Read the facts about this box.

    Parameters
    ----------
    config
        The configuration file; it need not exist or hold.
    data_dir
        The data folder; it need not exist.
    pid
        Process that holds it, or None.
    status_file
        What the running service says of itself.
    """
    settings, said = _configuration(config)
    account = service_account()
    plan = with_updates(own_plan(settings), data_dir)
    needed = settings.limits.min_free_mb if settings else _LEAST_FREE_MB
    near = _existing(data_dir)
    return Facts(
        config=said,
        folder=read_store.folder(data_dir, account),
        space=read_system.space(near, needed),
        mount=read_system.mount(near),
        sqlite_version=sqlite3.sqlite_version,
        database=read_store.database(data_dir),
        backups=read_store.backups(data_dir),
        wear=read_system.wear(),
        power=read_system.power(),
        time=read_system.time(),
        sources=tuple(
            read_parts.source(source, account) for source in (settings.source if settings else ())
        ),
        probe=read_parts.probe(plan.profile_dirs, plan.model_dirs),
        unconfined=missing(),
        memory=read_system.memory(settings.workers.count if settings else usable_cores()),
        service=read_parts.service(pid, status_file),
        server=read_parts.server(data_dir, settings.sync.proxy if settings else None),
        page=read_parts.page(settings.web, status_file) if settings else None,
        journal_mb=read_system.journal_mb(),
        updates=read_parts.updates(data_dir),
    )


def _configuration(path: Path) -> tuple[Settings | None, Config]:
    if not path.is_file():
        return None, Config(str(path), None)
    try:
        return load_config(path), Config(str(path), ())
    except ConfigError as error:
        return None, Config(str(path), tuple(map(str, error.problems)))


def _existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
