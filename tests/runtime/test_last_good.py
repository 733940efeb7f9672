"""Safe mode: a box whose configuration broke goes on with the last one that worked, and says so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest

from edge_daemon import last_good
from edge_daemon.config import load_config
from edge_daemon.errors import EXIT_BAD_CONFIG, EdgeError, Fatal
from edge_daemon.store import queries

WRONG = {
    "a wrong value": ("settle_s = 0.1", "settle_s = -1", "1 problem(s), first source[0].settle_s"),
    "an unknown key": ("settle_s =", "setle_s =", "1 problem(s), first source[0].setle_s"),
    "no TOML": ("[[source]]", "[[source]", "is not TOML"),
}


@pytest.fixture
def kept(service):
    """The configuration of a service that has started with it."""
    service.data.mkdir()
    last_good.keep(load_config(service.config), service.config)
    return service.data / last_good.NAME


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_file_is_replaced_by_the_last_good_one(service, kept, how):
    right, wrong, reason = WRONG[how]
    good = load_config(service.config)
    service.config.write_text(service.config.read_text().replace(right, wrong))
    chosen = last_good.choose(service.config)
    assert chosen.settings == good
    assert chosen.file == kept
    assert reason in chosen.doubt.values["reason"]
    with pytest.raises(Fatal) as refused:
        last_good.choose(service.config, strict=True)
    assert refused.value.exit_code == EXIT_BAD_CONFIG


def test_a_line_whose_profile_is_unknown_is_noticed_before_anything_is_opened(service, kept):
    line = '[[source]]\nname = "s1"\nkind = "serial"\nport = "/dev/x"\nprofile = "acme/9"\n'
    service.config.write_text(service.config.read_text() + line)
    chosen = last_good.choose(service.config)
    assert chosen.doubt.values["reason"] == "1 problem(s), first source[1].profile"
    assert len(chosen.settings.source) == 1


def test_a_lost_file_is_replaced_where_the_data_folder_is_known(service, kept):
    service.config.unlink()
    chosen = last_good.choose(service.config, service.data)
    assert chosen.doubt.values["reason"] == "there is no such file"
    with pytest.raises(Fatal, match="there is no configuration"):
        last_good.choose(service.config)


def test_without_a_last_good_one_it_says_what_to_do(service):
    service.config.write_text("[box")
    with pytest.raises(Fatal) as refused:
        last_good.choose(service.config)
    assert refused.value.exit_code == EXIT_BAD_CONFIG
    assert "config check" in refused.value.action
    assert "no last good one" in refused.value.action


def test_a_last_good_one_that_this_version_cannot_use_is_none(service, kept):
    service.config.write_text("[box")
    kept.write_text("[box]\nold_key = 1\n")
    with pytest.raises(Fatal, match="is not TOML"):
        last_good.choose(service.config, service.data)


def test_what_is_kept_is_a_whole_configuration_that_means_the_same_anywhere(tmp_path):
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc/config.toml"
    file.write_text(
        '[box]\ndata_dir = "../data"\n[profiles]\nextra_dirs = ["mine"]\n'
        '[[source]]\nname = "a"\npath = "../export"\npatterns = ["*.fcs", "*.csv"]\n'
        '[[source]]\nname = "t"\nkind = "tcp"\nframing = "block"\nlisten = "127.0.0.1:5100"\n'
        'allow = ["10.0.0.7"]\n[source.framing_options]\nstart = "<"\n[sync]\nraw_kbit_s = 500\n'
    )
    settings = load_config(file)
    settings.box.data_dir.mkdir()
    last_good.keep(settings, file)
    kept = settings.box.data_dir / last_good.NAME
    assert load_config(kept) == settings
    assert kept.read_text().startswith("# The last configuration with which the service started")
    # Nothing is written again for nothing: a card wears out.
    before = kept.stat()
    last_good.keep(settings, file)
    assert kept.stat().st_ino == before.st_ino
    other = settings.model_copy(update={"source": settings.source[:1]})
    last_good.keep(other, file)
    assert load_config(kept) == other


def start(service, *more):
    command = [sys.executable, "-m", "edge_daemon.cli", "run", "-c", str(service.config), *more]
    with service.log.open("wb") as log:
        service.process = subprocess.Popen(command, stderr=log, env=dict(os.environ))
    return service.process


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "edge_daemon.cli", *map(str, words)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def finished(service):
    try:
        with queries.connect(service.data) as db:
            return db.execute("SELECT count(*) FROM captures WHERE finished = 1").fetchone()[0]
    except EdgeError:
        return 0


def test_the_service_keeps_taking_runs_in_and_says_why_everywhere(service, cohort, wait_until):
    process = start(service)
    wait_until(lambda: service.logged("service_ready"))
    wait_until((service.data / last_good.NAME).exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0

    service.config.write_text(service.config.read_text().replace("rescan_s", "rescam_s"))
    process = start(service)
    file = min(cohort.glob("*.fcs"))
    shutil.copy(file, service.export / file.name)
    wait_until(lambda: finished(service) == 1)
    told = service.data / "run/status.json"
    wait_until(lambda: told.exists() and "config_last_good" in told.read_text())
    words = "the configuration cannot be used (1 problem(s), first source[0].rescam_s)"
    assert service.logged("config_last_good") >= 1
    assert words in service.log.read_text()
    # status, by its state, its words and its exit code; doctor; the health word of the centre is
    # that of the status file.
    status = command("status", "--data-dir", service.data)
    assert status.returncode == 3
    assert words in status.stdout
    assert "config check" in status.stdout
    doctor = command("doctor", "-c", service.config, "--data-dir", service.data)
    assert words in doctor.stdout
    assert "rescam_s" in doctor.stdout.split("condition")[0]
    page = json.loads(told.read_text())["web"]["url"]
    with urllib.request.urlopen(page, timeout=30) as answer:
        shown = answer.read().decode()
    assert 'class="attention' in shown
    assert "The configuration cannot be used (1 problem" in shown
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    # What is kept is what worked, not what did not.
    assert "rescan_s" in (service.data / last_good.NAME).read_text()
    assert start(service, "--strict").wait(30) == EXIT_BAD_CONFIG
    assert "rescam_s" in service.log.read_text()
