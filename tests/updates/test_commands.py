"""The commands as the release person, the operator and the clinic type them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from edge_daemon.cli import cli
from edge_daemon.updates.folder import active_folders
from tests.updates.conftest import BUNDLE, TABLE, make_bundle

pytestmark = pytest.mark.usefixtures("proved_here")
MODEL = f"model/{BUNDLE}"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_RELEASE_PASSPHRASE", "correct horse battery")
    monkeypatch.setenv("EDGE_RELEASE_REPO", str(tmp_path / "repo"))
    monkeypatch.setenv("EDGE_DAEMON_DATA", str(tmp_path / "box"))
    monkeypatch.setenv("EDGE_DAEMON_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.chdir(tmp_path)

    def called(*words: object, code: int = 0) -> str:
        done = CliRunner().invoke(cli, [str(word) for word in words])
        assert done.exit_code == code, done.output
        return done.output

    return called


@pytest.fixture
def stick(run, box, tmp_path):
    """A stick with a bundle and a table, made by the release side; the box trusts it."""
    roles = ("root", "root", "targets", "targets", "snapshot", "timestamp")
    names = [f"{role}{number}" for number, role in enumerate(roles)]
    for name in names:
        run("release", "key", f"keys/{name}")
    public = [["--public", r, f"keys/{n}.pub"] for r, n in zip(roles, names, strict=True)]
    run("release", "init", *(word for words in public for word in words))
    (tmp_path / "dog.toml").write_text(TABLE.format(version="2026-11", low=5.5))
    run("release", "add", "model", make_bundle(tmp_path, "0.9.0"))
    run("release", "add", "intervals", "dog.toml", "--version", "1.0.0")
    first = run("release", "sign", "--key", "keys/root0.key", "--key", "keys/targets2.key", code=3)
    assert "1 of 2" in first
    online = ("--key", "keys/snapshot4.key", "--key", "keys/timestamp5.key")
    assert "lacks signatures" in run("release", "publish", *online, code=1)
    run("release", "sign", "--key", "keys/root1.key", "--key", "keys/targets3.key")
    run("release", "publish", *online)
    run("release", "export", "stick")
    run("update", "trust", "stick/root.json")
    return tmp_path / "stick"


def test_from_the_release_side_to_a_clinic_with_a_stick(run, stick, box, tmp_path):
    assert all((tmp_path / "keys" / f).stat().st_mode & 0o077 == 0 for f in ["root0.key"])
    assert "ENCRYPTED" in (tmp_path / "keys" / "root0.key").read_text()
    taken = json.loads(run("update", "import", stick, "--trust-clock", "--json"))
    assert taken["taken"] == {
        f"{MODEL}@0.9.0": "proved and in use",
        "intervals/dog@1.0.0": "proved and in use",
    }
    assert f"{BUNDLE}@0.9.0" in run("model", "list")
    assert "5.5" in run("intervals", "dog")
    origins = {b["bundle"]: b["origin"] for b in json.loads(run("model", "list", "--json"))}
    assert origins[f"{BUNDLE}@0.9.0"] == "update"
    assert set(origins.values()) == {"shipped", "update"}
    said = run("update", "status")
    assert "0.9.0" in said
    assert "goes back to" in said
    assert "as it ships" in run("model", "rollback", BUNDLE, "--reason", "too many platelets")
    assert f"{BUNDLE}@0.9.0" not in run("model", "list")
    assert "0.9.0: too many platelets" in run("update", "status", code=3)
    assert run("update", "rollback", MODEL, code=1)
    run("update", "unblock", MODEL)
    assert (
        f"{MODEL}@0.9.0"
        in json.loads(run("update", "import", stick, "--trust-clock", "--json"))["taken"]
    )
    assert len(active_folders(box, "model")) == 1


def test_a_box_without_a_right_clock_says_what_to_do(run, stick, monkeypatch):
    monkeypatch.setattr("edge_daemon.clock.clock_state", lambda: "unsynchronised")
    said = run("update", "import", stick, code=1)
    assert "no time server" in said
    assert "--trust-clock" in said
    assert "clock" in run("update", "status", code=3)


def test_the_release_side_is_told_what_is_wrong(run, stick, tmp_path):
    (tmp_path / "dog.toml").write_text(TABLE.format(version="2026-12", low=9.5))
    said = run("release", "add", "intervals", "dog.toml", "--version", "1.0.0", code=1)
    assert "RBC" in said or "low" in said
    (tmp_path / "dog.toml").write_text(TABLE.format(version="2026-12", low=5.1))
    said = run("release", "add", "intervals", "dog.toml", "--version", "1.0.0", code=1)
    assert "higher version" in said
    assert "no version of its own" in run("release", "add", "intervals", "dog.toml", code=1)
    assert "holds intervals" in run(
        "release", "add", "rules", "dog.toml", "--version", "1.0.1", code=1
    )
    key = tmp_path / "keys" / "root0.key"
    key.chmod(0o644)
    run("release", "add", "intervals", "dog.toml", "--version", "1.0.1")
    assert "chmod 600" in run("release", "sign", "--key", key, code=1)
    assert "exists already" in run("release", "key", "keys/root0", code=1)
    assert json.loads(run("release", "show", "--json", code=3))["drafts"] == {"targets": "0 of 2"}
    run("release", "remove", "intervals/dog@1.0.1")
    run("release", "remove", "intervals/dog@9.9.9", code=4)


def test_a_lost_key_is_replaced(run, stick, tmp_path):
    run("release", "key", "keys/new")
    lost = json.loads(run("release", "show", "--json"))["roles"]["targets"]["keys"][0]
    run("release", "rotate", "targets", "--add", "keys/new.pub", "--remove", lost)
    online = ("--key", "keys/snapshot4.key", "--key", "keys/timestamp5.key")
    run("release", "sign", "--key", "keys/root0.key", code=3)
    run("release", "sign", "--key", "keys/root1.key", code=3)
    run("release", "sign", "--key", "keys/targets2.key", "--key", "keys/targets3.key", code=3)
    assert "lacks signatures" in run("release", "publish", *online, code=1)
    run("release", "sign", "--key", "keys/new.key")
    run("release", "publish", *online)
    run("release", "renew", *online, "--to", "stick")
    assert json.loads(run("update", "import", stick, "--trust-clock", "--json"))["taken"]


def test_ed25519_is_verified_without_the_library_that_signs(stick):
    """Boxes carry no `cryptography`."""
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from pathlib import Path\n"
        "from edge_daemon.updates.trust import Trust, read_root\n"
        "from edge_daemon.updates.fetching import FolderFetcher\n"
        "stick = Path(sys.argv[1]); trust = Trust(stick.parent / 'other')\n"
        "trust.begin((stick / 'root.json').read_bytes())\n"
        "source = trust.look(FolderFetcher(stick), stick.parent / 'incoming')\n"
        "print(len(source.offers), len(source.fetch(source.offers[0])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(stick)], capture_output=True, text=True, check=False
    )
    assert done.stdout.split()[:1] == ["2"], done.stderr


def test_without_a_place_to_look_the_box_says_so(run, stick):
    assert "updates.url" in run("update", "check", code=4)
