"""The running service takes up what an import brought, and lets go of it again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing

import pytest

from edge_daemon.simulator.cohort import simulate
from edge_daemon.updates import archive
from edge_daemon.updates.desk import Desk
from edge_daemon.updates.fetching import FolderFetcher
from edge_daemon.updates.kinds import Item
from edge_daemon.updates.places import own_plan
from tests.runtime.conftest import ServiceProcess
from tests.runtime.conftest import _wait as wait_until
from tests.updates.conftest import BUNDLE, TestClock, make_bundle

MODEL = f"model/{BUNDLE}"


@pytest.fixture
def service(tmp_path):
    made = ServiceProcess(tmp_path)
    yield made
    made.end()


def models(service) -> list[str]:
    path = service.data / "edge.sqlite3"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return [row[0] for row in db.execute("SELECT model FROM runs ORDER BY id")]


def test_the_next_capture_is_analysed_with_the_version_in_use(service, signed, tmp_path):
    captures = tmp_path / "captures"
    simulate(captures, samples=3, events=600, seed=5, firmware="1.0")
    files = sorted(captures.glob("*.fcs"))
    signed.add_model(make_bundle(tmp_path, "0.9.0"))
    place = signed.publish()
    service.start()
    wait_until(lambda: service.logged("service_ready"))
    desk = Desk(service.data, own_plan(None), TestClock())
    desk.trust.begin(signed.root)

    def analyse(number: int) -> str:
        shutil.copy(files[number], service.export)
        wait_until(lambda: len(models(service)) > number)
        return models(service)[-1]

    desk.look(FolderFetcher(place))
    wait_until(lambda: service.logged("update_in_use") == 1)
    assert analyse(0) == f"{BUNDLE}@0.9.0"
    desk.roll_back(MODEL, "it does not please")
    wait_until(lambda: service.logged("update_in_use") == 2)
    assert analyse(1) != f"{BUNDLE}@0.9.0"
    assert service.process.poll() is None


def test_settings_of_the_fleet_are_used_after_the_service_manager_started_it_anew(
    service, signed, tmp_path
):
    item = Item("settings", "fleet", "1.0.0")
    text = "[workers]\ncount = 1"
    signed.repository.add(item, archive.pack({"settings.toml": text.encode()}))
    place = signed.publish()
    process = service.start(INVOCATION_ID="of systemd")
    status = service.data / "run" / "status.json"
    wait_until(lambda: status.exists() and json.loads(status.read_text())["workers"] == 2)
    desk = Desk(service.data, own_plan(None), TestClock())
    desk.trust.begin(signed.root)
    desk.look(FolderFetcher(place))
    wait_until(lambda: process.poll() is not None)
    assert process.returncode == 0
    service.start(INVOCATION_ID="of systemd")
    wait_until(lambda: status.exists() and json.loads(status.read_text())["workers"] == 1)
    assert service.process.poll() is None
