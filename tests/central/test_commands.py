"""The commands that let people and programs read."""

import json
import socket

import pytest
from click.testing import CliRunner

from edge_daemon.cli import cli


@pytest.fixture
def run(tmp_path):
    def call(*words, given=None, code=0):
        environment = {"EDGE_CENTRAL_DIR": str(tmp_path), "SUDO_USER": "ada"}
        done = CliRunner().invoke(cli, ["central", *map(str, words)], input=given, env=environment)
        assert done.exit_code == code, done.output
        return done.output

    call("init", "--host", "127.0.0.1")
    return call


def test_a_chain_its_clinics_users_and_tokens(run):
    assert run("add-clinic", "First") == "1\n"
    assert json.loads(run("add-chain", "Sea", "--json")) == {"chain": 1}
    run("set-chain", "--clinic", "1", "--chain", "1")
    assert run("clinics").split() == ["1", "First", "chain", "1:", "Sea"]
    run("add-user", "Bo", "--role", "clinic", "--clinic", "1", "--stdin", given="a password\n")
    run("add-user", "robot", "--role", "operator", "--no-password")
    token = json.loads(run("add-token", "robot", "--for", "report", "--json"))["token"]
    assert token.startswith("edge_")
    listed = json.loads(run("users", "--json"))
    assert [(u["name"], u["role"], u["reach"], u["password"]) for u in listed] == [
        ("bo", "clinic", "First", True),
        ("robot", "operator", "", False),
    ]
    assert token not in json.dumps(listed)
    shown = run("users")
    assert "clinic First" in shown
    assert "used never" in shown
    run("set-password", "BO", "--stdin", given="another password\n")
    run("remove-token", str(listed[1]["tokens"][0]["token"]))
    run("remove-user", "bo")
    assert [u["name"] for u in json.loads(run("users", "--json"))] == ["robot"]
    run("set-chain", "--clinic", "1")
    assert json.loads(run("clinics", "--json"))[0]["chain"] is None


def test_errors_say_what_is_wrong_and_what_to_do(run):
    def told(*words, code, **more):
        return " ".join(run(*words, code=code, **more).split())

    assert "there is no user nobody" in told("remove-user", "nobody", code=4)
    assert "central users" in told("remove-token", "7", code=4)
    assert "central clinics" in told("set-chain", "--clinic", "3", code=4)
    assert "a user of role chain needs the number of a chain" in told(
        "add-user", "x", "--role", "chain", "--no-password", code=1
    )
    short = told("add-user", "x", "--role", "operator", "--stdin", given="short\n", code=1)
    assert "5 characters" in short
    assert "no name" in told("add-chain", " ", code=1)
    run("add-chain", "Sea")
    assert "already" in told("add-chain", "Sea", code=1)


def test_a_folder_without_a_server_gets_none(tmp_path):
    for words in (["boxes"], ["add-clinic", "First"], ["serve"]):
        done = CliRunner().invoke(cli, ["central", *words, "--dir", str(tmp_path)])
        assert done.exit_code == 4, done.output
        assert "central init" in done.output
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["postgres://a/b", "mysql://a/b", "a"])
def test_an_address_of_another_database_is_refused(run, url):
    assert "postgresql+psycopg://user@host/name" in run("boxes", "--database", url, code=2)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_address_that_is_taken_is_said(run, workers):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        told = run("serve", "--listen", address, "--workers", workers, code=75)
    assert f"{address}: cannot be listened on: Address already in use" in told
    assert "listening" not in told


def test_a_key_that_is_not_the_certificate_s_is_said(run, tmp_path):
    other = tmp_path / "other"
    run("init", "--host", "127.0.0.1", "--dir", other)
    (other / "server.key").replace(tmp_path / "server.key")
    told = run("serve", "--listen", "127.0.0.1:0", code=1)
    assert "server.pem and server.key cannot be used: [X509: KEY_VALUES_MISMATCH]" in told
