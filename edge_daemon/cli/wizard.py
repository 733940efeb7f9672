"""`config init` as a conversation: find the analyzer, try it, write the file, start the service."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import errors
from edge_daemon.cli import options, output

if TYPE_CHECKING:
    from edge_daemon.decode.registry import Registry
    from edge_daemon.sources.ports import LineSettings
    from edge_daemon.wizard.trial import Trial

_LIGHTS: Final = {"green": "green", "yellow": "yellow", "red": "red"}
_PAGES: Final = ("box", "clinic", "none")
_LISTEN_S: Final = 120.0
_EVERYBODY: Final = "0.0.0.0:8470"


@dataclass(slots=True)
class Answers:
    """What was said on the command line; None is asked, or taken as suggested."""

    yes: bool = False
    folder: Path | None = None
    port: Path | None = None
    listen: str | None = None
    connect: str | None = None
    allow: tuple[str, ...] = ()
    profile: str | None = None
    name: str | None = None
    page: str | None = None
    wait_s: float = 0.0
    sources: list[dict[str, Any]] = field(default_factory=list)

    @property
    def given(self) -> bool:
        """Whether the command line says where runs come from."""
        return any((self.folder, self.port, self.listen, self.connect))


def converse(file: Path, answers: Answers, *, force: bool) -> int:
    """Ask, write and start; exit code 3 when something wants a person afterwards."""
    from edge_daemon.decode.registry import Registry
    from edge_daemon.resources import profiles_dir
    from edge_daemon.wizard import writing

    if file.exists() and not force:
        raise errors.Fatal(
            f"{file}: exists already and was not changed",
            action="Give another name, or --force to replace it (a copy is kept).",
        )
    if answers.yes and not answers.given:
        raise click.UsageError("--yes needs --folder, --port, --listen or --connect.")
    registry = Registry.load([profiles_dir()])
    if not answers.yes:
        click.echo(f"A few questions, then {file} is written. Enter takes the answer in brackets;")
        click.echo("Ctrl-C ends this and writes nothing.")
    lights = [_source(answers, registry)]
    while not answers.yes and not answers.given and click.confirm("Another analyzer?"):
        lights.append(_source(answers, registry))
    box = _ask("Name of this box", _own_name(), answers.yes)
    page = _page(answers)
    pages: dict[str, dict[str, Any]] = {
        "clinic": {"listen": _EVERYBODY},
        "none": {"enabled": False},
    }
    web = pages.get(page, {})
    _write(file, writing.render(answers.sources, {"name": box}, web))
    started = _start(file, answers, page)
    return errors.EXIT_OK if started and set(lights) == {"green"} else errors.EXIT_WARNINGS


def _ask(question: str, suggested: str, yes: bool) -> str:
    return suggested if yes else str(click.prompt(question, default=suggested))


def _own_name() -> str:
    """Name of this machine, as far as it is a name for a box."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in _host())
    return kept.strip("._-")[:63] or "edge-box"


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _light(colour: str, text: str) -> None:
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    mark = "●" if utf8 else "*"
    click.echo(f"{click.style(mark, fg=_LIGHTS[colour], bold=True)} {output.printable(text)}")


def _next(text: str) -> None:
    click.echo(f"  {output.next_action(text)}")


def _source(answers: Answers, registry: Registry) -> str:
    """Ask for one source and try it; return its light."""
    kind, place = _place(answers, registry)
    source: dict[str, Any] = {"kind": kind}
    if kind == "folder":
        light = _folder(Path(place), source, answers, registry)
    elif kind == "serial":
        light = _serial(Path(place), source, answers, registry)
    else:
        light = _network(source, answers, registry)
    suggested = answers.name or f"analyzer-{len(answers.sources) + 1}"
    source["name"] = _ask("Name of this analyzer", suggested, answers.yes)
    answers.sources.append(source)
    return light


def _place(answers: Answers, registry: Registry) -> tuple[str, str]:
    """Where runs come from: as given, or chosen from what is found."""
    if answers.folder is not None:
        return "folder", str(answers.folder.expanduser().absolute())
    if answers.port is not None:
        return "serial", str(answers.port)
    if answers.listen or answers.connect:
        return "tcp", ""
    choices = _found(registry)
    click.echo("\nWhere do the analyzer's runs come from?")
    for number, (_, place, words) in enumerate(choices, start=1):
        click.echo(f"  {number}  {output.printable(f'{place}  {words}'.strip())}")
    while True:
        said = str(click.prompt("Number, or the path of a folder or port", default="1")).strip()
        if said.isdigit() and 1 <= int(said) <= len(choices):
            kind, place, _ = choices[int(said) - 1]
            return kind, place
        path = Path(said).expanduser().absolute()
        if path.is_dir():
            return "folder", str(path)
        if path.is_char_device():
            return "serial", str(path)
        click.echo(f"{output.printable(said)}: neither a number above nor a folder or port.")


def _found(registry: Registry) -> list[tuple[str, str, str]]:
    """List kind, place and words of everything that may be an analyzer's."""
    from edge_daemon.wizard import places, trial

    click.echo("\nLooking for files of analyzers and for serial ports ...")
    choices = [
        ("folder", str(f.path), f"({f.files} files, the newest of {_when(f.newest)})")
        for f in places.folders(trial.taken_names(registry))
    ]
    choices += [("serial", str(port), "(serial port)") for port in places.ports()]
    if not choices:
        click.echo("Nothing was found below /srv, /mnt, /media and /home, and no serial port.")
        _next("Mount the analyzer's share or plug its cable in, or name the folder yourself.")
    return [*choices, ("tcp", "the network", "(the analyzer connects to this box, or it to it)")]


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def _folder(folder: Path, source: dict[str, Any], answers: Answers, registry: Registry) -> str:
    """Try a folder's files; wait for the first one where none is there."""
    from edge_daemon.doctor.access import may, service_account
    from edge_daemon.wizard.trial import Trial, try_folder

    source["path"] = str(folder)
    try:
        tried = try_folder(folder, registry)
        _say_trial(folder, tried)
        if not tried.seen and (wait_s := answers.wait_s or (0 if answers.yes else 3600)):
            tried = _await_file(folder, registry, tried, wait_s, interactive=not answers.yes)
    except errors.Retryable as error:
        _light("yellow", error.message)
        _next("The service waits for it; see that it is mounted and can be read.")
        return "yellow"
    if tried.patterns:
        source["patterns"] = list(tried.patterns)
    source |= {key: True for key in ("recursive", "poll") if getattr(tried, key)}
    account = service_account()
    if not may(account, folder, "rx"):
        _light("red", f"{account.name} may not read {folder}")
        _next(f"setfacl -m u:{account.name}:rx {folder}")
        return "red"
    assert isinstance(tried, Trial)
    return tried.light


def _await_file(
    folder: Path, registry: Registry, tried: Trial, wait_s: float, *, interactive: bool
) -> Trial:
    """Wait for the analyzer's first file; a person may go on without."""
    from edge_daemon.wizard.trial import try_folder

    if interactive:
        click.echo("  Let the analyzer export one run now; Enter goes on without.")
    until = time.monotonic() + wait_s
    while time.monotonic() < until and not (interactive and _pressed(1.0)):
        if not interactive:
            time.sleep(0.2)
        tried = try_folder(folder, registry)
        if tried.light == "green":
            break
    if tried.seen:
        _say_trial(folder, tried)
    return tried


def _pressed(seconds: float) -> bool:
    """Wait for Enter."""
    if not select.select([sys.stdin], [], [], seconds)[0]:
        return False
    sys.stdin.readline()
    return True


def _say_none(folder: Path, tried: Trial) -> None:
    if tried.others:
        names = ", ".join(tried.others[:3])
        _light("red", f"{folder}: files are there, and no profile takes such names: {names}")
        _next(
            "Check what the analyzer exports; `edge-daemon profile new FILE` drafts a profile for "
            "an instrument that is not known yet (new-instrument.md)."
        )
    else:
        _light("yellow", f"{folder}: no file is there yet")


def _say_trial(folder: Path, tried: Trial) -> None:
    """Say how many files were seen and read, as which instrument, and what hinders the rest."""
    if not tried.seen:
        _say_none(folder, tried)
        return
    seen = f"{tried.seen} file{'s' * (tried.seen != 1)} seen"
    newest = "" if tried.tried >= tried.seen else f"; of the newest {tried.tried}"
    text = f"{seen}{newest}, {tried.decoded} decoded"
    if tried.classified:
        text += f", {tried.classified} classified"
    if tried.profiles:
        text += f": {', '.join(name for name, _ in tried.profiles)}"
    _light(tried.light, text)
    if tried.simulated:
        click.echo(f"  {tried.simulated} of them {output.SIMULATED}: not a patient's result")
    for refused in tried.refused:
        click.echo(f"  {refused.files} not used: {output.printable(refused.message)}")
        if refused.action:
            _next(refused.action)


def _serial(port: Path, source: dict[str, Any], answers: Answers, registry: Registry) -> str:
    """Listen on a port, and choose the profile that says framing and speed."""
    from edge_daemon.sources.connection import LostError
    from edge_daemon.sources.ports import lasting_name
    from edge_daemon.wizard import listening

    port = lasting_name(port) or port
    source["port"] = str(port)
    heard, light = listening.Heard(), "yellow"
    if not port.exists():
        light = "red"
        _light("red", f"{port}: there is no such port")
        _next("Check the cable and the name; the service waits for it.")
    elif wait_s := answers.wait_s or (0.0 if answers.yes else _LISTEN_S):
        line = listening.settings_of(answers.profile, registry)
        try:
            heard = listening.hear(_first_bytes(port, line, wait_s, answers), registry)
        except LostError as error:
            _light("red", error.message)
            _next(error.action)
            light = "red"
    if heard.framing:
        light = "green"
        _light("green", f"{heard.size} bytes heard: the analyzer speaks {heard.framing.upper()}")
    elif heard.size:
        light = "red"
        _light("red", f"{heard.size} bytes heard that begin no message")
        _next("Compare baud rate and parity with the analyzer's settings, and the cable.")
    elif light != "red":
        _light("yellow", f"{port}: nothing was heard")
    source |= _language(answers, heard.profiles, heard.framing, registry)
    return light


def _first_bytes(port: Path, line: LineSettings, wait_s: float, answers: Answers) -> bytes:
    """Listen; a person may go on without."""
    from edge_daemon.wizard.listening import listen

    def opened() -> None:
        if not answers.yes:
            click.echo(f"\nListening on {port} ({line.baud} baud); nothing is answered.")
            click.echo("  Let the analyzer send one result now; Enter goes on without.")

    def enough() -> bool:
        return not answers.yes and _pressed(0.0)

    return listen(port, line, wait_s, opened=opened, enough=enough)


def _language(
    answers: Answers, fitting: tuple[str, ...], framing: str, registry: Registry
) -> dict[str, Any]:
    """Choose the profile of a line, or its framing where no profile is known."""
    if answers.profile is not None:
        registry.get(answers.profile)
        return {"profile": answers.profile}
    if len(fitting) == 1:
        _light("green", f"profile {fitting[0]}")
        return {"profile": fitting[0]}
    from edge_daemon.wizard.listening import speaking

    known = fitting or tuple(n for f in ("astm", "mllp", "packet") for n in speaking(f, registry))
    if answers.yes:
        if framing:
            return {"framing": framing}
        raise click.UsageError(f"--profile is needed here, one of: {', '.join(known)}.")
    click.echo("\nWhich analyzer is it?")
    titles = [f"{registry.get(name).title}  ({name})" for name in known]
    for number, title in enumerate([*titles, "another one"], start=1):
        click.echo(f"  {number}  {title}")
    chosen = int(click.prompt("Number", type=click.IntRange(1, len(known) + 1), default=1))
    if chosen <= len(known):
        return {"profile": known[chosen - 1]}
    kinds = click.Choice(["astm", "mllp", "packet", "block"])
    return {"framing": click.prompt("Framing", type=kinds, default=framing or "astm")}


def _network(source: dict[str, Any], answers: Answers, registry: Registry) -> str:
    """Ask who connects to whom."""
    if answers.connect:
        source["connect"] = answers.connect
    elif answers.listen:
        source |= {"listen": answers.listen} | (
            {"allow": list(answers.allow)} if answers.allow else {}
        )
    elif click.confirm("Does the analyzer connect to this box?", default=True):
        source["listen"] = click.prompt("Address and port to listen on", default="0.0.0.0:5100")
        source["allow"] = [click.prompt("Address of the analyzer")]
    else:
        source["connect"] = click.prompt("Address and port of the analyzer (host:port)")
    source |= _language(answers, (), "", registry)
    _light("yellow", "whether it speaks is seen once the service runs: `edge-daemon status`")
    return "yellow"


def _page(answers: Answers) -> str:
    if answers.page is not None or answers.yes:
        return answers.page or "box"
    click.echo("\nWho may open the technician's page?")
    for number, words in enumerate(
        ("this box alone", "computers in the clinic, with a password", "nobody"), start=1
    ):
        click.echo(f"  {number}  {words}")
    return _PAGES[int(click.prompt("Number", type=click.IntRange(1, 3), default=1)) - 1]


def _write(file: Path, text: str) -> None:
    """Write the file, checked first; what stood there is kept beside it."""
    from edge_daemon.config import ConfigError, load_config

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.new")
        partial.write_text(text, encoding="utf-8")
        try:
            load_config(partial)
            if file.exists():
                kept = file.with_name(f"{file.name}.before")
                kept.write_bytes(file.read_bytes())
                click.echo(f"The former configuration is kept as {kept}.")
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    except ConfigError as error:
        raise errors.Fatal(
            "\n".join(
                ["nothing was written, for what was said cannot be:"]
                + [f"  {problem}" for problem in error.problems]
            ),
            action="Give the command again, with what is expected.",
            exit_code=error.exit_code,
        ) from error
    except OSError as error:
        raise errors.Fatal(
            f"{file}: cannot be written: {error.strerror}",
            action="Run this as root (`sudo`), or give another FILE.",
        ) from error
    click.echo(f"\nWrote {file}.")


def _start(file: Path, answers: Answers, page: str) -> bool:
    """Offer to start the service with it; say what to run where that is not possible."""
    from edge_daemon.wizard import starting

    kinds = [str(source["kind"]) for source in answers.sources]
    extras = starting.needed(kinds, page=page != "none")
    if page == "clinic":
        _next("Set a password, else the page stays closed: `edge-daemon web password technician`.")
    hindrance = starting.hindrance()
    if os.path.abspath(file) != str(options.config_path()):  # noqa: PTH100 - links stay links
        hindrance = "it reads another file"
    if hindrance:
        click.echo(f"The service was not started: {hindrance}.")
        _next(f"edge-daemon run -c {file}")
        return True
    if not answers.yes and not click.confirm(
        "Start the service now, and whenever the box starts?", default=True
    ):
        return True
    if trouble := starting.start(extras):
        _light("red", f"the service did not start: {trouble}")
        _next("`edge-daemon doctor` says why, and how to mend it.")
        return False
    return _say_running()


def _say_running() -> bool:
    from edge_daemon import own_command

    with contextlib.suppress(errors.EdgeError):
        told = own_command.ask(["status", "--json"], timeout_s=30, what="the state of the box")
        problems = [problem["message"] for problem in told["problems"]]
        _light("yellow" if problems else "green", "the service runs")
        for problem in told["problems"]:
            click.echo(f"  {output.printable(problem['message'])}")
            _next(problem["action"])
        if told["page"]:
            click.echo(f"  The technician's page: {told['page']}")
        return True
    _light("yellow", "the service was started; `edge-daemon status` says how it is")
    return True
