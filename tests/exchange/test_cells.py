"""Cells as FCS: read back by FlowIO and by our own strict reader, to the last bit."""

from __future__ import annotations

import io

import flowio
import numpy as np
import pytest

from edge_daemon.decode.codecs.fcs import read_fcs
from edge_daemon.exchange.cells import POSTERIORS, cells_as_fcs
from edge_daemon.exchange.fcs_writer import FcsColumn, write_fcs
from edge_daemon.records import CELL_CLASSES, CellBatch, CellCalls, ChannelScale, SampleInfo

SCALES = {"LA.H": ChannelScale("um2"), "FL.H": ChannelScale("mature_dog_rbc")}


def cells(events=200, *, time=True, **sample):
    rng = np.random.default_rng(5)
    signals = np.exp(rng.normal(1.0, 2.0, (events, 2))).astype(np.float32)
    signals[: events // 4, 0] *= -1.0
    posterior = rng.dirichlet(np.ones(5), events).astype(np.float32)
    info = {"sample_id": "D-1", "species": "dog", "volume_ul": 2.5, "dilution": 200.0}
    batch = CellBatch(
        signals,
        ("LA.H", "FL.H"),
        np.zeros(signals.shape, bool),
        SampleInfo(**info | sample),
        "acme_one/1.0",
        time_s=np.arange(events, dtype=np.float32) / 7 if time else None,
    )
    return batch, CellCalls(posterior, posterior.argmax(1).astype(np.uint8))


@pytest.fixture
def run(make_run):
    return make_run() | {
        "sha256": "cd" * 32,
        "profile_sha256": "11" * 32,
        "model_sha256": "22" * 32,
    }


@pytest.mark.parametrize("time", [True, False])
def test_two_readers_find_every_number_as_it_was(run, time):
    batch, calls = cells(time=time)
    body = cells_as_fcs(run, batch, calls, SCALES, reproduced=True)
    names = [*batch.channels, *(["TIME"] if time else []), "CLASS", *POSTERIORS]
    expected = np.column_stack(
        [batch.signals, *([batch.time_s] if time else []), calls.codes, calls.posterior]
    ).astype(np.float32)
    flow = flowio.FlowData(io.BytesIO(body))
    assert flow.pnn_labels == names
    assert np.array_equal(flow.as_array(preprocess=False).astype(np.float32), expected)
    ours = read_fcs(body)
    assert [column.name for column in ours.columns] == names
    assert np.array_equal(ours.values, expected)
    assert not ours.notes


def test_keywords_say_where_the_cells_come_from_and_not_whose_they_are(run):
    batch, calls = cells(patient_name="Bello", patient_id="P-7", acquired_at="2026-01-05T08:00:00Z")
    found = read_fcs(cells_as_fcs(run, batch, calls, SCALES, reproduced=False)).keywords
    assert found["$SMNO"] == "D-1"
    assert found["$DATE"] == "05-JAN-2026"
    assert float(found["$VOL"]) == 2500.0
    assert found["EDGE_SPECIES"] == "dog"
    assert found["EDGE_REPRODUCED"] == "0"
    assert found["EDGE_CAPTURE"] == "cd" * 32
    assert found["EDGE_CLASSES"] == ", ".join(f"{i} {n}" for i, n in enumerate(CELL_CLASSES))
    assert not any("Bello" in value or "P-7" in value for value in found.values())
    assert found["EDGE_SIMULATED"] == "0"
    assert "$COM" not in found


def test_simulated_cells_keep_their_mark(run):
    batch, calls = cells(simulated=True)
    found = read_fcs(cells_as_fcs(run, batch, calls, SCALES, reproduced=True)).keywords
    assert found["EDGE_SIMULATED"] == "1"
    assert found["$COM"] == "SIMULATED: not a patient's result"


@pytest.mark.parametrize("text", ["|x|y", "a\nb\x1b[2J", "猫 ünï", "x" * 300])
def test_any_sample_id_can_be_written(run, text):
    batch, calls = cells(sample_id=text)
    found = read_fcs(cells_as_fcs(run, batch, calls, SCALES, reproduced=True)).keywords
    shown = "".join(c if c.isprintable() else " " for c in text)
    assert found["$SMNO"].strip() == shown.strip()


def test_a_run_without_events_is_written(run):
    batch, calls = cells(0)
    assert read_fcs(cells_as_fcs(run, batch, calls, SCALES, reproduced=True)).values.shape == (0, 9)


@pytest.mark.parametrize(
    ("values", "column", "message"),
    [
        (np.array([[np.nan]], np.float32), FcsColumn("A", "", 32, 1), "not finite"),
        (np.array([[1.0]]), FcsColumn("A", "", 32, 1), "float32"),
        (np.array([[1.0]], np.float32), FcsColumn("A", "", 16, 1), "32 bits"),
        (np.array([[1.0]], np.float32), FcsColumn("A", "", 32, 1, 4.0), "linear"),
    ],
)
def test_floats_that_fcs_cannot_hold_are_refused(values, column, message):
    with pytest.raises(ValueError, match=message):
        write_fcs([column], values, {}, byte_order="big")
