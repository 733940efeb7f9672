"""What a worker may answer: everything that is right survives, everything else is refused."""

from __future__ import annotations

import json
import math
import os
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon import answers
from edge_daemon.answers import AnswerError, Done, Failed, Order, Ready, read, write, write_step
from edge_daemon.errors import EdgeError, Fatal, Quarantine, Retryable
from edge_daemon.records import (
    CELL_CLASSES,
    MEASUREMENT_CODES,
    AnalyzerReport,
    Classified,
    Decoded,
    Flag,
    Measurement,
    Reported,
    ReportedHistogram,
    ReportedValue,
    SampleInfo,
)

HEADER = {"format": 1, "simulated": False, "events": 3, "scattergrams": [], "histograms": []}
PICTURES = zlib.compress(
    len(json.dumps(HEADER)).to_bytes(4, "little") + json.dumps(HEADER).encode()
)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
number = st.floats(allow_nan=False, allow_infinity=False)
maybe = number | st.none()
samples = st.builds(
    SampleInfo,
    sample_id=text | st.none(),
    volume_ul=maybe,
    simulated=st.booleans(),
)
decoded = st.builds(
    Decoded, text, text, st.integers(0, 10**6), st.tuples(text), samples, st.tuples(text, text)
)
reports = st.builds(
    AnalyzerReport,
    samples,
    st.sampled_from(["sample", "control"]),
    st.tuples(st.builds(ReportedValue, text, text | st.none(), maybe, text, text, low=maybe)),
    st.tuples(st.builds(ReportedHistogram, text, text, number, number, st.tuples(number, number))),
    st.tuples(text),
    text | st.none(),
    st.booleans(),
)
measurements = st.builds(
    Measurement,
    st.sampled_from(MEASUREMENT_CODES),
    st.floats(0, 100) | st.none(),
    text,
    st.floats(-1, 0) | st.none(),
    st.floats(100, 200) | st.none(),
    st.sampled_from(["counted", "calculated"]),
    st.tuples(text),
)
classified = st.builds(
    Classified,
    text,
    text,
    st.fixed_dictionaries({name: st.integers(0, 10**6) for name in CELL_CLASSES}),
    st.tuples(measurements),
    st.tuples(st.builds(Flag, text, st.sampled_from(["info", "review", "invalid"]), text, text)),
    st.floats(0, 100),
    st.sampled_from([b"", PICTURES]),
)


@settings(deadline=None)
@given(step=st.one_of(decoded, st.builds(Reported, text, text, reports), classified))
def test_every_step_comes_back_as_it_was(step):
    again = read(write_step(step)).step
    assert again == step
    assert type(again) is type(step)


@settings(deadline=None)
@given(
    data=st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace"))
)
def test_no_bytes_raise_anything_else(data):
    with pytest.raises(AnswerError, match=r"^.{1,200}\Z"):
        read(data)


DECODED = Decoded("p/1", "0" * 64, 3, ("LA.H",), SampleInfo())
COUNTS = dict.fromkeys(CELL_CLASSES, 0) | {"other": 3}
CLASSIFIED = Classified("m@1", "1" * 64, COUNTS, (), ())


def rbc(value=1.0, low=None, high=None, code="RBC"):
    return replace(CLASSIFIED, measurements=(Measurement(code, value, "", low, high, "counted"),))


@pytest.mark.parametrize(
    "step",
    [
        replace(DECODED, events=-1),
        replace(DECODED, sample=SampleInfo(volume_ul=math.nan)),
        replace(DECODED, sample=SampleInfo(sample_id="\ud800")),
        replace(DECODED, notes=("x" * answers.MAX_BYTES,)),
        replace(CLASSIFIED, counts={"other": 3}),
        replace(CLASSIFIED, counts=COUNTS | {"other": -1}),
        replace(CLASSIFIED, counts=COUNTS | {"blast": 1}),
        replace(CLASSIFIED, elapsed_s=math.inf),
        rbc(math.nan),
        rbc(math.inf),
        rbc(-0.1),
        rbc(low=-math.inf),
        rbc(low=2.0, high=1.0),
        rbc(code="WBC"),
        rbc(100.1, code="RETIC%"),
        replace(CLASSIFIED, measurements=rbc().measurements * 2),
        replace(CLASSIFIED, pictures=b"no pictures"),
        replace(CLASSIFIED, pictures=PICTURES[:-1]),
        replace(CLASSIFIED, pictures=os.urandom(answers.MAX_PICTURE_BYTES + 1)),
    ],
)
def test_a_result_that_cannot_be_is_not_classified(step):
    with pytest.raises(Quarantine) as caught:
        write_step(step)
    assert caught.value.code == "not_classified"
    assert caught.value.action


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "fatal"},
        {"kind": "decoded", "extra": 1},
        {"step": None},
        {"step": {"__class__": "Path"}},
    ],
)
def test_what_has_no_place_is_refused(change):
    message = json.loads(write_step(DECODED)) | change
    with pytest.raises(AnswerError):
        read(json.dumps(message).encode())


@pytest.mark.parametrize("value", ["3", 3.5, True, [3], 1e999])
def test_a_field_of_another_type_is_refused(value):
    message = json.loads(write_step(DECODED))
    message["step"]["events"] = value
    with pytest.raises(AnswerError, match="events"):
        read(json.dumps(message).encode())


def test_errors_come_back_by_what_is_to_be_done():
    def back(error):
        with pytest.raises(EdgeError) as caught:
            read(write(Failed.of(error))).raise_it()
        return caught.value

    quarantine = Quarantine("no_profile", "what", action="do", candidates=("a/1", "b/2"))
    assert back(quarantine).__dict__ == quarantine.__dict__
    assert back(EdgeError("file \udcff.fcs")).message == "file \\udcff.fcs"
    assert type(back(Retryable("later", action="wait"))) is Retryable
    # A worker cannot stop the service.
    stopped = back(Fatal("stop", action="restart"))
    assert (type(stopped), stopped.message, stopped.action) == (EdgeError, "stop", "restart")
    with pytest.raises(AnswerError, match="no_such"):
        Failed(response="quarantine", message="", action="", code="no_such").raise_it()


def step_of(step):
    return read(write_step(step))


@pytest.mark.parametrize(
    ("before", "then"),
    [
        ([], CLASSIFIED),
        ([DECODED], DECODED),
        ([DECODED, CLASSIFIED], CLASSIFIED),
        ([DECODED], replace(CLASSIFIED, counts=COUNTS | {"other": 2})),
    ],
)
def test_steps_out_of_order_are_refused(before, then):
    order = Order()
    for step in before:
        assert order.take(step_of(step)) == step
    with pytest.raises(AnswerError):
        order.take(step_of(then))


def test_reports_may_come_between_and_have_an_end(monkeypatch):
    monkeypatch.setattr(answers, "MAX_ANSWERS", 4)
    report = Reported("p/1", "0" * 64, AnalyzerReport(SampleInfo(), "sample", ()))
    order = Order()
    for step in (report, DECODED, report, CLASSIFIED):
        assert order.take(step_of(step)) == step
    with pytest.raises(AnswerError, match="more than 4"):
        order.take(step_of(report))
    for answer in (Ready(), Done()):
        with pytest.raises(AnswerError, match=answer.kind):
            Order().take(answer)
