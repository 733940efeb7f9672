"""Commands for whoever adds an instrument: list, show, detect, decode and test profiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_daemon import errors
from edge_daemon.cli import options, output

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_daemon.cli.output import Record
    from edge_daemon.decode.profile import Profile
    from edge_daemon.decode.registry import Registry
    from edge_daemon.decode.table import RawTable

_capture = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


def _dirs_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--profiles",
        "extra",
        multiple=True,
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIR",
        help="Also the profiles of this folder; may be repeated.",
    )(command)


def _registry(extra: tuple[Path, ...]) -> Registry:
    from edge_daemon.decode.registry import Registry
    from edge_daemon.resources import profiles_dir
    from edge_daemon.updates.folder import active_folders

    settings = options.box_settings()
    site = settings.profiles.extra_dirs if settings else ()
    updates = active_folders(options.present_data_dir(), "profile")
    registry = Registry.load([profiles_dir(), *site, *updates, *extra])
    for problem in registry.problems:
        output.say(f"edge-daemon: left out: {problem.message}")
        output.say(output.next_action(problem.action))
    return registry


def _read(file: Path, registry: Registry) -> tuple[str, bytes]:
    """Return name and content of a capture, which may come in several files."""
    from edge_daemon.parts import PartNames, read_run

    options.existing((file,))
    try:
        return read_run(file, PartNames(registry.part_patterns))
    except errors.Quarantine as error:
        error.message = f"{file.name}: {error.message}"
        raise


@click.group()
def profile() -> None:
    """List, detect, decode and test instrument profiles."""


@profile.command("list")
@_dirs_option
@options.json_option
@options.csv_option
def profile_list(extra: tuple[Path, ...], as_json: bool, as_csv: bool) -> int:
    """List the profiles; a broken one is named on stderr and hides no other."""
    from edge_daemon.updates.folder import active_folders

    registry = _registry(extra)
    updates = active_folders(options.present_data_dir(), "profile")
    updated = {f"{path.parent.name}/{path.stem}" for at in updates for path in at.glob("*/*.toml")}
    records: list[Record] = [
        {
            "id": p.id,
            "title": p.title,
            "vendor": p.vendor,
            "model": p.model,
            "firmware": p.firmware,
            "classify": p.classify,
            "simulated": p.simulated,
            "update": p.id in updated,
            "sha256": p.sha256,
        }
        for _, p in sorted(registry.profiles.items())
    ]
    how = output.form(as_json=as_json, as_csv=as_csv)
    if how == "json":
        output.emit_json(records)
    else:
        output.listing(_PROFILE_COLUMNS, records, how, empty="No profiles.")
    return errors.EXIT_WARNINGS if registry.problems else errors.EXIT_OK


_PROFILE_COLUMNS = (
    output.Column("id", "Profile", lambda r: r["id"]),
    output.Column("title", "Instrument", lambda r: r["title"]),
    output.Column("use", "Use", lambda r: "classify" if r["classify"] else "decode only"),
    output.Column("update", "From", lambda r: "update" if r["update"] else ""),
    output.Column("simulated", "Mark", output.simulated_mark),
)


@profile.command("show")
@click.argument("profile_id", metavar="ID")
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Show instead what each byte of this capture is to the profile.",
)
@_dirs_option
@options.json_option
def profile_show(
    profile_id: str, file: Path | None, extra: tuple[Path, ...], as_json: bool
) -> int | None:
    """Show one profile as it was read, defaults included.

    With --file, show how it reads a capture: the fields of a binary one with their offsets, the
    first bytes of any other. Exit code 3 when something does not fit.
    """
    registry = _registry(extra)
    found = registry.get(profile_id)
    how = output.form(as_json=as_json)
    if file is not None:
        from edge_daemon.cli import layout

        return layout.show(found, *_read(file, registry), how)
    _show_profile(found, how)
    return None


def _show_profile(found: Profile, how: output.Form) -> None:
    fields = found.model_dump(mode="json", exclude_none=True)
    if how == "json":
        output.emit_json(fields)
        return
    channels = fields.pop("channel")
    for key, value in fields.items():
        click.echo(f"{key}: {value if isinstance(value, str) else output.dumps(value)}")
    if channels:
        click.echo()
        output.listing(_CHANNEL_COLUMNS, channels, how, empty="")


_CHANNEL_COLUMNS = (
    output.Column("column", "Column", lambda r: r["column"]),
    output.Column("canonical", "Channel", lambda r: r["canonical"]),
    output.Column("scale", "Scale", lambda r: r["scale"]),
    output.Column("gain", "Gain", lambda r: r["gain"], right=True),
    output.Column("offset", "Offset", lambda r: r["offset"], right=True),
    output.Column("unit", "Unit", lambda r: r["unit"]),
)


@profile.command("detect")
@_capture
@_dirs_option
@options.json_option
def profile_detect(file: Path, extra: tuple[Path, ...], as_json: bool) -> int:
    """Say which profile fits FILE, and why each other does not.

    Exit code 3 unless exactly one fits.
    """
    registry = _registry(extra)
    name, data = _read(file, registry)
    found = registry.detect(data, name)
    matched = [d.profile for d in found if d.matched]
    if output.form(as_json=as_json) == "json":
        output.emit_json(
            [
                {
                    "profile": d.profile,
                    "matched": d.matched,
                    "instrument": d.instrument,
                    "reasons": list(d.reasons),
                }
                for d in found
            ]
        )
    else:
        for detection in found:
            verdict = "fits" if detection.matched else "does not fit"
            click.echo(f"{detection.profile}: {verdict}")
            for reason in detection.reasons:
                click.echo(f"  {output.printable(reason)}")
    if len(matched) == 1:
        return errors.EXIT_OK
    output.say(f"{len(matched)} profiles fit {file.name}; it needs exactly one.")
    return errors.EXIT_WARNINGS


@profile.command("decode")
@_capture
@click.option("--profile", "profile_id", metavar="ID", help="Decode with this profile.")
@click.option(
    "--dataset",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Data set of a file that holds several.",
)
@_dirs_option
@options.json_option
def profile_decode(
    file: Path, profile_id: str | None, dataset: int, extra: tuple[Path, ...], as_json: bool
) -> None:
    """Decode FILE and show its raw columns as recorded: masked, not scaled.

    Without --profile the one that matches is used. Where none does, the columns are read with
    a generic one, which is for looking only: `process` would quarantine such a file.
    """
    from edge_daemon.decode import decode_raw

    registry = _registry(extra)
    name, data = _read(file, registry)
    chosen = registry.get(profile_id) if profile_id else _match_or_generic(registry, data, name)
    try:
        table = decode_raw(data, chosen, name=name, dataset=dataset)
    except errors.Quarantine as error:
        error.message = f"{file.name}: {error.message}"
        raise
    how = output.form(as_json=as_json)
    if how == "json":
        output.emit_json(_summary(chosen.id, table))
    else:
        _describe(file, chosen.id, table, dataset, how)


def _match_or_generic(registry: Registry, data: bytes, name: str) -> Profile:
    """Fall back to a decode-only profile: looking at columns claims nothing about cells."""
    try:
        return registry.match(data, name)
    except errors.Quarantine as error:
        generic = registry.generic(data)
        if error.code != "no_profile" or generic is None:
            raise
        output.say(f"{error.message}.")
        output.say(f"Its columns, read with {generic.id}:")
        return generic


def _summary(profile_id: str, table: RawTable) -> dict[str, Any]:
    import numpy as np

    values = table.values
    # An infinite value of a floating-point file makes its mean infinite, which is the truth.
    with np.errstate(all="ignore"):
        mean = values.mean(axis=0, dtype=np.float64) if len(values) else None
    return {
        "profile": profile_id,
        "format": table.format,
        "events": table.events,
        "channels": [column.name for column in table.columns],
        "first_event": values[0].tolist() if len(values) else None,
        "mean": mean.tolist() if mean is not None else None,
        "datasets": table.datasets,
        "notes": list(table.notes),
    }


def _describe(file: Path, profile_id: str, table: RawTable, dataset: int, how: output.Form) -> None:
    summary = _summary(profile_id, table)
    click.echo(
        output.printable(
            f"{file.name}: {summary['format']}, {summary['events']:,} events, "
            f"data set {dataset} of {summary['datasets']}, profile {profile_id}"
        )
    )
    nothing = [None] * len(table.columns)
    records = [
        {"name": c.name, "label": c.label, "bits": c.bits, "first": first, "mean": mean}
        for c, first, mean in zip(
            table.columns,
            summary["first_event"] or nothing,
            summary["mean"] or nothing,
            strict=True,
        )
    ]
    output.listing(_RAW_COLUMNS, records, how, empty="The file has no columns.")
    for note in table.notes:
        output.say(f"Note: {note}")


_RAW_COLUMNS = (
    output.Column("name", "Column", lambda r: r["name"]),
    output.Column("label", "Label", lambda r: r["label"]),
    output.Column("bits", "Bits", lambda r: r["bits"], right=True),
    output.Column("first", "First event", lambda r: r["first"], right=True),
    output.Column(
        "mean", "Mean", lambda r: None if r["mean"] is None else f"{r['mean']:.6g}", right=True
    ),
)


@profile.command("new")
@_capture
@click.option("--vendor", required=True, help="Maker of the instrument, e.g. acme.")
@click.option("--model", required=True, help="Its model, e.g. cell9.")
@click.option("--firmware", required=True, help="Its firmware, as it should be called here.")
@click.option("--title", help="What people call it; vendor, model and firmware unless given.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Folder of profiles to write into; the current one unless given.",
)
@options.json_option
def profile_new(
    file: Path, vendor: str, model: str, firmware: str, title: str | None, out: Path, as_json: bool
) -> None:
    """Draft a profile from FILE: codec, settings, columns, and what is left to decide.

    The draft decodes and does not classify: what a column measures is proposed in comments. FILE
    is copied beside it as the profile's sample. Nothing that exists is overwritten.
    """
    from edge_daemon.cli import drafting

    options.existing((file,))
    named = drafting.named(vendor, model, firmware, title)
    made = drafting.write(file.read_bytes(), file, named, out)
    if output.form(as_json=as_json) == "json":
        output.emit_json(made.as_record())
        return
    click.echo(f"Wrote {made.profile} ({made.format}), sample {made.sample.name}.")
    click.echo("To be decided by a person:")
    for question in made.questions:
        click.echo(f"  - {question}")
    click.echo(f"Next: edge-daemon profile decode {file} --profiles {out} --profile {made.id}")


@profile.command("test")
@click.argument("target", metavar="ID|FILE|DIR")
@click.option(
    "--write-expected",
    is_flag=True,
    help="First write the expected arrays from the sample as it decodes now.",
)
@options.json_option
def profile_test(target: str, write_expected: bool, as_json: bool) -> int:
    """Hold profiles to their contract: each loads, and its sample decodes as expected.

    The target is the id of a shipped profile, a profile file, or a folder with profiles. Beside
    every profile that classifies stand a capture, <firmware>.sample.<ext>, and what it must
    decode to, <firmware>.expected.npz.
    """
    from edge_daemon.cli import contract

    paths = contract.find(target)
    if write_expected:
        for path in paths:
            output.say(f"Wrote {contract.write_expected(path)}; look at it before you keep it.")
    checks = [check for path in paths for check in contract.check(path)]
    records: list[Record] = [
        {"profile": c.profile, "check": c.name, "ok": c.problem is None, "problem": c.problem}
        for c in checks
    ]
    how = output.form(as_json=as_json)
    if how == "json":
        output.emit_json(records)
    else:
        output.listing(_CHECK_COLUMNS, records, how, empty="")
        for record in records:
            if record["problem"]:
                output.say(f"\n{record['profile']}: {record['problem']}")
    return errors.EXIT_OK if all(r["ok"] for r in records) else errors.EXIT_FAILED


_CHECK_COLUMNS = (
    output.Column("profile", "Profile", lambda r: r["profile"]),
    output.Column("check", "Check", lambda r: r["check"]),
    output.Column("ok", "Result", lambda r: "ok" if r["ok"] else "FAILED"),
)
