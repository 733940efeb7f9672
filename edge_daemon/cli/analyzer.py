"""A simulated analyzer on a real line, for trying a box without one."""

from __future__ import annotations

from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import errors
from edge_daemon.cli import options, output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_daemon.simulator.analyzer import Analyzer, FramingName
    from edge_daemon.simulator.faults import Fault
    from edge_daemon.simulator.transports import PtyLine, TcpLine

_FRAMINGS: Final = ("astm", "mllp", "packet", "block")
_FAULTS: Final = (
    "unplug", "garbage", "half_frame", "wrong_checksum", "resend", "lost_ack", "silence",
    "wrong_baud",
)  # fmt: skip
_WAIT_S: Final = 86_400.0


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--framing", type=click.Choice(_FRAMINGS), required=True, help="Framing of the messages."
)
@click.option(
    "--port",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Serial: make a port of this name, which the box opens.",
)
@click.option("--connect", metavar="HOST:PORT", help="Network: connect to the box.")
@click.option("--listen", metavar="HOST:PORT", help="Network: wait for the box to connect.")
@click.option("--baud", type=click.IntRange(min=50), help="Send at this speed; default: at once.")
@click.option("--repeat", type=click.IntRange(min=1), default=1, show_default=True, metavar="N")
@click.option(
    "--fault",
    "faults",
    type=click.Choice(_FAULTS),
    multiple=True,
    help="Let this go wrong now and then; may be repeated.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, metavar="S")
def simulate_analyzer(
    files: tuple[Path, ...],
    framing: FramingName,
    port: Path | None,
    connect: str | None,
    listen: str | None,
    baud: int | None,
    repeat: int,
    faults: tuple[Fault, ...],
    seed: int,
) -> int:
    """Send FILES as a simulated analyzer would, one message each.

    The box needs a [[source]] with the same framing. Exit code 3 when a message was not
    acknowledged to its end.
    """
    from edge_daemon.simulator.analyzer import Analyzer
    from edge_daemon.simulator.faults import fault_script

    options.existing(files)
    messages = [(file, file.read_bytes()) for file in files] * repeat
    script = fault_script(seed, len(messages), kinds=faults)
    failed = 0
    with _box(), closing(_line(port, connect, listen)) as line:
        _say_how(line, framing)
        line.plug(_WAIT_S)
        analyzer = Analyzer(line, framing, seed=seed, baud=baud)
        for (file, data), fault in zip(messages, script, strict=True):
            done = _send(analyzer, file, data, fault)
            failed += not done
            said = "acknowledged" if done else "NOT acknowledged"
            output.say(f"{file.name}: {said}{f' ({fault})' if fault else ''}")
    return errors.EXIT_WARNINGS if failed else errors.EXIT_OK


def _send(analyzer: Analyzer, file: Path, data: bytes, fault: Fault | None) -> bool:
    try:
        return analyzer.send(data, fault)
    except ValueError as error:
        raise errors.Fatal(
            f"{file}: {error}", action="Give the message as it is inside its frames."
        ) from error


@contextmanager
def _box() -> Iterator[None]:
    """Say that the box is gone in the words of this product."""
    from edge_daemon.simulator.transports import LineDownError

    try:
        yield
    except LineDownError as error:
        raise errors.Retryable(
            f"the box is not there: {error}", action="Start it, or check its [[source]]."
        ) from error


def _line(port: Path | None, connect: str | None, listen: str | None) -> PtyLine | TcpLine:
    from edge_daemon.simulator.transports import PtyLine, TcpLine

    if sum(given is not None for given in (port, connect, listen)) != 1:
        raise click.UsageError("give one of --port, --connect and --listen.")
    if port is not None:
        return PtyLine(port.expanduser().absolute())
    return TcpLine(_address(connect or listen or ""), listening=listen is not None)


def _address(text: str) -> tuple[str, int]:
    from edge_daemon.source_settings import endpoint

    try:
        return endpoint(text)
    except ValueError as error:
        raise click.UsageError(f"{text!r}: {error}") from error


def _say_how(line: PtyLine | TcpLine, framing: FramingName) -> None:
    """Print the section that lets a box listen to this analyzer."""
    import tomlkit

    from edge_daemon.simulator.transports import PtyLine
    from edge_daemon.simulator.wire import PACKET_FRAMING

    source: dict[str, Any] = {"name": "simulated-analyzer"}
    if isinstance(line, PtyLine):
        source |= {"kind": "serial", "port": str(line.path)}
    else:
        host, number = line.address
        key = "connect" if line.listening else "listen"
        source |= {"kind": "tcp", key: f"{host}:{number}"}
    source["framing"] = framing
    if framing == "packet":
        source["framing_options"] = dict(PACKET_FRAMING)
    output.say("SIMULATED analyzer; the box listens to it with\n")
    output.say(tomlkit.dumps({"source": [source]}))
