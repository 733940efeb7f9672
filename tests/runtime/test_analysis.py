"""What a worker does with one capture, by what its profile promises."""

from __future__ import annotations

import hashlib

import pytest

from edge_daemon.analysis import Analyst
from edge_daemon.decode.kit import read_sample
from edge_daemon.records import Classified, Decoded, RawCapture, Reported
from edge_daemon.resources import models_dir, profiles_dir
from edge_daemon.tasks import Plan


@pytest.fixture(scope="module")
def analyst():
    return Analyst(Plan((profiles_dir(),), (models_dir(),), 64 << 20))


def steps(analyst, profile):
    sample = read_sample(profiles_dir() / f"{profile}.toml")
    digest = hashlib.sha256(sample.data).hexdigest()
    return list(analyst.analyse(RawCapture("i", "s", sample.name, digest, sample.data)))


def test_cells_are_decoded_then_classified(analyst):
    decoded, classified = steps(analyst, "sim_optical4/1.0")
    assert isinstance(decoded, Decoded)
    assert isinstance(classified, Classified)
    assert decoded.events == sum(classified.counts.values()) > 0


def test_results_alone_give_a_report_and_no_columns(analyst):
    (reported,) = steps(analyst, "urit_5160/hl7-2.3.1")
    assert isinstance(reported, Reported)
    assert reported.profile == "urit_5160/hl7-2.3.1"
    assert {"RBC", "PLT"} <= {value.code for value in reported.report.values}


def test_a_report_with_list_mode_gives_both(analyst):
    reported, decoded = steps(analyst, "horiba_yumizen_h500/2.2.2.2b")
    assert isinstance(reported, Reported)
    assert isinstance(decoded, Decoded)
    assert decoded.events > 0
    assert len(decoded.channels) > 1
