"""Commands of the learning loop: what clinics consent to, and captures for `edge-daemon train`."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import __version__, errors
from edge_daemon.cli import output
from edge_daemon.cli.central_feeds import reading
from edge_daemon.cli.central_places import open_store, places
from edge_daemon.cli.options import json_option
from edge_daemon.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edge_daemon.central.raw_store import RawStore
    from edge_daemon.central.training_set import Example, Wanted
    from edge_daemon.decode import Registry

MANIFEST: Final = "manifest.json"
PARTS: Final = ("train", "held-out")


@click.command()
@places
@click.option("--clinic", type=click.IntRange(min=1), metavar="N", help="Number of the clinic.")
@click.option("--give", "given", flag_value=True, type=bool, default=None, help="It says yes.")
@click.option("--withdraw", "given", flag_value=False, type=bool, help="It says no, from now on.")
@click.option("--by", "said_by", metavar="NAME", help="Who at the clinic said it.")
@click.option("--reason", metavar="TEXT", help="Where that is written, or why.")
@json_option
def consent(
    folder: Path,
    database: str | None,
    clinic: int | None,
    given: bool | None,
    said_by: str | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Note whether a clinic lets its captures train models, or list what each has said.

    No clinic's captures are taken unless it has said yes. Sets that were made before it said no
    stay as they are: delete them, and what was trained from them, where that was agreed.
    """
    if (given is not None) != (clinic is not None):
        raise click.UsageError("--clinic goes with --give or --withdraw.")
    if given is not None and not (said_by and reason):
        raise click.UsageError("--by and --reason are needed: they are kept.")
    with open_store(folder, database) as store:
        from edge_daemon.central.consents import Consents

        consents = Consents(store.engine, store.by)
        if clinic is not None and given is not None:
            consents.say(clinic, given=given, said_by=said_by or "", reason=reason or "")
        found = consents.listed()
    if as_json:
        output.emit_json([one.as_json() for one in found])
        return
    for one in found:
        since = "" if one.at is None else f" since {one.at:%Y-%m-%d}, says {one.said_by}"
        click.echo(
            output.printable(
                f"{one.clinic_id:>5}  {one.clinic:<30}  {'yes' if one.given else 'no'}{since}"
            )
        )


class _Mix(click.ParamType[tuple[str, int | None]]):
    """``dog`` or ``dog=40``."""

    name = "species"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int | None]:
        """Read one species with its limit."""
        from edge_daemon.records import SPECIES

        species, equals, most = str(value).partition("=")
        if species not in SPECIES or (equals and not (most.isdecimal() and int(most) > 0)):
            known = ", ".join(SPECIES)
            self.fail(f"{value!r}: write dog or dog=40; species are {known}.", param, ctx)
        return species, int(most) if equals else None


@click.command("training-set")
@places
@click.option("--instrument", required=True, metavar="ID", help="As in profiles: sim_optical4.")
@click.option("--profile", metavar="ID", help="One firmware's profile; default: all of them.")
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="A new folder.",
)
@click.option(
    "--species",
    type=_Mix(),
    multiple=True,
    metavar="NAME[=N]",
    help="Only these, and at most N captures of each; repeatable.",
)
@click.option(
    "--kind",
    type=click.Choice(["clinical", "simulated"]),
    default="clinical",
    show_default=True,
    help="The two are never in one set.",
)
@click.option(
    "--held-out",
    "share",
    type=click.FloatRange(min=0.0, max=0.9),
    default=0.2,
    show_default=True,
    help="Share of the clinics whose captures are kept from training.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, metavar="S")
@click.option(
    "--s3",
    metavar="HOST:PORT/BUCKET",
    help="Where raw captures are, as for `serve`; default: the server's folder.",
)
@click.option(
    "--profiles",
    "profile_dirs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Further profiles beside the shipped ones; repeatable.",
)
@json_option
def training_set(
    folder: Path,
    database: str | None,
    instrument: str,
    profile: str | None,
    out: Path,
    species: tuple[tuple[str, int | None], ...],
    kind: str,
    share: float,
    seed: int,
    s3: str | None,
    profile_dirs: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Write captures and what analyzers reported of them, as `edge-daemon train` takes them.

    Only of clinics that consented (`central consent`), only captures whose bytes are those that
    were named, without names of patients. Whole clinics are held out, for measuring what was
    trained. Exit code 3 where too few are left to train from.
    """
    from edge_daemon.central.serve import Place
    from edge_daemon.central.training_set import Wanted

    if out.exists():
        raise errors.Fatal(f"{out} is there already", action="Name a new folder.")
    wanted = Wanted(instrument, profile, kind == "simulated", dict(species))
    raw = Place(folder, "", 0, database=database, s3=s3).open_raw()
    hidden = out.with_name(f".{out.name}.part")
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        examples, agreed = _examples(folder, database, wanted)
        made = _Set(hidden, raw, _registry(profile_dirs), wanted, share, seed)
        with output.progress("captures", output.form(as_json=as_json)) as progress:
            made.write(examples, progress)
        if not made.files:
            raise errors.Fatal(_none(wanted), action="See `edge-daemon central consent`.")
        manifest = made.finish(agreed)
        hidden.replace(out)
    except OSError as error:
        raise errors.Retryable(
            f"{error.filename or out}: {error.strerror}",
            action="Free space, or name another place.",
        ) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return _told(manifest, out, as_json)


def _examples(
    folder: Path, database: str | None, wanted: Wanted
) -> tuple[Sequence[Example], Mapping[int, str]]:
    from edge_daemon.central.consents import Consents
    from edge_daemon.central.training_set import find

    with reading(folder, database) as (store, reader):
        said = Consents(store.engine, store.by).listed()
        agreed = {one.clinic_id: one.at.isoformat() for one in said if one.given and one.at}
        if not agreed:
            raise errors.Fatal(
                "no clinic has consented that its captures train models",
                action="Note who has with `edge-daemon central consent --clinic N --give`.",
            )
        examples = find(reader, agreed, wanted)
        _note(store, wanted, len(examples))
    return examples, agreed


def _note(store: Any, wanted: Wanted, captures: int) -> None:
    from edge_daemon.central import audit

    with store.engine.begin() as db:
        subject = f"a training set of {wanted.profile or wanted.instrument}"
        audit.note(db, store.by, "exported", subject, details={"captures": captures})


def _registry(folders: tuple[Path, ...]) -> Registry:
    from edge_daemon.decode import Registry
    from edge_daemon.resources import profiles_dir

    return Registry.load([profiles_dir(), *folders])


def _none(wanted: Wanted) -> str:
    reasons = ", ".join(f"{number} {why}" for why, number in wanted.left_out.most_common())
    kind = "simulated" if wanted.simulated else "clinical"
    which = wanted.profile or wanted.instrument
    return f"no {kind} capture of {which} can be used{f': {reasons}' if reasons else ''}"


@dataclass
class _Set:
    """The files of one set, under a hidden name until they are whole."""

    folder: Path
    raw: RawStore
    registry: Registry
    wanted: Wanted
    share: float
    seed: int
    files: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, list[Sequence[object]]] = field(
        default_factory=lambda: {part: [] for part in PARTS}
    )

    def write(self, examples: Sequence[Example], progress: Callable[[int, int], None]) -> None:
        """Write every capture that can be used."""
        for part in PARTS:
            (self.folder / part / "captures").mkdir(parents=True)
        for done, example in enumerate(examples, start=1):
            try:
                self._add(example)
            except errors.Quarantine as error:
                self.wanted.left_out[f"cannot be decoded ({error.code})"] += 1
            progress(done, len(examples))

    def _add(self, example: Example) -> None:
        from edge_daemon.central.training_set import is_held_out, read_capture
        from edge_daemon.decode import decode
        from edge_daemon.training.data import Reference, contradiction
        from edge_daemon.unnamed import StillNamedError, without_names

        data = read_capture(self.raw, example.sha256)
        if data is None:
            self.wanted.left_out["the raw capture is damaged or gone"] += 1
            return
        profile = self.registry.match(data, "")
        batch = decode(data, profile)
        if batch.sample.simulated != self.wanted.simulated:
            raise errors.Fatal(
                f"capture {example.sha256[:12]} of clinic {example.clinic_id} is "
                f"{'simulated' if batch.sample.simulated else 'not simulated'} by its bytes, "
                "and its result says otherwise: nothing was written",
                action="Find out what this box sends; simulated and real cells never mix.",
            )
        try:
            data, names = without_names(data, profile, batch)
        except StillNamedError as error:
            self.wanted.left_out[error.message] += 1
            return
        name = f"{hashlib.sha256(data).hexdigest()}.raw"
        row = Reference(
            name, example.species, example.rbc, example.plt, example.retic_pct,
            example.dilution, example.volume_ul,
        )  # fmt: skip
        if contradiction(batch, row) is not None:
            self.wanted.left_out["contradicts what was reported of it"] += 1
            return
        part = PARTS[is_held_out(example.clinic_id, self.share, self.seed)]
        (self.folder / part / "captures" / name).write_bytes(data)
        self._note(example, part, name, names, profile.id)
        self.rows[part].append(
            (name, row.species, row.rbc, row.plt, row.retic_pct, row.dilution, row.volume_ul)
        )

    def _note(self, example: Example, part: str, name: str, names: int, profile: str) -> None:
        self.files.append(
            {
                "file": f"{part}/captures/{name}",
                "sha256": name.removesuffix(".raw"),
                "capture": example.sha256,
                "names_overwritten": names,
                "profile": profile,
                "species": example.species,
                "clinic": example.clinic_id,
                "documents": list(example.documents),
            }
        )

    def finish(self, agreed: Mapping[int, str]) -> dict[str, Any]:
        """Write the reference values and what is in the set."""
        references = {part: self._references(part) for part in PARTS}
        clinics = {
            part: sorted({f["clinic"] for f in self.files if f["file"].startswith(f"{part}/")})
            for part in PARTS
        }
        manifest = {
            "format": 1,
            "software": f"edge_daemon {__version__}",
            "simulated": self.wanted.simulated,
            "instrument": self.wanted.instrument,
            "profiles": dict(Counter(f["profile"] for f in self.files)),
            "species": dict(Counter(f["species"] or "unknown" for f in self.files)),
            "captures": {part: len(self.rows[part]) for part in PARTS},
            "clinics": clinics,
            "consented_at": {str(c): agreed[c] for part in PARTS for c in clinics[part]},
            "held_out_share": self.share,
            "seed": self.seed,
            "references_sha256": references,
            "left_out": dict(self.wanted.left_out),
            "files": self.files,
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        (self.folder / MANIFEST).write_text(text, encoding="utf-8")
        return manifest

    def _references(self, part: str) -> str:
        from edge_daemon.training.data import HEADER

        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(["" if v is None else v for v in row] for row in self.rows[part])
        body = stream.getvalue().encode()
        (self.folder / part / "references.csv").write_bytes(body)
        return hashlib.sha256(body).hexdigest()


def _told(manifest: Mapping[str, Any], out: Path, as_json: bool) -> int:
    from edge_daemon.training.data import MIN_RUNS

    train = manifest["captures"]["train"]
    if as_json:
        output.emit_json({key: value for key, value in manifest.items() if key != "files"})
    else:
        held = manifest["captures"]["held-out"]
        output.say(f"Wrote {counted(train, 'capture')} to train from, {held} held out, to {out}.")
        for why, number in manifest["left_out"].items():
            output.say(f"{number:,} left out: {why}.")
    if train >= MIN_RUNS:
        output.say(output.next_action(
            f"edge-daemon train --captures {out}/train/captures "
            f"--references {out}/train/references.csv --out BUNDLE"
        ))  # fmt: skip
        return errors.EXIT_OK
    output.say(f"{train} are too few: training needs {MIN_RUNS} with RBC and PLT.")
    return errors.EXIT_WARNINGS
