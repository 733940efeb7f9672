"""Commands for whoever runs the box: service, one-shot analysis, status, configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import errors
from edge_daemon.cli import options, output
from edge_daemon.cli.config_show import config_show
from edge_daemon.wording import counted

if TYPE_CHECKING:
    from edge_daemon.cli.output import Form, Record
    from edge_daemon.config import Settings
    from edge_daemon.tasks import Plan

PROCESS_KEYS: Final = (
    "file", "sha256", "status", "reason", "profile", "model", "events", "counts",
    "measurements", "flags",
)  # fmt: skip
"""Keys of one object of ``process --json``; other software relies on exactly these."""

SIMULATED_FLAG: Final = {
    "code": "simulated",
    "severity": "info",
    "message": f"{output.SIMULATED}: not a patient's result",
    "action": "",
}

_config_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@options.config_option
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar=options.DATA_VARIABLE,
    metavar="DIR",
    help=f"Use this folder instead of the configured one (environment {options.DATA_VARIABLE}).",
)
@click.option(
    "--strict",
    is_flag=True,
    help="End with exit code 78 when the configuration is wrong, instead of going on with the last "
    "good one.",
)
def run(config_file: Path, data_dir: Path | None, strict: bool) -> int:
    """Run the service until SIGTERM or Ctrl-C.

    Watches the configured folders, analyses what arrives and keeps the results. Logs one JSON
    object a line on stderr. When the configuration cannot be used, the service goes on with the
    last one it has started with, and says so.
    """
    from edge_daemon.clock import SystemClock
    from edge_daemon.last_good import choose
    from edge_daemon.service import run_service

    chosen = choose(config_file, data_dir, strict=strict)
    if chosen.doubt is not None:
        said = chosen.doubt.describe()
        output.say(f"{said['message']}\n{output.next_action(said['action'])}")
    return run_service(chosen.settings, SystemClock(), chosen.file, chosen.doubt)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.data_dir_option
@click.option("--profile", "profile_id", metavar="ID", help="Decode with this profile.")
@click.option(
    "--dataset",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Data set of files that hold several.",
)
@click.option("--replay", is_flag=True, help="Analyse again what has a result already.")
@options.json_option
def process(
    paths: tuple[Path, ...],
    data_dir: Path,
    profile_id: str | None,
    dataset: int,
    replay: bool,
    as_json: bool,
) -> int:
    """Analyse files or folders once and store the results.

    With --json: one object a capture, one a line, in the order of the files. Exit code 3 when a
    capture could not be used; the others are analysed all the same.
    """
    from edge_daemon.pipeline import process_files

    how = output.form(as_json=as_json)
    options.existing(paths)
    skipped: list[Path] = []
    records: list[Record] = []
    with output.progress("Analysing", how) as advance:
        for record in process_files(
            paths,
            data_dir=data_dir,
            plan=site_plan(data_dir),
            profile_id=profile_id,
            dataset=dataset,
            replay=replay,
            progress=advance,
            skipped=skipped.append,
        ):
            records.append(_marked(record))
            if how == "json":
                output.emit_line({key: record[key] for key in PROCESS_KEYS})
    if skipped:
        names = ", ".join(sorted({path.name for path in skipped})[:5])
        files = counted(len(skipped), "file")
        output.say(f"{files} not taken, no profile takes such names: {names}")
    if not records:
        output.say("No captures found.")
    elif how != "json":
        _process_table(records, how)
        _say_where(records, data_dir)
    bad = any(record["reason"] for record in records)
    return errors.EXIT_WARNINGS if bad else errors.EXIT_OK


def site_plan(data_dir: Path) -> Plan:
    """Take profiles, models and limits of this box's service, so that both see a capture alike."""
    from edge_daemon.updates.places import own_plan, with_updates

    return with_updates(own_plan(options.box_settings()), data_dir)


def _say_where(records: list[Record], data_dir: Path) -> None:
    commands = ["results"] if any(r["status"] == "classified" for r in records) else []
    commands += ["reports"] if any(r["report_ids"] for r in records) else []
    commands += ["quarantine"] if any(r["reason"] for r in records) else []
    for command in commands:
        output.say(f"\nMore: edge-daemon {command} --data-dir {data_dir}")


def _marked(record: Record) -> Record:
    """Add the permanent mark of simulated captures as a flag, for `process --json`."""
    if record["simulated"]:
        record["flags"] = [*record["flags"], SIMULATED_FLAG]
    return record


def _process_table(records: list[Record], how: Form) -> None:
    column = output.Column
    called = any(r["status"] == "classified" for r in records)
    columns = [
        column("file", "File", lambda r: Path(r["file"]).name),
        column("status", "Status", lambda r: r["status"]),
        column("profile", "Profile", lambda r: r["profile"]),
        column("events", "Events", lambda r: r["events"], right=True),
        *(output.measurement_column(code) for code in output.LISTED if called),
    ]
    if any(r["simulated"] for r in records):
        columns.append(column("simulated", "Mark", output.simulated_mark))
    if any(r["duplicate_of"] for r in records):
        columns.append(column("note", "Note", _seen_before))
    output.listing(columns, records, how, empty="")
    _say_reasons(records)


def _seen_before(record: Record) -> str:
    known = record["duplicate_of"]
    if known is None:
        return ""
    name = "" if known["name"] == Path(record["file"]).name else f" as {known['name']}"
    return f"known{name}"


def _say_reasons(records: list[Record]) -> None:
    """Say each reason once: a folder of one wrong instrument must not fill the screen."""
    alike: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if why := record["reason"]:
            alike.setdefault((why["code"], why["action"]), []).append(record)
    for (code, action), group in alike.items():
        output.say(f"\n{code}: {group[0]['reason']['message']}")
        if len(group) > 1:
            output.say(f"  and {len(group) - 1} more")
        if action:
            output.say(output.next_action(action))


@click.group()
def config() -> None:
    """Write, check or describe the configuration."""


@config.command("init")
@click.argument("file", type=_config_file, required=False)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--yes", is_flag=True, help="Ask nothing: take what is suggested.")
@click.option("--folder", type=click.Path(path_type=Path), help="Folder the analyzer exports into.")
@click.option("--port", type=click.Path(path_type=Path), help="Serial port of the analyzer.")
@click.option("--listen", metavar="HOST:PORT", help="Address that the analyzer connects to.")
@click.option("--connect", metavar="HOST:PORT", help="Address of the analyzer to connect to.")
@click.option("--allow", multiple=True, metavar="ADDRESS", help="Who may connect; may be repeated.")
@click.option("--profile", metavar="ID", help="Profile of an analyzer on a line.")
@click.option("--name", help="Name of the analyzer.")
@click.option(
    "--page",
    type=click.Choice(["box", "clinic", "none"]),
    help="Who may open the technician's page: this box, computers in the clinic, nobody.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="With --yes: wait so long for a first file or byte.",
)
def config_init(file: Path | None, force: bool, **said: Any) -> int | None:
    """Find the analyzer, write a commented configuration, start the service.

    On a terminal it asks; in a script give --yes and a place. It tries the files that are there
    and says how many of them can be read. Without a terminal and without a place it writes the
    commented defaults to FILE, or to stdout. FILE is the service's configuration unless given.
    Exit code 3 when something is left to do.
    """
    from edge_daemon.cli.wizard import Answers, converse

    answers = Answers(**said)
    if answers.yes or answers.given or (sys.stdin.isatty() and sys.stdout.isatty()):
        return converse(file or options.config_path(), answers, force=force)
    _write_defaults(file, force=force)
    return None


def _write_defaults(file: Path | None, *, force: bool) -> None:
    from edge_daemon.config import default_config_text

    text = default_config_text()
    if file is None:
        click.echo(text, nl=False)
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise errors.Fatal(
            f"{file}: exists already and was not changed",
            action="Give another name, or --force to replace it.",
        ) from None
    output.say(
        f"Wrote {file}. Set [[source]] path to the analyzer's export folder, then run "
        f"`edge-daemon config check {file}`."
    )


@config.command("check")
@click.argument(
    "file",
    type=_config_file,
    envvar=options.CONFIG_VARIABLE,
    default=options.DEFAULT_CONFIG,
)
@options.json_option
def config_check(file: Path, as_json: bool) -> int:
    """Check FILE and list every problem with its key; exit code 78 when there are any.

    FILE defaults to the environment's EDGE_DAEMON_CONFIG, then /etc/edge-daemon/config.toml.
    """
    from edge_daemon.config import ConfigError, load_config, must_exist

    must_exist(file)
    try:
        settings = load_config(file)
        _must_be_usable(file, settings)
    except ConfigError as error:
        if not as_json:
            raise
        problems = [{"key": p.key, "value": p.value, "message": p.message} for p in error.problems]
        output.emit_json({"file": str(file), "ok": False, "problems": problems})
        return error.exit_code
    found = _doubts(settings)
    if as_json:
        output.emit_json({"file": str(file), "ok": True, "problems": found})
    else:
        _describe(settings, file)
        for doubt in found:
            output.say(f"{doubt['value']}: {doubt['message']}")
    return errors.EXIT_WARNINGS if found else errors.EXIT_OK


def _must_be_usable(file: Path, settings: Settings) -> None:
    """Check what only other files can tell: framings of lines, and the site's own intervals."""
    from edge_daemon.config import ConfigError, Problem
    from edge_daemon.decode.registry import Registry
    from edge_daemon.lines import unusable
    from edge_daemon.reference.loading import shipped_rules, site_files
    from edge_daemon.service import plan_for

    problems = unusable(settings, Registry.load(plan_for(settings).profile_dirs))
    for read in site_files(settings.reference.extra_dirs, shipped_rules()):
        problems += tuple(
            Problem("reference.extra_dirs", str(read.path), str(problem))
            for problem in read.problems
        )
    if problems:
        raise ConfigError(file, problems)


def _doubts(settings: Settings) -> list[dict[str, str]]:
    """List what is missing now and may come later, and names that may not last."""
    from edge_daemon.source_settings import FolderSource, SerialSource
    from edge_daemon.sources.ports import lasting_name

    found = []
    for source in settings.source:
        key, value, message = f"source.{source.name}", "", ""
        if isinstance(source, FolderSource) and not source.path.is_dir():
            key, value = f"{key}.path", str(source.path)
            message = f"no such folder; {source.name!r} waits until it appears."
        elif isinstance(source, SerialSource):
            key, value = f"{key}.port", str(source.port)
            if not source.port.exists():
                message = f"no such port; {source.name!r} waits until it appears."
            elif lasting := lasting_name(source.port):
                message = f"may be another device after a restart; write {lasting}"
        if message:
            found.append({"key": key, "value": value, "message": message})
    return found + [
        {
            "key": f"{section}.extra_dirs",
            "value": str(folder),
            "message": f"no such folder; the service works without its {section}.",
        }
        for section in ("profiles", "models")
        for folder in getattr(settings, section).extra_dirs
        if not folder.is_dir()
    ]


def _describe(settings: Settings, file: Path) -> None:
    click.echo(f"{file}: ok")
    click.echo(f"data       {settings.box.data_dir}")
    for source in settings.source:
        click.echo(f"source     {source.name}: {_place(source)}")
    click.echo(f"workers    {settings.workers.count} × {settings.workers.memory_mb} MB")


def _place(source: Any) -> str:
    """Where a source's captures come from."""
    if source.kind == "folder":
        return f"{source.path} ({', '.join(source.patterns)})"
    framed = f"framing {source.framing}" if source.framing else f"as {source.profile} says"
    if source.kind == "serial":
        return f"{source.port} ({framed})"
    if source.listen:
        return f"listens on {source.listen} ({framed})"
    return f"connects to {source.connect} ({framed})"


config.add_command(config_show)


@config.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from edge_daemon.config import json_schema

    output.emit_json(json_schema())


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    For bash: edge-daemon completion bash > ~/.local/share/bash-completion/completions/edge-daemon
    """
    from click.shell_completion import get_completion_class

    from edge_daemon.cli import COMPLETE_VARIABLE, PROGRAM, cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, PROGRAM, COMPLETE_VARIABLE).source())
