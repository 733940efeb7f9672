"""What may leave the box for support."""

from __future__ import annotations

import json

import pytest

from edge_daemon import redact


def test_an_id_gets_a_code_that_only_its_bundle_makes_again():
    one, other = b"k" * 16, b"l" * 16
    assert redact.hashed("D-1", one) == redact.hashed("D-1", one)
    assert redact.hashed("D-1", one) != redact.hashed("D-2", one)
    assert redact.hashed("D-1", one) != redact.hashed("D-1", other)
    assert redact.hashed(None, one) is None
    assert redact.hashed("\udcff", one)


def test_settings_without_secrets_and_homes():
    tree = {
        "path": "/home/zebedee/export",
        "ports": ["/dev/ttyUSB0", 9600, None],
        "Server": {"api_token": "abc", "password": "", "url": "https://x"},
    }
    assert redact.settings(tree) == {
        "path": "/home/…/export",
        "ports": ["/dev/ttyUSB0", 9600, None],
        "Server": {"api_token": "withheld", "password": "", "url": "https://x"},
    }


OURS = {"event": "capture_accepted", "stage": "source", "level": "info", "capture_id": 3}


def lines(*messages, **fields):
    return redact.journal([{"MESSAGE": message, **fields} for message in messages])


def test_our_events_keep_their_listed_fields_only():
    (line,), withheld = lines(json.dumps(OURS | {"patient": "Rex", "name": "rex.fcs"}))
    assert json.loads(line) == OURS
    assert withheld == 0


@pytest.mark.parametrize(
    "message",
    [
        "Rex came",
        '{"event": "surprise"}',
        '{"event": 1}',
        "[1]",
        "Rex: ValueError: x",
        "{",
        None,
        7,
    ],
)
def test_other_lines_are_withheld(message):
    assert lines(message) == ([], 1)


def test_systemd_may_speak_of_the_unit_and_nobody_may_pretend_to_be_it():
    words = "edge-daemon.service: Main process exited, code=killed"
    kept, _ = lines(words, _PID="1", SYSLOG_IDENTIFIER="systemd", __REALTIME_TIMESTAMP="9")
    assert kept == [f"9 systemd: {words}"]
    assert lines(words, _PID="77", SYSLOG_IDENTIFIER="systemd") == ([], 1)


def test_a_traceback_keeps_its_frames_and_loses_its_values():
    kept, withheld = lines(
        "Traceback (most recent call last):",
        '  File "/opt/edge-daemon/lib/edge_daemon/service.py", line 12, in <module>',
        "    open('rex.fcs')",
        "FileNotFoundError: [Errno 2] No such file: 'rex.fcs'",
        "edge_daemon.errors.Fatal: rex.fcs",
        "KeyboardInterrupt",
    )
    assert kept == [
        "Traceback (most recent call last):",
        "  edge_daemon/service.py:12 in <module>",
        "FileNotFoundError",
        "KeyboardInterrupt",
    ]
    assert withheld == 2
