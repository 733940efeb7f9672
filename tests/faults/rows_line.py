"""What cables and analyzers do to a serial line."""

from __future__ import annotations

import threading
import time

from edge_daemon.simulator.analyzer import Analyzer
from edge_daemon.simulator.faults import FAULTS, Fault
from edge_daemon.simulator.transports import LineDownError, PtyLine
from edge_daemon.simulator.wire import PACKET_FRAMING
from tests.faults.bench import Box, Record, Trial, wait
from tests.faults.captures import capture, digest

_FASTER = 20.0
"""The waits of the standards are shortened so much, on both sides."""
_FRAMING = {
    "framing": "packet",
    "framing_options": {**PACKET_FRAMING, "silence_s": 30.0 / _FASTER, "gap_s": 2.0 / _FASTER},
}


def serial_faults(trial: Trial) -> Record:
    """Eight analyzers at once, each with its own fault before, in and after its messages."""
    record = trial.record("serial-faults")
    trial.folder.mkdir(parents=True, exist_ok=True)
    lines = {fault: PtyLine(trial.folder / f"port-{fault}") for fault in FAULTS}
    more = tuple(
        {"name": name(fault), "kind": "serial", "port": str(line.path), **_FRAMING}
        for fault, line in lines.items()
    )
    with trial.box(more=more) as box:
        box.start()
        threads = [
            threading.Thread(target=_speak, args=(trial, box, record, fault, line))
            for fault, line in lines.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        record.trials = len(box.fed)
        record.recovered(_replug(box, lines["unplug"]))
        box.conclude(record, trial.numbers)
        record.problems += _false_results(box)
        for line in lines.values():
            line.close()
    record.measure = f"{', '.join(FAULTS)}; no result that was not sent"
    return record


def _speak(trial: Trial, box: Box, record: Record, fault: Fault, line: PtyLine) -> None:
    """Be one analyzer: send messages, each with the fault, until each is acknowledged."""
    analyzer = Analyzer(
        line,
        "packet",
        seed=trial.seed,
        patience_s=5.0,
        pause=lambda seconds: time.sleep(seconds / _FASTER),
    )
    try:
        for _ in range(trial.size(2, 25)):
            content = capture(next(trial.numbers))
            if analyzer.send(content, fault):
                box.fed[digest(content)] = fault
            else:
                record.problems.append(f"a message was never acknowledged ({fault})")
    except LineDownError as error:
        record.problems.append(f"{fault}: {error}")


def name(fault: str) -> str:
    return fault.replace("_", "-")


def _replug(box: Box, line: PtyLine) -> float:
    """Seconds until a port that was away is open again."""
    line.unplug()
    wait(lambda: box.said("source_degraded", source=name("unplug")), 30.0, "it notices the cable")
    began = time.monotonic()
    line.plug(60.0)
    return time.monotonic() - began


def _false_results(box: Box) -> list[str]:
    given = set(box.fed)
    return [
        f"a result of {sha256[:12]} that nobody sent"
        for (sha256,) in box.ask("SELECT sha256 FROM captures WHERE state = 'classified'")
        if sha256 not in given
    ]
