"""The running service says what is the matter with it, and that it is over."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

from edge_daemon.resources import models_dir

FAST = {"WATCHDOG_USEC": "600000"}  # a look every 0.2 s


def health(service):
    path = service.data / "run" / "status.json"
    return json.loads(path.read_text())["health"] if path.exists() else None


def codes(service):
    said = health(service)
    return None if said is None else {c["code"] for c in said["conditions"]}


def status(service):
    done = subprocess.run(
        [sys.executable, "-m", "edge_daemon.cli", "status", "--data-dir", str(service.data)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_folder_that_vanishes_is_said_with_its_action_and_its_return_too(service, wait_until):
    service.start(**FAST)
    wait_until(lambda: (health(service) or {}).get("state") == "ok")
    service.export.rmdir()
    wait_until(lambda: "folder_blind" in codes(service))
    assert health(service)["state"] == "failing"
    code, shown = status(service)
    assert code == 3
    assert f"source an1 is blind: {service.export} cannot be read" in shown
    assert "Check its folder" in shown
    service.export.mkdir()
    wait_until(lambda: health(service)["state"] == "recovered")
    code, shown = status(service)
    assert code == 0
    assert "Over: source an1 is blind" in shown
    assert service.logged("condition_began") >= 1
    wait_until(lambda: service.logged("condition_ended") == 1)


def test_a_damaged_bundle_is_named(service, tmp_path, wait_until):
    shipped = next(models_dir().glob("*/manifest.toml")).parent
    own = tmp_path / "models" / "mine"
    shutil.copytree(shipped, own)
    with (own / "golden.npz").open("r+b") as stream:
        stream.write(b"\0")
    with service.config.open("a") as config:
        config.write(f'[models]\nextra_dirs = ["{own.parent}"]\n')
    service.start(**FAST)
    wait_until(lambda: "model_rejected" in (codes(service) or ()))
    (found,) = [c for c in health(service)["conditions"] if c["code"] == "model_rejected"]
    assert found["subject"] == "mine"
    assert "SHA-256" in found["message"]
    assert "model verify" in found["action"]
