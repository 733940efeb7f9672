"""Look at the whole box and say, line by line, what is well and how to mend the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_daemon.doctor import checks, part_checks

if TYPE_CHECKING:
    from edge_daemon.doctor.checks import Check
    from edge_daemon.doctor.facts import Facts

__all__ = ["judge"]


def judge(facts: Facts) -> list[Check]:
    """Turn facts into lines, in the order a person mends things in."""
    found = [
        checks.config(facts.config),
        checks.data_folder(facts.folder),
        checks.mount(facts.mount),
        checks.space(facts.space),
        checks.sqlite_version(facts.sqlite_version),
        checks.database(facts.database),
        checks.backups(facts.backups, facts.database.exists),
        *map(checks.wear, facts.wear),
        checks.journal(facts.journal_mb),
        checks.power(facts.power),
        checks.temperature(facts.power),
        checks.memory(facts.memory),
        checks.clock(facts.time),
        part_checks.profiles(facts.probe),
        part_checks.models(facts.probe),
        part_checks.telemetry(facts.probe),
        part_checks.confinement(facts.unconfined),
        *(part_checks.source(source, facts.service) for source in facts.sources),
        part_checks.server(facts.server, facts.service),
        part_checks.updates(facts.updates),
        part_checks.page(facts.page, facts.service),
        part_checks.service(facts.service),
        *part_checks.conditions(facts.service),
    ]
    return [check for check in found if check is not None]
