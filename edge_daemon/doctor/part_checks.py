"""From facts about sources, profiles, models and service to what is well; pure functions."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from edge_daemon.doctor.checks import Check, bad, doubt, ok
from edge_daemon.doctor.facts import FolderSource, SerialSource
from edge_daemon.resources import systemd_dir
from edge_daemon.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_daemon.doctor.facts import (
        NetworkSource,
        Page,
        Probe,
        Server,
        Service,
        Source,
        Updates,
    )


def drop_in(name: str) -> str:
    """Say how to give the unit what it lacks."""
    source = systemd_dir() / "edge-daemon.service.d" / name
    target = "/etc/systemd/system/edge-daemon.service.d"
    return (
        f"`mkdir -p {target}; cp {source} {target}`, then `systemctl daemon-reload` and "
        "`systemctl restart edge-daemon`"
    )


_HIDDEN: Final = ("/tmp", "/var/tmp")  # noqa: S108 - folders a unit with PrivateTmp cannot see
_MANY_RESTARTS: Final = 3
_OFFER_DAYS: Final = 5.0  # it is renewed every three weeks, and holds for thirty days
_RENEWAL_DAYS: Final = 14.0  # the service renews a month before the end
_ROOM: Final = 160  # of a message that must stay one line
_LINES: Final = drop_in("lines.conf")


def source(facts: Source, service: Service) -> Check:
    """Check that a source can reach its analyzer, and that the unit lets it."""
    if isinstance(facts, FolderSource):
        return _folder(facts, service)
    if isinstance(facts, SerialSource):
        return _serial(facts, service)
    return _network(facts, service)


def _folder(facts: FolderSource, service: Service) -> Check:
    name = f"source {facts.name}"
    if service.loaded and service.private_tmp and _is_hidden(facts.path):
        text = f"{facts.path} is hidden from the service, which has a /tmp of its own"
        return bad(name, text, "export into another folder, such as /srv/analyzer")
    if not facts.exists:
        fix = "make the folder, or mount the share it lies on; the service waits for it"
        return bad(name, f"{facts.path}: no such folder", fix)
    if not facts.readable:
        fix = f"give {facts.user} the right to read it, e.g. `setfacl -m u:{facts.user}:rx`"
        return bad(name, f"{facts.path}: {facts.user} may not read it", fix)
    return ok(name, facts.path)


def _is_hidden(path: str) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in _HIDDEN)


def _serial(facts: SerialSource, service: Service) -> Check:
    name = f"source {facts.name}"
    if not facts.exists:
        fix = "plug the cable in, and compare `port` with `ls /dev/serial/by-id`"
        return bad(name, f"{facts.port}: no such port", fix)
    if not facts.is_port:
        return bad(name, f"{facts.port} is no serial port", "correct `port` in the configuration")
    if service.loaded and service.private_devices:
        return bad(name, "the unit opens no serial port", _LINES)
    if not facts.usable:
        fix = f"`sudo usermod -aG {facts.group} {facts.user}`, then restart the service"
        return bad(name, f"{facts.port}: {facts.user} may not use it", fix)
    if facts.lasting is not None:
        text = f"{facts.port} may be another device after a restart"
        return doubt(name, text, f"write {facts.lasting} as `port`")
    return ok(name, facts.port)


def _network(facts: NetworkSource, service: Service) -> Check:
    name = f"source {facts.name}"
    if service.loaded and service.private_network:
        return bad(name, "the unit opens no network", _LINES)
    if facts.trouble:
        key = "listen" if facts.listening else "connect"
        fix = f"correct `{key}`, or the network settings of this box"
        return bad(name, f"{facts.address}: {facts.trouble}", fix)
    how = "can be listened on" if facts.listening else "can be looked up"
    return ok(name, f"{facts.address} {how}")


def _first(texts: Sequence[str]) -> str:
    """Shorten the first of several messages, and say how many more there are."""
    more = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
    return textwrap.shorten(texts[0], _ROOM, placeholder=" …") + more


def profiles(facts: Probe) -> Check:
    """Check that every profile loads."""
    name = "profiles"
    if facts.ended:
        return bad(name, f"not checked: the check ended {facts.ended}", "see the line of models")
    if facts.broken_profiles:
        fix = "correct the file; `edge-daemon profile test FILE` says everything about it"
        return bad(name, _first(facts.broken_profiles), fix)
    return ok(name, f"{facts.profiles} load")


def models(facts: Probe) -> Check:
    """Check digests and golden vectors, as found in a process of its own."""
    name = "models"
    if facts.ended:
        fix = "this processor or memory does not fit the model runtime: send a support-bundle"
        return bad(name, f"not checked: the check ended {facts.ended}", fix)
    if facts.broken_bundles:
        fix = "install the bundle again from its source; never edit its files"
        return bad(name, _first(facts.broken_bundles), fix)
    if not facts.bundles:
        return bad(name, "there is none", "install the package again")
    if facts.runtime != facts.locked:
        text = f"onnxruntime {facts.runtime} is not the locked {facts.locked}"
        return doubt(name, text, "install the locked packages again (constraints.txt)")
    return ok(name, f"{', '.join(facts.bundles)} reproduce their golden vectors here")


def telemetry(facts: Probe) -> Check:
    """Check that the model runtime sends nothing."""
    name = "telemetry"
    if facts.ended:
        return doubt(name, f"not checked: the check ended {facts.ended}", "see the line of models")
    if facts.telemetry_off:
        return ok(name, "the model runtime's is switched off")
    return bad(name, "the model runtime's is on", "set ORT_DISABLE_TELEMETRY=1 in the unit")


def confinement(missing: Sequence[str]) -> Check:
    """Check that the kernel has what confines the workers."""
    name = "confinement"
    if missing:
        text = f"the kernel lacks {', '.join(missing)}: workers are confined by the rest alone"
        return doubt(name, text, "use a newer system; sandbox.md says what is left")
    return ok(name, "workers can write nothing and reach no network")


def service(facts: Service) -> Check:
    """Check that the service runs, is started with the box, and stays up."""
    name = "service"
    if facts.pid is None:
        fix = "start it with `systemctl start edge-daemon` or `edge-daemon run`"
        if facts.loaded and facts.active == "failed":
            fix = "read `journalctl -u edge-daemon`, mend what it says, then start it again"
            return bad(name, f"it failed ({facts.result})", fix)
        return bad(name, "it does not run: nothing is being taken in", fix)
    if facts.systemd and not facts.loaded:
        fix = "install the unit (systemd/edge-daemon.service), so that it starts with the box"
        return doubt(name, f"process {facts.pid} runs, and not under systemd", fix)
    if facts.loaded and not facts.enabled:
        fix = "`sudo systemctl enable edge-daemon`"
        return doubt(name, f"process {facts.pid} runs, and does not start with the box", fix)
    if facts.restarts > _MANY_RESTARTS:
        fix = "read `journalctl -u edge-daemon` for why"
        return doubt(name, f"systemd had to start it {facts.restarts} times", fix)
    return ok(name, f"process {facts.pid} runs")


def server(facts: Server | None, service: Service) -> Check | None:
    """Check that an enrolled box reaches its central server, and will still be let in."""
    if facts is None:
        return None
    name = "central server"
    if service.loaded and service.private_network:
        return bad(name, "the unit opens no network", drop_in("sync.conf"))
    if facts.trouble:
        fix = "check network, name server and proxy; nothing is lost, results wait (sync.md)"
        return bad(name, f"{facts.address}: {facts.trouble}", fix)
    if facts.valid_days < _RENEWAL_DAYS:
        text = f"the box's certificate ends in {counted(round(facts.valid_days), 'day')}"
        return doubt(name, text, "let the service run online: it renews it; else enrol again")
    return ok(name, f"{facts.address} answers")


def page(facts: Page | None, service: Service) -> Check | None:
    """Check that somebody can open the technician's page."""
    if facts is None:
        return None
    name = "page"
    if service.loaded and service.private_network:
        text = "the unit opens no network: nobody can open the page"
        return doubt(name, text, drop_in("web.conf"))
    if facts.trouble:
        return doubt(name, facts.trouble, "see web.md, or set `web.enabled = false`")
    return ok(name, facts.address)


def updates(facts: Updates | None) -> Check | None:
    """Check that signed updates can be taken; nothing of it touches results."""
    if facts is None:
        return None
    name = "updates"
    if facts.trouble:
        return doubt(name, facts.trouble, f"{facts.action} Results go on.")
    if facts.days is None:
        return ok(name, "not looked for yet")
    if facts.days < _OFFER_DAYS:
        text = f"what is offered runs out in {counted(max(round(facts.days), 0), 'day')}"
        return doubt(name, text, "tell whoever publishes the updates to renew them")
    return ok(name, f"{counted(facts.in_use, 'update')} in use")


def conditions(facts: Service) -> Sequence[Check]:
    """Repeat what the running service says of itself."""
    return [doubt("condition", words, action) for words, action in facts.conditions]
