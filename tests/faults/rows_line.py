"""What cables and analyzers do to a serial line."""

from __future__ import annotations

import threading
import time

from edge_daemon.simulator.analyzer import Analyzer
from edge_daemon.simulator.faults import FAULTS
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
    messages = trial.size(2, 25)
    trial.folder.mkdir(parents=True, exist_ok=True)
    lines = {fault: PtyLine(trial.folder / f"port-{fault}") for fault in FAULTS}
    more = tuple(
        {"name": name(fault), "kind": "serial", "port": str(line.path), **_FRAMING}
        for fault, line in lines.items()
    )
    sent: dict[str, str] = {}
    failed: list[str] = []
    with trial.box(more=more) as box:
        box.start()

        def speak(fault: str, contents: list[bytes]) -> None:
            analyzer = Analyzer(
                lines[fault],
                "packet",
                seed=trial.seed,
                patience_s=5.0,
                pause=lambda seconds: time.sleep(seconds / _FASTER),
            )
            try:
                for content in contents:
                    if analyzer.send(content, fault):
                        sent[digest(content)] = fault
                    else:
                        failed.append(f"a message was never acknowledged ({fault})")
            except LineDownError as error:
                failed.append(f"{fault}: {error}")

        threads = [
            threading.Thread(
                target=speak, args=(fault, [capture(next(trial.numbers)) for _ in range(messages)])
            )
            for fault in FAULTS
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        record.problems += failed
        record.trials = len(sent)
        box.fed.update(sent)
        record.recovered(_replug(box, lines["unplug"]))
        box.conclude(record, trial.numbers)
        record.problems += _false_results(box)
        for line in lines.values():
            line.close()
    record.measure = f"{', '.join(FAULTS)}; no result that was not sent"
    return record


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
