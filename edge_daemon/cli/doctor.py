"""Look at the whole box and say how to mend it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from edge_daemon import errors
from edge_daemon.cli import options, output

if TYPE_CHECKING:
    from pathlib import Path

    from edge_daemon.doctor.checks import Check

_MARKS: Final = {"ok": ("✓", "green"), "doubt": ("!", "yellow"), "bad": ("✗", "red")}
_PLAIN: Final = {"✓": "+", "✗": "x"}


@click.command()
@options.config_option
@options.data_dir_option
@options.json_option
def doctor(config_file: Path, data_dir: Path, as_json: bool) -> int:
    """Look at the whole box, one line a check, and say how to mend what is not well.

    As root it asks as the service's own user whether folders and ports may be used. Exit code 1
    when something does not work (✗), 3 when something should be mended (!).
    """
    from edge_daemon.cli.status import STATUS_FILE, holder
    from edge_daemon.doctor import judge
    from edge_daemon.doctor.read import read_facts

    facts = read_facts(config_file, data_dir, holder(data_dir), data_dir / STATUS_FILE)
    found = judge(facts)
    if output.form(as_json=as_json) == "json":
        checks = [asdict(check) for check in found]
        output.emit_json({"ok": all(c.verdict == "ok" for c in found), "checks": checks})
    else:
        _write(found)
    verdicts = {check.verdict for check in found}
    if "bad" in verdicts:
        return errors.EXIT_FAILED
    return errors.EXIT_WARNINGS if "doubt" in verdicts else errors.EXIT_OK


def _write(found: list[Check]) -> None:
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    room = max(len(check.name) for check in found)
    for check in found:
        mark, colour = _MARKS[check.verdict]
        shown = click.style(mark if utf8 else _PLAIN.get(mark, mark), fg=colour, bold=True)
        # A message of several lines must stay one line here.
        text = output.printable(" ".join(check.text.split()))
        fix = f" {output.next_action(check.fix)}" if check.fix else ""
        click.echo(f"{shown} {check.name:<{room}}  {text}{fix}")
