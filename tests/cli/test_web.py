"""Passwords and certificate from the command line."""

import shutil

import pytest

from edge_daemon import errors
from edge_daemon.web.passwords import Passwords


def test_a_password_is_set_and_taken_away(spawn_with_input, clinic):
    clinic.add()
    args = ("web", "password", "technician", "--data-dir", clinic.path)
    assert spawn_with_input("long enough\n", *args, "--stdin").exit_code == 0
    assert Passwords(clinic.path).role_of("long enough") == "technician"
    done = spawn_with_input("short\n", *args, "--stdin")
    assert done.exit_code == errors.EXIT_FAILED
    assert "expected 8 to 200" in done.stderr
    assert spawn_with_input("x\n", *args).exit_code == errors.EXIT_USAGE
    assert spawn_with_input("", *args, "--remove").exit_code == 0
    assert spawn_with_input("", *args, "--remove").exit_code == errors.EXIT_NOT_FOUND


def test_a_folder_that_is_not_there(invoke, tmp_path):
    done = invoke("web", "password", "reader", "--data-dir", tmp_path / "no")
    assert done.code == errors.EXIT_NOT_FOUND


@pytest.mark.skipif(shutil.which("openssl") is None, reason="system: no openssl program")
def test_a_certificate_is_made_once_and_anew_on_request(invoke, clinic):
    clinic.add()
    args = ("web", "certificate", "--json", "--data-dir", clinic.path)
    first = invoke(*args, "--name", "lab.example", "--name", "10.0.0.5").json
    assert len(first["sha256"].split(":")) == 32
    assert invoke(*args).json == first
    assert invoke(*args, "--new").json["sha256"] != first["sha256"]


def test_without_openssl_it_is_said(invoke, clinic, monkeypatch):
    clinic.add()
    monkeypatch.setenv("PATH", "")
    done = invoke("web", "certificate", "--data-dir", clinic.path)
    assert done.code == errors.EXIT_FAILED
    assert "openssl" in done.err
    assert "web.tls_cert" in done.err


@pytest.fixture
def spawn_with_input(monkeypatch):
    from click.testing import CliRunner

    from edge_daemon.cli import cli

    def run(text, *args):
        return CliRunner().invoke(cli, [str(a) for a in args], input=text, prog_name="edge-daemon")

    return run
