"""Nothing is connected to or listened on but what the configuration names."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from edge_daemon.resources import profiles_dir
from edge_daemon.simulator.cohort import sample

from .conftest import wait

CALLS = "trace=bind,connect,sendto,sendmsg,sendmmsg"
ADDRESS = re.compile(
    r"sa_family=AF_INET6?, sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|AF_INET6, )\"([^\"]+)\""
)
# The C library asks a name service cache, where one runs, who a user is.
LOCAL_SERVICES = ("/nscd/socket", "/var/run/nscd/socket", "/run/systemd/userdb/")


def contacts(trace: str) -> set[tuple[str, str]]:
    """Read a trace: (call, address) of every socket that was bound, connected or sent to."""
    found = set()
    for line in trace.splitlines():
        call = re.search(r"\b(bind|connect|sendto|sendmsg|sendmmsg)\(", line)
        if call is None:
            continue
        if address := ADDRESS.search(line):
            found.add((call[1], f"{address[2]}:{address[1]}"))
        elif path := re.search(r"sa_family=AF_UNIX, sun_path=(@?\"[^\"]*\")", line):
            if not any(service in path[1] for service in LOCAL_SERVICES):
                found.add((call[1], path[1]))
        elif family := re.search(r"sa_family=(AF_\w+)", line):
            found.add((call[1], family[1]))
    return found


def strace(trace: Path) -> list[str]:
    if shutil.which("strace") is None:
        pytest.skip("system: strace is not installed")
    return ["strace", "-f", "-qq", "-e", CALLS, "-e", "signal=none", "-o", str(trace)]


def send(port: int, message: bytes) -> bytes:
    """Send one HL7 message as an analyzer would, and return the answer."""
    with socket.create_connection(("127.0.0.1", port), 60) as line:
        line.sendall(b"\x0b" + message + b"\x1c\x0d")
        return line.recv(4096)


def test_a_busy_box_touches_only_what_is_configured(box, tmp_path):
    trace = tmp_path / "trace"
    box.start(*strace(trace))
    for index in range(2):
        taken = sample(index, events=2000, seed=3, firmware="1.0")
        (box.export / taken.name).write_bytes(taken.data)
    message = next((profiles_dir() / "mindray_bc_vet").glob("*.hl7")).read_bytes()
    assert b"MSA|AA" in send(box.line, message)
    wait(lambda: box.ended() == 3)
    wait(lambda: '"web_serving"' in box.log())
    with urllib.request.urlopen(f"http://127.0.0.1:{box.page}/", timeout=60) as page:
        assert page.status == 200
    for worker in (box.pid, *box.workers()):
        environment = Path(f"/proc/{worker}/environ").read_bytes().split(b"\0")
        # Set by the package itself: this box was started without it.
        assert worker == box.pid or b"ORT_DISABLE_TELEMETRY=1" in environment
    box.stop()
    found = contacts(trace.read_text())
    # The socket of the commands, in the data folder, named by a descriptor of that folder.
    errands = {one for one in found if re.fullmatch(r'"/proc/self/fd/\d+/errands\.sock"', one[1])}
    assert [call for call, _ in errands] == ["bind"]
    assert found - errands == {
        ("bind", f"127.0.0.1:{box.line}"),
        ("bind", f"127.0.0.1:{box.page}"),
    }
    assert list(box.home.rglob("*")) == []


@pytest.mark.parametrize(
    "contact",
    [
        "socket().connect_ex(('127.0.0.1', 9))",
        "socket(AF_INET, SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
        "create_server(('127.0.0.1', 0))",
        "socket(AF_INET6).connect_ex(('::1', 9))",
        "socket(AF_UNIX).connect_ex('/tmp/none')",
    ],
)
def test_the_trace_would_show_another_contact(tmp_path, contact):
    trace, script = tmp_path / "trace", f"from socket import *; {contact}"
    subprocess.run([*strace(trace), sys.executable, "-c", script], check=True)
    assert len(contacts(trace.read_text())) == 1


def test_the_switch_is_thrown_whatever_the_environment_says():
    script = "import edge_daemon, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"ORT_DISABLE_TELEMETRY": "0", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "1"
