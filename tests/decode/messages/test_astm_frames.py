"""E1381 frames of a recording: every number, checksum and ending is checked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.decode.codecs.astm import AstmOptions
from edge_daemon.decode.codecs.astm_frames import deframe
from edge_daemon.decode.message import Leniencies
from edge_daemon.errors import Quarantine
from edge_daemon.simulator.wire import astm_frame, astm_frames

MESSAGE = b"H|\\^&|||Cell9\rP|1\rO|1|S-1\r" + b"R|1|^^^RBC|6.84\r" * 20 + b"L|1|N\r"
STRICT = AstmOptions()


def session(*frames):
    return b"\x05" + b"".join(frames) + b"\x04"


def refusal(data, options=STRICT):
    with pytest.raises(Quarantine) as caught:
        deframe(data, Leniencies(options))
    return caught.value


def test_records_without_frames_stay_as_they_are():
    assert deframe(MESSAGE, Leniencies(STRICT)).body == MESSAGE
    assert deframe(b"", Leniencies(STRICT)).frames == 0


@pytest.mark.parametrize("by_record", [True, False])
@given(size=st.integers(1, 240))
def test_any_cut_into_frames_gives_the_same_records(by_record, size):
    frames = astm_frames(MESSAGE, text_size=size, by_record=by_record)
    lenient = Leniencies(STRICT)
    found = deframe(session(*frames), lenient)
    assert (found.body, found.frames, lenient.notes) == (MESSAGE, len(frames), ())


def test_several_transmissions_follow_one_another():
    data = session(*astm_frames(MESSAGE)) * 3
    assert deframe(data, Leniencies(STRICT)).body == MESSAGE * 3
    bare = b"".join(astm_frames(MESSAGE)) * 2
    lenient = Leniencies(AstmOptions(without_session=True))
    assert deframe(bare, lenient).body == MESSAGE * 2
    assert [note.split(":")[0] for note in lenient.notes] == ["without_session"]


def test_a_frame_sent_again_counts_once():
    frames = astm_frames(MESSAGE)
    found = deframe(session(*frames[:3], frames[2], *frames[3:]), Leniencies(STRICT))
    assert (found.body, found.frames) == (MESSAGE, len(frames) + 1)


def test_a_missing_frame_is_noticed():
    frames = astm_frames(MESSAGE)
    error = refusal(session(*frames[:3], *frames[4:]))
    assert error.code == "malformed"
    assert "expected frame number 4, found 5" in error.message


def test_eight_missing_frames_leave_the_number_right_and_the_records_wrong(make):
    """Modulo 8 a gap of eight is invisible here; the sequence numbers of records show it."""
    rows = [f"R|{i}|^^^X|1" for i in range(1, 20)]
    frames = astm_frames(make.astm("P|1", "O|1|S", *rows))
    body = deframe(session(*frames[:5], *frames[13:]), Leniencies(STRICT)).body
    assert body.count(b"R|") == 11


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (lambda d: d.replace(b"6.84", b"6.85", 1), "malformed", "its bytes give"),
        (lambda d: d.replace(b"\r\n", b"\n\n", 1), "malformed", "CR LF"),
        (lambda d: d[:-1], "truncated", "no EOT"),
        (lambda d: d[:40], "truncated", "no end"),
        (lambda d: d[: d.index(b"\x03") + 2], "truncated", "checksum"),
        (lambda d: d[:6] + b"\x04" + d[6:], "malformed", "broken off"),
        (lambda d: b"\x05 " + d[1:], "malformed", "expected a frame"),
        (lambda d: d.replace(b"\x021", b"\x029", 1), "malformed", "0 to 7"),
        (lambda d: d.replace(b"\x03", b"\x03XY", 1), "malformed", "two hex digits"),
    ],
)
def test_damage(damage, code, words):
    error = refusal(damage(session(*astm_frames(MESSAGE))))
    assert error.code == code
    assert words in error.message
    assert "byte" in error.message


def test_a_transmission_that_stops_inside_a_record():
    frame = astm_frame(1, b"H|\\^&|||Cel", last=False)
    assert refusal(session(frame)).code == "truncated"
    assert refusal(frame, AstmOptions(without_session=True)).code == "truncated"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("without_session", b"".join(astm_frames(MESSAGE))),
        ("without_line_feed", session(*(f[:-1] for f in astm_frames(MESSAGE)))),
        ("without_record_end", session(astm_frame(1, b"H|\\^&", last=True))),
        ("long_frames", session(*astm_frames(MESSAGE, text_size=1000, by_record=False))),
    ],
)
def test_each_deviation_needs_its_leniency(name, data):
    lenient = Leniencies(AstmOptions(**{name: True}))
    assert deframe(data, lenient).body.startswith(b"H|\\^&")
    assert [note.split(":")[0] for note in lenient.notes] == [name]
    others = dict.fromkeys(set(AstmOptions.model_fields) - {name}, True)
    assert f"leniency {name}" in refusal(data, AstmOptions(**others)).message
