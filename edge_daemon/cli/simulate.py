"""Write captures of a simulated analyzer, with what it would report and what is true."""

from __future__ import annotations

from pathlib import Path

import click

from edge_daemon.cli import output


@click.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--instrument", default="sim_optical4", show_default=True, metavar="ID", help="Instrument."
)
@click.option("--firmware", metavar="VERSION", help="Firmware of the instrument; default: a mix.")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    metavar="N",
    help="Captures to write.",
)
@click.option(
    "--events",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    metavar="N",
    help="Cells in each capture.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="S",
    help="The same seed gives the same bytes.",
)
@click.option("--species", multiple=True, metavar="NAME", help="Only these; may be repeated.")
@click.option("--condition", metavar="NAME", help="Give every animal this condition.")
@click.option(
    "--shifted",
    is_flag=True,
    help="Other wavelength and angles, more gain and noise, dimmer dye; same file layout.",
)
@click.option(
    "--event-rate",
    type=float,
    default=1.0,
    show_default=True,
    metavar="X",
    help="Times the usual events per second, by diluting less: more chance doublets.",
)
def simulate(
    out: Path,
    instrument: str,
    firmware: str | None,
    samples: int,
    events: int,
    seed: int,
    species: tuple[str, ...],
    condition: str | None,
    shifted: bool,
    event_rate: float,
) -> None:
    """Write captures of a simulated analyzer into the folder OUT.

    Beside them references.csv (what the analyzer would report, with its noise) and truth.csv
    and truth.npz (what is true; for `evaluate` only). Everything is marked SIMULATED, for ever.
    """
    from edge_daemon.simulator.cohort import simulate as write_cohort

    how = output.form(as_json=False)
    with output.progress("Simulating", how) as advance:
        write_cohort(
            out,
            instrument=instrument,
            firmware=firmware,
            samples=samples,
            events=events,
            seed=seed,
            species=species or None,
            condition=condition,
            shifted=shifted,
            event_rate=event_rate,
            progress=advance,
        )
    output.say(f"Wrote {samples} SIMULATED captures of {instrument} to {out}.")
    output.say(f"Next: edge-daemon process {out} --data-dir DIR")
