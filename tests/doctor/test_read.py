"""What `doctor` reads: planted trees, real files, real processes."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edge_daemon.clock import SystemClock
from edge_daemon.config import Web
from edge_daemon.doctor import access, facts, read_parts, read_store, read_system
from edge_daemon.doctor.access import Account, may, service_account
from edge_daemon.records import RawCapture
from edge_daemon.resources import models_dir, profiles_dir
from edge_daemon.source_settings import FolderSource, SerialSource, TcpSource
from edge_daemon.store.backup import back_up
from edge_daemon.store.writer import Store

ME = Account("me")
MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw,errors=remount-ro
30 22 0:25 / /var rw - ext4 /dev/mmcblk0p3 rw,data=writeback
31 30 0:26 / /var/lib/my\\040data rw,noatime - xfs /dev/sda1 rw,nobarrier
32 31 0:27 / /var/lib/my\\040data ro - xfs /dev/sda1 rw
broken line
"""


def plant(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("path", "point", "option"),
    [
        ("/srv", "/", "errors=remount-ro"),
        ("/var", "/var", "data=writeback"),
        ("/variable", "/", "relatime"),
        ("/var/lib/edge-daemon", "/var", "data=writeback"),
        ("/var/lib/my data/x", "/var/lib/my data", "ro"),
    ],
)
def test_the_mount_of_a_path(path, point, option):
    found = read_system.mount_of(path, MOUNTS)
    assert found.point == point
    assert option in found.options


def test_the_mount_of_a_real_folder_and_of_none(tmp_path):
    assert read_system.mount(tmp_path).kind
    assert read_system.mount(tmp_path, root=tmp_path) is None


def test_card_wear(tmp_path):
    plant(tmp_path, "sys/block/mmcblk0/device/life_time", "0x02 0x09\n")
    plant(tmp_path, "sys/block/mmcblk0/device/pre_eol_info", "0x02\n")
    plant(tmp_path, "sys/block/mmcblk1/device/life_time", "0x00 0x00\n")
    plant(tmp_path, "sys/block/mmcblk2/device/name", "SD\n")
    plant(tmp_path, "sys/block/mmcblk3/device/life_time", "nonsense\n")
    plant(tmp_path, "sys/block/mmcblk0boot0/size", "0\n")
    silent = [facts.Wear(f"mmcblk{number}", 0, "unknown") for number in (1, 2, 3)]
    assert read_system.wear(tmp_path) == (facts.Wear("mmcblk0", 9, "warning"), *silent)
    assert read_system.wear(tmp_path / "none") == ()


def test_the_size_of_the_journal(tmp_path):
    assert read_system.journal_mb(tmp_path) is None
    plant(tmp_path, "var/log/journal/abc/system.journal", "x" * (3 << 20))
    plant(tmp_path, "var/log/journal/abc/user-1000@1.journal~", "x" * (1 << 20))
    assert read_system.journal_mb(tmp_path) == 4


def test_the_page(tmp_path):
    web, told = Web(), tmp_path / "status.json"
    assert read_parts.page(web, told) == facts.Page("127.0.0.1:8470", "")
    told.write_text('{"web": {"url": null, "reason": "the port is taken"}}')
    assert read_parts.page(web, told) == facts.Page("127.0.0.1:8470", "the port is taken")
    told.write_text('{"web": {"url": "http://127.0.0.1:1/", "reason": ""}}')
    assert read_parts.page(web, told) == facts.Page("http://127.0.0.1:1/", "")
    assert read_parts.page(Web(enabled=False), told) is None


def test_power_and_temperature_of_a_pi(tmp_path):
    plant(tmp_path, "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    plant(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    plant(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48312\n")
    assert read_system.power(tmp_path) == facts.Power(0x50005, 48.312)


def test_a_machine_that_is_no_pi_tells_no_supply(tmp_path):
    plant(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "1\n")
    assert read_system.power(tmp_path) == facts.Power(None, None)


def test_clock_and_memory(tmp_path):
    assert not read_system.time(tmp_path).battery_clock
    plant(tmp_path, "sys/class/rtc/rtc0/name", "ds3231\n")
    assert read_system.time(tmp_path).battery_clock
    assert read_system.memory(2, tmp_path) is None
    text = "MemTotal:  3884512 kB\nMemFree: 1 kB\nMemAvailable:  2048000 kB\n"
    plant(tmp_path, "proc/meminfo", text)
    assert read_system.memory(2, tmp_path) == facts.Memory(3793, 2000, 2)


def test_space_of_a_real_folder(tmp_path):
    found = read_system.space(tmp_path, 200)
    assert found.free_mb > 0
    assert read_system.space(tmp_path / "gone", 200) is None


def test_a_program_that_is_missing_or_fails_says_nothing():
    assert read_system.run("no-such-program-here") is None
    assert read_system.run("false") is None
    assert read_system.run("echo", "x") == "x\n"


@pytest.fixture
def data(tmp_path):
    Store.open(tmp_path / "data", SystemClock()).close()
    return tmp_path / "data"


def test_the_data_folder(data, tmp_path):
    data.chmod(0o750)
    found = read_store.folder(data, ME)
    owner = pwd.getpwuid(os.getuid()).pw_name
    assert found == facts.Folder(str(data), True, owner, 0o750, "me", True)
    assert not read_store.folder(tmp_path / "none", ME).exists


def test_a_sound_a_missing_and_a_damaged_database(data, tmp_path):
    assert read_store.database(data) == facts.Database(exists=True)
    assert read_store.database(tmp_path) == facts.Database(exists=False)
    file = data / "edge.sqlite3"
    content = bytearray(file.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    file.write_bytes(content)
    found = read_store.database(data)
    assert found.damage or found.trouble
    file.write_bytes(b"no database at all, but a text of some length")
    assert read_store.database(data).trouble


def test_backups_are_opened(data):
    assert read_store.backups(data) == ()
    good, _ = back_up(data)
    (data / "backups" / "empty.db").touch()
    (data / "backups" / "torn.db").write_bytes((data / "edge.sqlite3").read_bytes()[:5000])
    with sqlite3.connect(data / "backups" / "other.db") as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    before = {path.name for path in (data / "backups").iterdir()}
    found = {backup.name: backup for backup in read_store.backups(data)}
    whole = found.pop(good.name)
    assert (whole.trouble, whole.behind) == ("", False)
    assert set(found) == {"empty.db", "torn.db", "other.db"}
    assert all(backup.trouble for backup in found.values())
    assert {path.name for path in (data / "backups").iterdir()} == before


def test_a_backup_that_lacks_a_capture_is_behind(data):
    back_up(data)
    content = b"one more"
    capture = RawCapture("an1", "s", "n.fcs", hashlib.sha256(content).hexdigest(), content)
    with Store.open(data, SystemClock()) as store:
        store.accept(capture)
    (backup,) = read_store.backups(data)
    assert backup.behind


def test_the_service_has_the_groups_that_its_unit_gives_it(monkeypatch):
    """`lines.conf` opens serial ports by a group that the user itself is not in."""
    monkeypatch.setattr(access, "SERVICE_USER", "nobody")
    monkeypatch.setattr(access.os, "geteuid", lambda: 0)
    monkeypatch.setattr(access, "run", lambda *_: "dialout no-such-group\n")
    assert grp.getgrnam("dialout").gr_gid in service_account().groups


def test_access_is_asked_as_the_other_user():
    if os.geteuid() != 0:
        pytest.skip("only root can ask as another user")
    nobody = pwd.getpwnam("nobody")
    account = Account("nobody", nobody.pw_uid, nobody.pw_gid, (nobody.pw_gid,))
    # Not below pytest's folder, which is closed to others at whatever depth its parents lie.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        open_file, closed = folder / "open", folder / "closed"
        open_file.touch(mode=0o644)
        closed.touch(mode=0o600)
        assert may(account, open_file, "r")
        assert not may(account, closed, "r")
        assert may(ME, closed, "rw")


def test_somebody_is_always_asked():
    assert service_account().name


def test_folder_sources(tmp_path):
    (tmp_path / "there").mkdir()
    for name, exists in (("there", True), ("gone", False)):
        configured = FolderSource(name="an1", path=tmp_path / name)
        found = read_parts.source(configured, ME)
        assert (found.exists, found.readable) == (exists, exists)


def test_serial_sources(tmp_path):
    ours, theirs = os.openpty()
    configured = {"name": "s1", "kind": "serial", "framing": "astm"}
    found = read_parts.source(SerialSource(port=os.ttyname(theirs), **configured), ME)
    assert (found.exists, found.is_port, found.usable, found.lasting) == (True, True, True, None)
    os.close(ours)
    os.close(theirs)
    (tmp_path / "file").touch()
    assert not read_parts.source(SerialSource(port=tmp_path / "file", **configured), ME).is_port
    assert not read_parts.source(SerialSource(port=tmp_path / "gone", **configured), ME).exists


def network(**address):
    configured = TcpSource(name="t1", kind="tcp", framing="mllp", **address)
    return read_parts.source(configured, ME).trouble


def test_network_sources():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert network(listen=f"127.0.0.1:{port}") == ""  # the service itself holds it
    assert network(listen=f"127.0.0.1:{port}") == ""
    assert network(connect="127.0.0.1:5100") == ""
    assert "assign" in network(listen="203.0.113.7:5100", allow=["203.0.113.0/24"])


def test_the_probe_proves_the_shipped_profiles_and_models():
    found = read_parts.probe([profiles_dir()], [models_dir()])
    assert not found.ended
    assert found.profiles > 5
    assert len(found.bundles) >= 2
    assert (found.broken_profiles, found.broken_bundles) == ((), ())
    assert found.runtime == found.locked
    assert found.telemetry_off


def test_the_probe_names_what_is_broken(tmp_path):
    shutil.copytree(next(models_dir().glob("sim_*")), tmp_path / "models" / "mine")
    with (tmp_path / "models" / "mine" / "stage1.onnx").open("r+b") as stream:
        stream.write(b"\0\0")
    plant(tmp_path, "profiles/acme/1.toml", "nonsense = 1\n")
    found = read_parts.probe([tmp_path / "profiles"], [tmp_path / "models"])
    assert (found.ended, found.profiles, found.bundles) == ("", 0, ())
    assert "1.toml" in found.broken_profiles[0]
    assert "stage1.onnx" in found.broken_bundles[0]


def test_a_probe_that_dies_of_a_signal_kills_nobody_else():
    done = subprocess.run(
        [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGILL)"],
        check=False,
    )
    assert read_parts.probed(done.returncode, "") == facts.Probe(ended="by SIGILL")
    assert read_parts.probed(1, "") == facts.Probe(ended="with exit status 1")
    assert read_parts.probed(0, "not JSON") == facts.Probe(ended="with exit status 0")


UNIT = """\
LoadState=loaded
ActiveState=active
Result=success
NRestarts=2
UnitFileState=enabled
PrivateNetwork=yes
PrivateDevices=no
PrivateTmp=yes
"""


def test_the_words_of_systemd():
    found = read_parts.unit(UNIT, 7, ())
    assert found == facts.Service(
        pid=7,
        systemd=True,
        loaded=True,
        active="active",
        result="success",
        restarts=2,
        enabled=True,
        private_network=True,
        private_tmp=True,
    )
    assert read_parts.unit("LoadState=not-found\n", None, ()).loaded is False


def test_what_the_service_says_of_itself(tmp_path):
    told = (
        '{"health": {"conditions": [{"severity": "error", "message": "blind", "action": "Look."},'
    )
    told += '{"severity": "notice", "message": "clock"}]}}'
    plant(tmp_path, "status.json", told)
    found = read_parts.service(7, tmp_path / "status.json", root=tmp_path)
    assert found == facts.Service(pid=7, conditions=(("blind", "Look."),))
    assert read_parts.service(None, tmp_path / "gone", root=tmp_path) == facts.Service()
