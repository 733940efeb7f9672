"""What each byte of a capture is to a profile, for ``profile show --file``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from edge_daemon import errors
from edge_daemon.cli import output
from edge_daemon.decode.codecs.preview import preview

if TYPE_CHECKING:
    from edge_daemon.cli.output import Record
    from edge_daemon.decode.profile import Profile


def show(profile: Profile, name: str, data: bytes, how: output.Form) -> int:
    """Write the layout of a capture and return the exit code: 3 where something does not fit."""
    said, known = _identified(profile, data)
    rows: list[Record] = [asdict(row) for row in preview(profile.codec, data)]
    if how == "json":
        output.emit_json(
            {"profile": profile.id, "file": name, "bytes": len(data), "said": said, "rows": rows}
        )
    else:
        heading = f"{name}, {len(data):,} bytes, as {profile.id} reads it: {said}"
        click.echo(output.printable(heading))
        output.listing(_COLUMNS, rows, how, empty="The file is empty.")
    fits = known and all(row["fits"] is not False for row in rows)
    return errors.EXIT_OK if fits else errors.EXIT_WARNINGS


def _identified(profile: Profile, data: bytes) -> tuple[str, bool]:
    """Say what the codec recognises, and whether it does."""
    try:
        known = profile.codec.identify(data)
    except errors.Quarantine as error:
        return error.message, False
    if known is None:
        return f"not of the format {profile.codec.name}", False
    return known.description, True


_FITS: Final = {None: "", True: "fits", False: "DOES NOT FIT"}
_COLUMNS: Final = (
    output.Column("offset", "Offset", lambda r: r["offset"], right=True),
    output.Column("size", "Bytes", lambda r: r["size"], right=True),
    output.Column("name", "Name", lambda r: r["name"]),
    output.Column("meaning", "Meaning", lambda r: r["meaning"]),
    output.Column("value", "Value", lambda r: r["value"], folds=True),
    output.Column("fits", "Check", lambda r: _FITS[r["fits"]]),
)
