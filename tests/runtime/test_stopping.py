"""Signals that come at the worst moment still end the service."""

import os
import select
import signal
import subprocess
import sys
import threading

import pytest

from edge_daemon.stopping import StopRequest

WORST_MOMENT = """
import os, signal, sys
from pathlib import Path
from edge_daemon.clock import SystemClock
from edge_daemon.config import load_config
from edge_daemon.service import run_service

class Journal:
    \"\"\"The signal comes while a line is being written and the log's lock is held.\"\"\"

    def write(self, text):
        sys.__stderr__.write(text)
        if sys.argv[2] in text:
            os.kill(os.getpid(), signal.SIGTERM)

    def flush(self):
        sys.__stderr__.flush()

sys.stderr = Journal()
sys.exit(run_service(load_config(Path(sys.argv[1])), SystemClock()))
"""


@pytest.fixture
def handlers():
    numbers = (signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]
    wakeup = signal.set_wakeup_fd(-1)
    yield numbers
    signal.set_wakeup_fd(wakeup)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_the_first_signal_is_the_reason_and_stays(handlers):
    stop = StopRequest(*handlers)
    assert not stop.wait(0.0)
    for _ in range(100_000):  # more than the pipe holds: the handler must not block
        signal.raise_signal(signal.SIGUSR2)
    signal.raise_signal(signal.SIGUSR1)
    assert stop.wait(60.0)
    assert stop.wait(600.0)
    assert stop.signal is signal.SIGUSR2


def test_a_signal_that_another_thread_takes_ends_the_wait(handlers):
    """The wait itself is not interrupted then; nor is it by one that came just before it."""
    stop = StopRequest(*handlers)
    waiting = threading.Event()

    def take():
        waiting.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    thread = threading.Thread(target=take)
    thread.start()
    waiting.set()
    assert select.select([stop._read], [], [], 60.0)[0]  # else it is heard when the wait is over
    assert stop.wait(0.0)
    thread.join()


def test_a_signal_of_somebody_else_is_no_request_and_costs_one_turn(handlers):
    first, other = handlers
    stop = StopRequest(first)
    signal.signal(other, lambda *_: None)
    signal.raise_signal(other)
    assert not stop.wait(600.0)
    assert not select.select([stop._read], [], [], 0.0)[0]


def test_a_signal_ends_a_wait_that_has_begun(handlers):
    stop = StopRequest(*handlers)
    child = os.fork()
    if child == 0:
        os.kill(os.getppid(), signal.SIGUSR1)
        os._exit(0)
    assert stop.wait(60.0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("moment", ["service_started", "service_ready"])
def test_a_signal_while_the_log_is_written_still_stops_the_service(service, moment):
    """The log's lock is held at that moment, and a handler that logged would wait for ever."""
    done = subprocess.run(
        [sys.executable, "-c", WORST_MOMENT, str(service.config), moment],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"service_stopped"' in done.stderr
