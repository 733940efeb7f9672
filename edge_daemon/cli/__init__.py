"""The command line: one module per audience, imported only when its command is called."""

from __future__ import annotations

import sys

import click

from edge_daemon import __version__
from edge_daemon.cli.lazy import Entry, LazyGroup

SECTIONS = {
    "Results": {
        "results": Entry("results:results", "List results, newest first."),
        "show": Entry("results:show", "Show one result in full."),
        "compare": Entry("compare:compare", "Compare a result with the patient's last visit."),
        "reports": Entry("reports:reports", "List what the analyzers themselves reported."),
        "agreement": Entry("agreement:agreement", "Compare our values with the analyzer's own."),
        "export": Entry("export:export", "Write results as CSV, JSON Lines, FCS, HL7 or FHIR."),
        "explain": Entry("explain:explain", "Say which signals made the calls of a run."),
        "correct": Entry("desk:correct", "Correct whose a result is."),
        "note": Entry("desk:note", "Note something about a result."),
        "qc": Entry("qc:qc", "Control material, charts, carry-over and blank checks."),
        "intervals": Entry("intervals:intervals", "Show reference intervals and rules."),
        "quarantine": Entry("results:quarantine", "List what could not be used, and why."),
    },
    "Running the box": {
        "demo": Entry("demo:demo", "Try everything with a simulated analyzer."),
        "run": Entry("operate:run", "Run the service."),
        "process": Entry("operate:process", "Analyse files or folders once."),
        "status": Entry("status:status", "Say whether the box is well."),
        "doctor": Entry("doctor:doctor", "Look at the whole box and say how to mend it."),
        "bench": Entry("bench:bench", "Measure whether this box keeps up."),
        "support-bundle": Entry("support:support_bundle", "Write an archive for whoever helps."),
        "web": Entry("web:web", "Set passwords and certificate of the page."),
        "backup": Entry("upkeep:backup", "Copy the database, beside the running service."),
        "restore": Entry("upkeep:restore", "Put a backup in the place of the database."),
        "config": Entry("operate:config", "Write, check or describe the configuration."),
        "completion": Entry("operate:completion", "Print a shell completion script."),
    },
    "Fleet": {
        "sync": Entry("sync:sync", "Send results to a central server."),
        "central": Entry("central:central", "Receive the results of many boxes."),
        "update": Entry("update:update", "Take signed updates of models, profiles and rules."),
        "release": Entry("release:release", "Sign updates for boxes."),
    },
    "Instruments and models": {
        "profile": Entry("profiles:profile", "List, detect, decode and test instrument profiles."),
        "model": Entry("models:model", "List and verify model bundles."),
        "simulate": Entry("simulate:simulate", "Write captures of a simulated analyzer."),
        "simulate-analyzer": Entry(
            "analyzer:simulate_analyzer", "Send files as an analyzer on a line would."
        ),
        "train": Entry("models:train", "Train a bundle from sample-level values only."),
        "evaluate": Entry("models:evaluate", "Measure a bundle against a cohort with known truth."),
    },
}
"""The help page and the lazy command table in one."""


PROGRAM = "edge-daemon"
COMPLETE_VARIABLE = "_EDGE_DAEMON_COMPLETE"


def _enable_debug(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    ctx.ensure_object(dict)["debug"] = value


cli = LazyGroup(
    SECTIONS,
    name=PROGRAM,
    help=(
        "Single-cell results beside a veterinary haematology analyzer.\n\n"
        "Data goes to stdout, messages to stderr. Exit codes: 0 ok, 1 failed, 2 usage, "
        "3 warnings, 4 not found, 75 retry later, 78 bad configuration."
    ),
    params=[
        click.Option(
            ["--debug"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_enable_debug,
            envvar="EDGE_DAEMON_DEBUG",
            help="Show the traceback of an error.",
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")(cli)


def main() -> None:
    """Entry point of the ``edge-daemon`` command."""
    for stream in (sys.stdout, sys.stderr):
        # A patient's name must not end a listing on a terminal without its letters.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    cli.main(prog_name=PROGRAM, complete_var="_EDGE_DAEMON_COMPLETE")
