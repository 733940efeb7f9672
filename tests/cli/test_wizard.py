"""`config init` as its user meets it: on a real terminal, with real files and a real port."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import pytest

from edge_daemon.config import load_config
from edge_daemon.resources import profiles_dir
from edge_daemon.simulator.cohort import sample


def _own_terminal():
    """Let Ctrl-C come from there, and end it, also where the tests run in the background."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A command on a pseudo-terminal: what it shows, and what a person types."""

    def __init__(self, *words, cwd):
        self.handle, other = pty.openpty()
        clean = {k: v for k, v in os.environ.items() if not k.startswith("EDGE_DAEMON_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge_daemon.cli", *map(str, words)],
            stdin=other, stdout=other, stderr=other, cwd=cwd, start_new_session=True,
            preexec_fn=_own_terminal,  # noqa: PLW1509
            env={**clean, "HOME": str(cwd), "TERM": "xterm", "LANG": "C.UTF-8"},
        )  # fmt: skip
        os.close(other)
        self.shown = ""

    def until(self, words, seconds=60.0):
        """Read until something is shown that was not before."""
        deadline = time.monotonic() + seconds
        while words not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if not self._read():
                break
        assert words in self.shown, self.shown
        before, _, self.shown = self.shown.partition(words)
        return before

    def _read(self):
        if select.select([self.handle], [], [], 0.2)[0]:
            try:
                more = os.read(self.handle, 4096)
            except OSError:  # the other side is closed
                return False
            self.shown += re.sub(r"\x1b\[[0-9;]*m", "", more.decode())
        return True

    def type(self, text):
        os.write(self.handle, f"{text}\n".encode())

    def interrupt(self):
        """Press Ctrl-C, and again where it went unnoticed, as a person does.

        Between showing its prompt and waiting for a key, ``input`` sees a signal only at the next.
        """
        for _ in range(30):
            os.write(self.handle, b"\x03")
            for _ in range(10):
                if not self._read() or self.process.poll() is not None:
                    return

    def end(self):
        deadline = time.monotonic() + 60
        while self._read() and self.process.poll() is None:
            assert time.monotonic() < deadline, self.shown
        code = self.process.wait(30)
        os.close(self.handle)
        return code


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def start(*words):
        opened.append(Terminal(*words, cwd=tmp_path))
        return opened[-1]

    yield start
    for one in opened:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def drop(folder, *numbers):
    folder.mkdir(exist_ok=True)
    for number in numbers:
        taken = sample(number, events=400, seed=8, firmware="1.0")
        (folder / f".{number}.part").write_bytes(taken.data)
        (folder / f".{number}.part").rename(folder / f"{number}.fcs")


def test_a_folder_on_a_terminal_from_the_first_question_to_the_file(terminal, tmp_path):
    drop(tmp_path / "export", 1, 2, 3)
    file = tmp_path / "etc/config.toml"
    shown = terminal("config", "init", file)
    shown.until("Where do the analyzer's runs come from?")
    shown.until("folder or port [1]:")
    shown.type(tmp_path / "nothing here")
    shown.until("neither a number above nor a folder or port")
    shown.until("folder or port [1]:")
    shown.type(tmp_path / "export")
    shown.until("● 3 files seen, 3 decoded, 3 classified: sim_optical4/1.0")
    shown.until("3 of them SIMULATED")
    shown.until("Name of this analyzer [analyzer-1]:")
    shown.type("")
    shown.until("Another analyzer? [y/N]:")
    shown.type("")
    shown.until("Name of this box")
    shown.type("practice-7")
    shown.until("Who may open the technician's page?")
    shown.until("Number [1]:")
    shown.type("2")
    shown.until(f"Wrote {file}.")
    shown.until("edge-daemon web password technician")
    shown.until("The service was not started")
    assert shown.end() == 0
    read = load_config(file)
    assert (read.box.name, read.web.listen) == ("practice-7", "0.0.0.0:8470")
    (source,) = read.source
    assert (source.name, source.path) == ("analyzer-1", tmp_path / "export")
    assert "# read a file once it stood unchanged for so long" in file.read_text()


def test_an_empty_folder_waits_for_the_first_export(terminal, tmp_path):
    (tmp_path / "export").mkdir()
    shown = terminal("config", "init", tmp_path / "c.toml", "--folder", tmp_path / "export")
    shown.until("no file is there yet")
    shown.until("Let the analyzer export one run now")
    drop(tmp_path / "export", 1)
    shown.until("● 1 file seen, 1 decoded")
    shown.until("analyzer-1]:")
    shown.type("")
    shown.until("Name of this box")
    shown.type("")
    shown.until("Number [1]:")
    shown.type("3")
    shown.until("Wrote")
    assert shown.end() == 0
    assert load_config(tmp_path / "c.toml").web.enabled is False


def test_who_ends_it_finds_nothing_written(terminal, tmp_path):
    shown = terminal("config", "init", tmp_path / "c.toml")
    shown.until("folder or port [1]:")
    shown.interrupt()
    assert shown.end() != 0
    assert not (tmp_path / "c.toml").exists()


@pytest.fixture
def port(tmp_path):
    """A serial port whose other end the test holds."""
    analyzer, other = pty.openpty()
    name = tmp_path / "port"
    name.symlink_to(os.ttyname(other))
    yield analyzer, name
    os.close(analyzer)
    os.close(other)


HL7 = next((profiles_dir() / "mindray_bc_vet").glob("*.hl7")).read_bytes()


def test_a_port_is_listened_on_and_never_answered(terminal, port, tmp_path):
    analyzer, name = port
    shown = terminal("config", "init", tmp_path / "c.toml", "--port", name)
    shown.until("Let the analyzer send one result now")
    os.write(analyzer, HL7)
    shown.until("the analyzer speaks MLLP")
    shown.until("● profile mindray_bc_vet/hl7-2.3.1")
    for question in ("analyzer-1]:", "Name of this box", "Number [1]:"):
        shown.until(question)
        shown.type("")
    shown.until("Wrote")
    assert shown.end() == 0
    (source,) = load_config(tmp_path / "c.toml").source
    assert (source.kind, source.profile) == ("serial", "mindray_bc_vet/hl7-2.3.1")
    assert select.select([analyzer], [], [], 0)[0] == []


def test_a_port_that_sends_nonsense_gets_a_red_light_and_the_person_a_choice(
    terminal, port, tmp_path
):
    analyzer, name = port
    shown = terminal("config", "init", tmp_path / "c.toml", "--port", name)
    shown.until("Let the analyzer send one result now")
    os.write(analyzer, b"\xfe\x9c\x80")
    shown.until("● 3 bytes heard that begin no message")
    shown.until("Compare baud rate and parity")
    shown.until("Which analyzer is it?")
    listed = shown.until("Number [1]:")
    number = next(n for n, name in re.findall(r"(\d+)  .*\((\S+)\)", listed) if "xn550" in name)
    shown.type(number)
    for question in ("analyzer-1]:", "Name of this box", "Number [1]:"):
        shown.until(question)
        shown.type("")
    shown.until("Wrote")
    assert shown.end() == 3
    assert load_config(tmp_path / "c.toml").source[0].profile == "sysmex_xn550/00-24"


def test_in_a_script_it_asks_nothing(spawn, tmp_path):
    drop(tmp_path / "export", 1, 2)
    (tmp_path / "export/bad.fcs").write_bytes(b"FCS3.0 and no more")
    file = tmp_path / "c.toml"
    done = spawn("config", "init", file, "--folder", tmp_path / "export", "--yes", "--name", "xn")
    assert done.code == 3
    assert "3 files seen, 2 decoded" in done.out
    assert "1 not used" in done.out
    assert load_config(file).source[0].name == "xn"


def test_a_file_that_is_there_is_replaced_only_by_force_and_kept(invoke, tmp_path):
    file, gone = tmp_path / "c.toml", tmp_path / "gone"
    file.write_text("# mine\n")
    words = ("config", "init", file, "--folder", gone, "--yes")
    done = invoke(*words)
    assert done.code == 1
    assert "--force" in done.err
    assert file.read_text() == "# mine\n"
    done = invoke(*words, "--force")
    assert done.code == 3
    assert f"{gone} cannot be read" in done.out
    assert "The service waits for it" in done.out
    assert load_config(file).source[0].path == gone
    assert (tmp_path / "c.toml.before").read_text() == "# mine\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--yes",), "--yes needs --folder"),
        (("--yes", "--listen", "127.0.0.1:5100"), "--profile is needed here, one of:"),
        (("--yes", "--listen", "0.0.0.0:5100", "--profile", "mindray_bc_vet/hl7-2.3.1"), "allow"),
        (("--yes", "--port", "/dev/null", "--profile", "acme/1"), "no profile 'acme/1'"),
    ],
)
def test_what_is_missing_or_wrong_is_said_and_nothing_written(invoke, tmp_path, words, says):
    done = invoke("config", "init", tmp_path / "c.toml", *words)
    assert done.code in (1, 2, 78)
    assert says in done.err
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_is_told_without_a_file_that_is_not_there(invoke, tmp_path):
    words = ("--yes", "--listen", "0.0.0.0:5100", "--profile", "mindray_bc_vet/hl7-2.3.1")
    told = invoke("config", "init", tmp_path / "c.toml", *words).err
    assert "nothing was written" in told
    assert "c.toml" not in told


def test_a_port_that_is_not_there_is_not_said_to_be_quiet(invoke, tmp_path):
    words = ("--yes", "--port", "/dev/ttyNONE", "--profile", "mindray_bc_vet/hl7-2.3.1")
    done = invoke("config", "init", tmp_path / "c.toml", *words)
    assert done.code == 3
    assert "there is no such port" in done.out


def test_the_network_in_a_script(invoke, tmp_path):
    words = ("--listen", "0.0.0.0:5100", "--allow", "10.0.0.7", "--name", "lis", "--yes")
    profile = ("--profile", "mindray_bc_vet/hl7-2.3.1")
    done = invoke("config", "init", tmp_path / "c.toml", *words, *profile)
    assert done.code == 3
    (source,) = load_config(tmp_path / "c.toml").source
    assert (source.listen, source.allow) == ("0.0.0.0:5100", ("10.0.0.7",))
