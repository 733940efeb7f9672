"""Settings of a fleet: a closed list, over the box's file, and never over what a site keeps."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from edge_daemon.cli import cli
from edge_daemon.config import load_config
from edge_daemon.errors import EdgeError
from edge_daemon.log import EventLog
from edge_daemon.resources import docs_dir
from edge_daemon.updates import archive, collecting
from edge_daemon.updates.fetching import FolderFetcher
from edge_daemon.updates.guarding import count_start
from edge_daemon.updates.kinds import Item
from edge_daemon.updates.settings import ALLOWED, effective, read_fleet_settings

pytestmark = pytest.mark.usefixtures("proved_here")
KEY = "settings/fleet"
NEVER = (
    "box.data_dir", "box.name", "profiles.extra_dirs", "models.extra_dirs", "reference.extra_dirs",
    "retention.max_archive_gb", "retention.require_sync", "sync.enabled", "sync.proxy", "sync.raw",
    "sync.raw_sample_percent", "sync.simulated", "updates.keep", "updates.url", "updates.enabled",
    "web.listen", "web.hosts", "web.tls_key", "source.listen", "source.allow", "source.path",
)  # fmt: skip


@pytest.fixture
def config(tmp_path, box):
    path = tmp_path / "config.toml"

    def write(more: str = ""):
        path.write_text(
            f'[box]\ndata_dir = "{box}"\n[[source]]\nname = "a"\npath = "/x"\n'
            f"[workers]\ncount = 2\ncpu_s = 40\n{more}\n"
        )
        return path

    return write


@pytest.fixture
def send(desk, signed, tmp_path):
    """Sign settings, and let the box look."""

    def sent(text: str, version: str = "1.0.0"):
        path = tmp_path / "fleet.toml"
        path.write_text(text)
        item = Item("settings", "fleet", version)
        signed.repository.add(item, archive.pack({"settings.toml": text.encode()}))
        place = signed.publish()
        if desk.trust.root is None:
            desk.trust.begin(signed.root)
        return desk.look(FolderFetcher(place))

    return sent


def test_the_fleet_sets_what_the_file_does_not_keep(send, config, box):
    send('[workers]\ncount = 3\nwall_s = 50\n[log]\nlevel = "debug"')
    own = load_config(config('[updates]\nkeep = ["workers.count"]'))
    found = effective(own, box)
    assert (found.settings.workers.count, found.settings.workers.wall_s) == (2, 50.0)
    assert found.settings.log.level == "debug"
    assert found.settings.workers.cpu_s == 40
    assert found.kept == {"workers.count": 3}
    keys = ("workers.count", "workers.wall_s", "workers.memory_mb")
    assert [found.origin(key) for key in keys] == ["file", "fleet", "default"]
    assert own.workers.wall_s == 35.0
    kept = effective(load_config(config('[updates]\nkeep = ["workers"]')), box).settings
    assert (kept.workers.count, kept.workers.wall_s, kept.log.level) == (2, 35.0, "debug")


@pytest.mark.parametrize("key", NEVER)
def test_what_widens_access_is_refused_on_both_sides(key, send, tmp_path, desk):
    section, _, name = key.partition(".")
    text = f'[{section}]\n{name} = "x"'
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    with pytest.raises(EdgeError, match="may not set"):
        collecting.collect("settings", path, "1.0.0", {})
    assert "may not set" in send(text).refused[f"{KEY}@1.0.0"]
    assert desk.folder.read().slot(KEY).active is None


@pytest.mark.parametrize(
    "text",
    ["", "x", "[workers]", "workers = 5", "[workers]\ncount = 0", '[workers]\ncount = "2"',
     '[log]\nlevel = "loud"', "[workers.count]\na = 1", '[sync]\nraw_quiet = "always"',
     "[[source]]\nname = 'x'"],
)  # fmt: skip
def test_wrong_settings_leave_the_last_good_ones(text, send, config, box, desk):
    send("[workers]\ncount = 3")
    assert f"{KEY}@1.0.1" in send(text, "1.0.1").refused
    assert effective(load_config(config()), box).settings.workers.count == 3
    slot = desk.folder.read().slot(KEY)
    assert slot.active.version == "1.0.0"
    assert any("1.0.1: settings.toml" in why for why in slot.blocked.values())


def test_settings_with_which_the_service_does_not_last_go_back(send, config, box):
    send("[workers]\nmemory_mb = 256")
    log = EventLog("error")
    for _ in range(3):
        count_start(box, log)
        assert effective(load_config(config()), box).settings.workers.memory_mb == 256
    count_start(box, log)
    assert effective(load_config(config()), box).settings.workers.memory_mb == 512


def test_the_command_says_where_each_value_comes_from(send, config, box):
    send("[workers]\ncount = 3\nwall_s = 50")
    path = str(config('[updates]\nkeep = ["workers.count"]'))
    done = CliRunner().invoke(cli, ["config", "show", path, "--json"])
    assert done.exit_code == 0, done.output
    rows = {row["key"]: row for row in json.loads(done.output)["settings"]}
    assert rows["workers.wall_s"]["origin"] == "fleet"
    assert (rows["workers.count"]["value"], rows["workers.count"]["kept"]) == (2, True)
    assert "workers.memory_mb" not in rows
    shown = CliRunner().invoke(cli, ["config", "show", path, "--all"]).output
    assert "kept from the fleet" in shown
    assert "workers.memory_mb" in shown


def test_every_allowed_key_is_documented_and_is_one(tmp_path):
    page = (docs_dir() / "updates.md").read_text(encoding="utf-8")
    section = page.partition("### Settings of a fleet")[2].partition("\n## ")[0]
    listed = section.partition("alone:")[2].partition("Nothing that")[0]
    words = listed.replace("`", "").replace(",", " ").rstrip(". \n").split()
    assert set(words) == set(ALLOWED)
    assert not set(ALLOWED) & set(NEVER)
    path = tmp_path / "fleet.toml"
    path.write_text('[sync]\nraw_quiet = "08:00-19:00"\nraw_kbit_s = 500')
    assert read_fleet_settings(path) == {"sync.raw_quiet": "08:00-19:00", "sync.raw_kbit_s": 500}
