"""The commands as an operator gives them, and feeds killed at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from click.testing import CliRunner

from edge_daemon.central.reading import Reader
from edge_daemon.central.store import CentralStore
from edge_daemon.cli import cli
from edge_daemon.errors import EXIT_NOT_FOUND, EXIT_OK, EXIT_RETRY_LATER, EXIT_WARNINGS
from tests.central.feeds.conftest import Centre, run_body
from tests.central.feeds.receiver import acknowledge, receiving

KILLS = 6
MESSAGES = 40


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "centre"
    place.mkdir()
    return place


@pytest.fixture
def centre(folder):
    url = f"sqlite:///{folder / 'central.sqlite3'}"
    store = CentralStore(url)
    store.create()
    with closing(store), closing(Reader(url)) as reader:
        yield Centre(store, reader)


@pytest.fixture
def run(folder):
    def run(*args, code=EXIT_OK):
        done = CliRunner().invoke(cli, ["central", *map(str, args), "--dir", str(folder)])
        assert done.exit_code == code, done.output
        return done

    return run


def test_an_export_says_what_it_wrote_and_how_to_go_on(centre, run, tmp_path):
    box = centre.box()
    centre.send(box, ("run", run_body(1)))
    out = tmp_path / "out"
    told = json.loads(run("export", "--format", "csv", "-o", out, "--json").stdout)
    assert told["written"] == {"results": 1, "reports": 0, "said": 0}
    assert told == json.loads((out / "export.json").read_text())
    more = run("export", "--format", "fhir", "-o", tmp_path / "m.ndjson", "--after", 1)
    assert "Wrote nothing" in more.stderr
    assert "--after 1" in more.stderr
    later = run("export", "--format", "csv", "-o", tmp_path / "l.csv", "--since", "2026-01-01")
    assert "Wrote 1 result to" in later.stderr
    with centre.store.engine.connect() as db:
        deeds = db.exec_driver_sql("SELECT subject FROM audit WHERE action = 'exported'")
        told = [row[0].removeprefix("every clinic as ") for row in deeds]
    assert told == ["csv", "fhir", "csv"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--format", "fhir", "-o", "x", "--by-month"], "--by-month is for csv"),
        (["--format", "csv", "-o", "x.csv", "--by-month"], "needs a folder"),
        (["--format", "csv", "-o", "x.csv", "--clinic", "1", "--chain", "1"], "exclude each other"),
        (["--format", "csv", "-o", "x.csv", "--since", "then"], "is not a time"),
    ],
)
def test_a_wrong_request_is_said(centre, run, args, says):
    assert says in run("export", *args, code=2).output


def test_a_clinic_that_is_not_there_and_a_place_that_cannot_be_written(centre, run, tmp_path):
    centre.send(centre.box(), ("run", run_body(1)))
    wrong = ("export", "--format", "csv", "-o", tmp_path / "x.csv")
    assert "no clinic 9" in run(*wrong, "--clinic", 9, code=EXIT_NOT_FOUND).output
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "x.csv"
    failed = run("export", "--format", "csv", "-o", inside, code=EXIT_RETRY_LATER)
    assert "cannot be written" in failed.output


def test_a_feed_from_setting_up_to_its_end(centre, run, tmp_path):
    centre.send(centre.box(), ("run", run_body(1)), ("run", run_body(2)))
    with receiving(acknowledge("AE", "busy")) as lis:
        told = run("feed", "add", "lis", "--format", "hl7", "--to", lis.url)
        assert "unencrypted" in told.stderr
        run("feed", "run", "--once", code=EXIT_RETRY_LATER)
        (feed,) = json.loads(run("feed", "list", "--json", code=EXIT_WARNINGS).stdout)
        assert (feed["code"], feed["sent"], feed["attempts"]) == ("AE", 0, 1)
        assert "AE busy" in run("feed", "list", code=EXIT_WARNINGS).stdout
        run("feed", "skip", "lis", "--document", feed["stuck_at"], "--reason", "no such animal")
        lis.answer = acknowledge()
        done = run("feed", "run", "lis", "--once", "--json")
        assert json.loads(done.stdout)[0]["sent"] == 1
        assert "1 sent" in done.stderr
    run("feed", "list")
    run("feed", "retry", "lis")
    run("feed", "remove", "lis")
    assert json.loads(run("feed", "list", "--json").stdout) == []
    assert "no feed lis" in run("feed", "retry", "lis", code=EXIT_NOT_FOUND).output
    again = run("feed", "add", "lis", "--format", "hl7", "--to", tmp_path, code=1)
    assert "there is, or was, a feed" in again.output


def test_fhir_goes_into_a_folder(centre, run, tmp_path):
    told = run("feed", "add", "f", "--format", "fhir", "--to", "mllp://lis:1", code=2)
    assert "go into a folder" in told.output
    centre.send(centre.box(), ("run", run_body(1)))
    run("feed", "add", "f", "--format", "fhir", "--to", tmp_path / "out")
    run("feed", "run", "--once")
    (page,) = (tmp_path / "out").iterdir()
    assert json.loads(page.read_text())["resourceType"] == "Bundle"


def test_killed_at_any_moment_nothing_is_lost_or_new(centre, run, folder):
    """Real processes, real SIGKILLs: every message once, by its id, and in order."""
    box = centre.box()
    for number in range(MESSAGES):
        centre.send(box, ("run", run_body(number)))
    rng = random.Random(20261128)
    command = [sys.executable, "-m", "edge_daemon.cli", "central", "feed", "run", "--once"]
    with receiving() as lis:
        run("feed", "add", "lis", "--format", "hl7", "--to", lis.url)
        for _ in range(KILLS):
            process = subprocess.Popen(
                command, env={**os.environ, "EDGE_CENTRAL_DIR": str(folder)},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            enough = len(lis.seen) + rng.randrange(1, 7)
            with lis.arrived:
                arrived = lis.arrived.wait_for(lambda n=enough: len(lis.seen) >= n, 60)
            assert arrived
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = subprocess.run(
            command, env={**os.environ, "EDGE_CENTRAL_DIR": str(folder)}, check=False,
            capture_output=True,
        )  # fmt: skip
        assert done.returncode == EXIT_OK, done.stderr
    told = [lis.texts[key].split("S-")[1].split("|")[0] for key in dict.fromkeys(lis.seen)]
    assert told == [str(number) for number in range(MESSAGES)]
    assert len(lis.seen) - MESSAGES <= KILLS


def test_a_receiver_that_does_not_answer_delays_no_other(centre, run):
    """One that says nothing is waited for; the other has everything meanwhile."""

    centre.send(centre.box(), ("run", run_body(1)), ("run", run_body(2)))
    let_go = threading.Event()

    def silent(text, key):
        let_go.wait(60)
        return acknowledge()(text, key)

    with receiving(silent) as slow, receiving() as quick:
        run("feed", "add", "a-slow", "--format", "hl7", "--to", slow.url)
        run("feed", "add", "b-quick", "--format", "hl7", "--to", quick.url)
        worker = threading.Thread(target=lambda: run("feed", "run", "--once"))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(signal, "signal", lambda *_: None)  # only the main thread may
            worker.start()
            with quick.arrived:
                assert quick.arrived.wait_for(lambda: len(quick.seen) == 2, 60)
            assert len(slow.seen) <= 1
            let_go.set()
            worker.join(60)
        assert not worker.is_alive()
    sent = {one["feed"]: one["sent"] for one in json.loads(run("feed", "list", "--json").stdout)}
    assert sent == {"a-slow": 2, "b-quick": 2}
