"""Every check of `doctor`: what is well, what is not, and that it says what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_daemon.doctor import checks, facts, part_checks

BOX = facts.Service(pid=7, systemd=True, loaded=True, active="active", enabled=True)


def holds(check, verdict, *words):
    assert check is not None
    assert check.verdict == verdict, check
    for word in words:
        assert word in f"{check.text} → {check.fix}"
    assert bool(check.fix) == (verdict != "ok")


def test_configuration():
    holds(checks.config(facts.Config("/etc/c.toml", ())), "ok", "/etc/c.toml")
    holds(checks.config(facts.Config("/etc/c.toml", None)), "doubt", "config init /etc/c.toml")
    wrong = facts.Config("/etc/c.toml", ("box.nmae: unknown key", "source: missing"))
    holds(checks.config(wrong), "bad", "box.nmae", "and 1 more", "config check")


FOLDER = facts.Folder("/d", True, "edge-daemon", 0o750, "edge-daemon", True)


@pytest.mark.parametrize(
    ("folder", "verdict", "words"),
    [
        (FOLDER, "ok", "0750"),
        (facts.Folder("/d", user="edge-daemon"), "doubt", "start the service once"),
        (facts.Folder("/d", True, "root", 0o750, "edge-daemon"), "bad", "chown -R edge-daemon: /d"),
        (facts.Folder("/d", True, "edge-daemon", 0o755, "edge-daemon", True), "doubt", "chmod"),
    ],
)
def test_data_folder(folder, verdict, words):
    holds(checks.data_folder(folder), verdict, words)


@pytest.mark.parametrize(
    ("space", "verdict", "words"),
    [
        (facts.Space(400, 200, None), "ok", "400 MB free"),
        (facts.Space(399, 200, None), "doubt", "at 200 MB nothing more"),
        (facts.Space(199, 200, None), "bad", "below 200 MB nothing"),
        (facts.Space(9000, 200, 9_999), "doubt", "9999 more files"),
        (facts.Space(9000, 200, 10_000), "ok", "9000"),
    ],
)
def test_space(space, verdict, words):
    holds(checks.space(space), verdict, words)
    assert checks.space(None) is None


@pytest.mark.parametrize(
    ("kind", "options", "verdict", "words"),
    [
        ("ext4", "rw,relatime", "ok", "ext4 on /"),
        ("ext4", "rw,data=ordered", "ok", "ext4"),
        ("ext4", "rw,data=writeback", "bad", "data=writeback"),
        ("ext4", "rw,nobarrier", "bad", "nobarrier"),
        ("xfs", "rw,barrier=0", "bad", "barrier=0"),
        ("ext4", "ro,errors=remount-ro", "bad", "is read-only"),
        ("cifs", "rw", "bad", "network share"),
        ("nfs4", "rw", "bad", "network share"),
        ("overlay", "rw", "bad", "power cut"),
        ("tmpfs", "rw", "bad", "power cut"),
        ("vfat", "rw", "doubt", "no journal"),
    ],
)
def test_mount(kind, options, verdict, words):
    found = checks.mount(facts.Mount(kind, frozenset(options.split(",")), "/"))
    holds(found, verdict, words)
    assert checks.mount(None) is None


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ("3.6.23", "ok"),
        ("3.7.0", "doubt"),
        ("3.40.1", "doubt"),
        ("3.44.5", "doubt"),
        ("3.44.6", "ok"),
        ("3.45.0", "doubt"),
        ("3.50.6", "doubt"),
        ("3.50.7", "ok"),
        ("3.51.0", "doubt"),
        ("3.51.2", "doubt"),
        ("3.51.3", "ok"),
        ("3.52.0", "ok"),
        ("4.0.0", "ok"),
    ],
)
def test_sqlite_version(version, verdict):
    holds(checks.sqlite_version(version), verdict, version)


def test_database():
    holds(checks.database(facts.Database(exists=True)), "ok")
    holds(checks.database(facts.Database(exists=False)), "doubt", "none yet")
    broken = facts.Database(exists=True, damage=("row 3 missing from index",))
    holds(checks.database(broken), "bad", "row 3 missing", "restore a backup")
    closed = facts.Database(exists=True, trouble="schema 0009 is newer")
    holds(checks.database(closed), "bad", "schema 0009")


def test_backups():
    good, old = facts.Backup("a.db", 3.0, behind=True), facts.Backup("b.db", 49.0, behind=True)
    quiet = facts.Backup("d.db", 900.0)
    broken = facts.Backup("c.db", 30.0, "file is not a database")
    holds(checks.backups([good, old], True), "ok", "2, the newest 3 h old")
    holds(checks.backups([old], True), "doubt", "b.db, is 49 h old")
    holds(checks.backups([quiet], True), "ok", "900 h old")
    holds(checks.backups([], True), "doubt", "there is none", "edge-daemon backup")
    holds(checks.backups([good, broken], True), "bad", "c.db cannot be restored", "not a database")
    assert checks.backups([], False) is None


@pytest.mark.parametrize(
    ("tenths", "reserve", "verdict"),
    [
        (1, "normal", "ok"),
        (7, "unknown", "ok"),
        (8, "normal", "doubt"),
        (3, "warning", "doubt"),
        (11, "normal", "bad"),
        (3, "urgent", "bad"),
    ],
)
def test_wear(tenths, reserve, verdict):
    holds(checks.wear(facts.Wear("mmcblk0", tenths, reserve)), verdict, f"{tenths * 10} %")


@pytest.mark.parametrize(
    ("bits", "verdict", "words"),
    [
        (0x0, "ok", "steady"),
        (0x1, "bad", "too low now"),
        (0x50005, "bad", "too low now"),
        (0x50000, "doubt", "was too low"),
        (0x8, "doubt", "slowed down"),
        (0x80000, "doubt", "slowed down"),
    ],
)
def test_power(bits, verdict, words):
    holds(checks.power(facts.Power(bits, None)), verdict, words)


def test_a_board_that_does_not_tell_gives_no_line():
    assert checks.power(facts.Power(None, None)) is None
    assert checks.temperature(facts.Power(None, None)) is None


def test_temperature():
    holds(checks.temperature(facts.Power(None, 79.9)), "ok", "80 °C")
    holds(checks.temperature(facts.Power(None, 80.0)), "doubt", "more air")


def test_clock():
    holds(checks.clock(facts.Time("synchronised", False)), "ok")
    holds(checks.clock(facts.Time("unsynchronised", True)), "doubt", "a battery keeps it")
    holds(checks.clock(facts.Time("unknown", False)), "doubt", "wrong after a power cut")


def test_memory():
    holds(checks.memory(facts.Memory(1900, 900, 4)), "ok", "900 MB of it free")
    holds(checks.memory(facts.Memory(450, 200, 4)), "doubt", "workers.count")
    assert checks.memory(None) is None


GOOD = facts.Probe(
    profiles=13, bundles=("m@1",), runtime="1.28.0", locked="1.28.0", telemetry_off=True
)


def test_profiles_models_and_telemetry():
    holds(part_checks.profiles(GOOD), "ok", "13 load")
    holds(part_checks.models(GOOD), "ok", "m@1")
    holds(part_checks.telemetry(GOOD), "ok")
    bad = facts.Probe(broken_profiles=("a.toml: line 3", "b"), broken_bundles=("m: digest",))
    holds(part_checks.profiles(bad), "bad", "line 3", "and 1 more")
    holds(part_checks.models(bad), "bad", "m: digest")
    holds(part_checks.telemetry(bad), "bad", "ORT_DISABLE_TELEMETRY=1")
    holds(part_checks.models(facts.Probe()), "bad", "there is none")
    long = part_checks.profiles(facts.Probe(broken_profiles=("x: key missing; " * 50,)))
    assert len(long.text) <= 160
    other = facts.Probe(bundles=("m@1",), runtime="1.32.0", locked="1.28.0")
    holds(part_checks.models(other), "doubt", "1.32.0 is not the locked 1.28.0")


def test_a_processor_that_does_not_fit_is_said():
    ended = facts.Probe(ended="by SIGILL")
    holds(part_checks.models(ended), "bad", "ended by SIGILL", "processor")
    holds(part_checks.profiles(ended), "bad", "SIGILL")
    holds(part_checks.telemetry(ended), "doubt", "SIGILL")


@pytest.mark.parametrize(
    ("path", "exists", "readable", "verdict", "words"),
    [
        ("/srv/a", True, True, "ok", "/srv/a"),
        ("/srv/a", False, False, "bad", "no such folder"),
        ("/srv/a", True, False, "bad", "edge-daemon may not read it"),
        ("/tmp/a", True, True, "bad", "hidden from the service"),
        ("/tmpfiles", True, True, "ok", "/tmpfiles"),
    ],
)
def test_folder_source(path, exists, readable, verdict, words):
    unit = facts.Service(loaded=True, private_tmp=True)
    found = facts.FolderSource("an1", path, exists, "edge-daemon", readable)
    holds(part_checks.source(found, unit), verdict, words)


def test_a_folder_in_tmp_is_fine_without_the_unit():
    found = facts.FolderSource("an1", "/tmp/a", True, "me", True)
    holds(part_checks.source(found, facts.Service()), "ok")


def port(**changes):
    known = {"exists": True, "is_port": True, "usable": True, "group": "dialout"} | changes
    return facts.SerialSource("s1", "/dev/ttyUSB0", "edge-daemon", **known)


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, "ok", "/dev/ttyUSB0"),
        ({"exists": False}, "bad", "no such port"),
        ({"is_port": False}, "bad", "is no serial port"),
        ({"usable": False}, "bad", "usermod -aG dialout edge-daemon"),
        ({"lasting": "/dev/serial/by-id/usb-x"}, "doubt", "write /dev/serial/by-id/usb-x"),
    ],
)
def test_serial_source(changes, verdict, words):
    holds(part_checks.source(port(**changes), facts.Service()), verdict, words)


def test_network_source():
    def found(trouble, *, listening=True):
        return facts.NetworkSource("t1", "10.0.0.9:5100", listening, trouble)

    holds(part_checks.source(found(""), facts.Service()), "ok", "can be listened on")
    holds(part_checks.source(found("", listening=False), facts.Service()), "ok", "looked up")
    wrong = found("Cannot assign requested address")
    holds(part_checks.source(wrong, facts.Service()), "bad", "Cannot assign", "`listen`")


def test_a_unit_that_keeps_lines_closed_is_said():
    unit = facts.Service(loaded=True, private_network=True, private_devices=True)
    network = facts.NetworkSource("t1", "127.0.0.1:5100", listening=True, trouble="")
    holds(part_checks.source(network, unit), "bad", "opens no network", "lines.conf")
    holds(part_checks.source(port(), unit), "bad", "opens no serial port", "lines.conf")


@pytest.mark.parametrize(
    ("service", "verdict", "words"),
    [
        (BOX, "ok", "process 7 runs"),
        (facts.Service(pid=7), "ok", "process 7 runs"),
        (facts.Service(), "bad", "systemctl start"),
        (facts.Service(loaded=True, active="failed", result="exit-code"), "bad", "exit-code"),
        (facts.Service(pid=7, systemd=True), "doubt", "not under systemd"),
        (facts.Service(pid=7, systemd=True, loaded=True), "doubt", "systemctl enable"),
        (
            facts.Service(pid=7, systemd=True, loaded=True, enabled=True, restarts=4),
            "doubt",
            "4 times",
        ),
    ],
)
def test_service(service, verdict, words):
    holds(part_checks.service(service), verdict, words)


def test_confinement():
    holds(part_checks.confinement(()), "ok", "reach no network")
    holds(part_checks.confinement(("landlock",)), "doubt", "lacks landlock", "sandbox.md")


def test_central_server():
    good = facts.Server("https://c", "", 60.0)
    assert part_checks.server(None, BOX) is None
    holds(part_checks.server(good, BOX), "ok", "https://c answers")
    silent = facts.Server("https://c", "connection refused", 0.0)
    holds(part_checks.server(silent, BOX), "bad", "connection refused", "results wait")
    holds(part_checks.server(facts.Server("https://c", "", 13.0), BOX), "doubt", "13 days")
    closed = facts.Service(loaded=True, private_network=True)
    holds(part_checks.server(good, closed), "bad", "opens no network", "sync.conf")


def test_conditions_of_the_service_are_repeated():
    (found,) = part_checks.conditions(facts.Service(pid=7, conditions=(("an1 is blind", "Look."),)))
    holds(found, "doubt", "an1 is blind", "Look.")


def test_a_card_that_does_not_tell_its_wear_is_named():
    holds(checks.wear(facts.Wear("mmcblk1", 0, "unknown")), "ok", "mmcblk1 does not tell", "backup")
    holds(checks.wear(facts.Wear("mmcblk1", 0, "urgent")), "bad", "replace the card")


def test_journal():
    assert checks.journal(None) is None
    holds(checks.journal(500), "ok", "500 MB")
    holds(checks.journal(501), "doubt", "501 MB", "journald.conf.d/edge-daemon.conf")


def test_page():
    page = facts.Page("127.0.0.1:8470", "")
    assert part_checks.page(None, BOX) is None
    holds(part_checks.page(page, BOX), "ok", "127.0.0.1:8470")
    shut = replace(BOX, private_network=True)
    holds(part_checks.page(page, shut), "doubt", "nobody can open the page", "web.conf", "restart")
    taken = facts.Page("127.0.0.1:8470", "the port is taken")
    holds(part_checks.page(taken, BOX), "doubt", "the port is taken", "web.md")


def test_updates():
    def told(trouble="", action="", days=20.0):
        return part_checks.updates(facts.Updates(2, trouble, action, days))

    assert part_checks.updates(None) is None
    holds(told(), "ok", "2 updates in use")
    holds(told(days=None), "ok", "not looked for yet")
    holds(told(days=3.0), "doubt", "runs out in 3 days", "renew")
    holds(told("the offer has run out", "Tell them."), "doubt", "has run out", "Results go on")
