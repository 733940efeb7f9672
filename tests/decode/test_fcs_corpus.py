"""Every real file is read to its correct reading, or refused with a reason."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

from edge_daemon.decode.codecs.fcs import FcsOptions, read_fcs
from edge_daemon.decode.limits import Limits
from edge_daemon.errors import Quarantine

WIDE = Limits(max_channels=256)

# What each file needs; the first data set of every other one reads strictly.
LENIENCIES = {
    "facscalibur_fcs20_a.fcs": {"empty_values"},
    "facscalibur_data1.fcs": {"empty_values"},
    "cyflow_mixed_8_16_32bit.fcs": {"unreadable_supplemental_text"},
    "bad_data_start_offset.fcs": {"offset_disagreement"},
    "cyan_offset_mismatch.fcs": {"offset_disagreement"},
    "macsquant_duplicate_names.fcs": {"data_end_off_by_one"},
    "lsr2_spill_off_by_one.fcs": {"data_end_off_by_one"},
    "fc500_multiset_off_by_one.lmd": {"data_end_off_by_one"},
    "partec_off_by_one.fcs": {"data_end_off_by_one", "empty_values"},
    "partec_spaced_keywords.fcs": {"data_end_off_by_one", "spaced_keywords"},
    "aurora_no_final_delimiter.fcs": {"missing_final_delimiter"},
}


@pytest.fixture(scope="module")
def manifest(corpus):
    with (corpus / "manifest.tsv").open(encoding="utf-8", newline="") as stream:
        rows = [r for r in csv.DictReader(stream, delimiter="\t") if r["file"].startswith("fcs/")]
    assert rows
    return [(row, (corpus / row["file"]).read_bytes()) for row in rows]


def readable(manifest):
    for row, data in manifest:
        shapes = re.findall(r"(FCS\d\.\d) (\d+)x(\d+)", row["correct_reading"])
        if shapes:
            yield row, data, shapes


def test_every_data_set_has_the_correct_reading(manifest):
    for row, data, shapes in readable(manifest):
        for number, (version, events, columns) in enumerate(shapes, start=1):
            table = read_fcs(data, dataset=number, limits=WIDE, options=FcsOptions.lenient())
            assert table.format == version, row["file"]
            assert table.values.shape == (int(events), int(columns)), row["file"]
            assert len(table.columns) == int(columns)
            assert table.datasets == len(shapes), row["file"]
        table = read_fcs(data, limits=WIDE, options=FcsOptions.lenient())
        first = table.values[0, :3].astype(float)
        means = table.values[:, :3].mean(axis=0, dtype=np.float64)
        assert first.tolist() == json.loads(row["first_event_first3"]), row["file"]
        np.testing.assert_allclose(means, json.loads(row["mean_first3"]), atol=5.1e-4)


def test_exactly_the_known_leniencies_are_needed(manifest):
    for row, data, _ in readable(manifest):
        name = row["file"].removeprefix("fcs/")
        needed = LENIENCIES.get(name, set())
        table = read_fcs(data, limits=WIDE, options=FcsOptions.lenient())
        assert {note.split(":")[0] for note in table.notes} == needed, name
        allowed = FcsOptions(**dict.fromkeys(needed, True))
        assert read_fcs(data, limits=WIDE, options=allowed).notes == table.notes
        for left_out in needed:
            allowed = FcsOptions(**dict.fromkeys(needed - {left_out}, True))
            with pytest.raises(Quarantine) as caught:
                read_fcs(data, limits=WIDE, options=allowed)
            assert caught.value.code == "malformed", name


def test_the_others_read_strictly(manifest):
    for row, data, _ in readable(manifest):
        if row["file"].removeprefix("fcs/") not in LENIENCIES:
            assert read_fcs(data, limits=WIDE).notes == ()


def test_noise_is_not_recognised(corpus):
    with pytest.raises(Quarantine, match="byte 0") as caught:
        read_fcs((corpus / "fcs" / "corrupted.fcs").read_bytes(), options=FcsOptions.lenient())
    assert caught.value.code == "not_recognised"


def test_text_is_utf8(corpus):
    table = read_fcs((corpus / "fcs" / "attune_nxt_utf8.fcs").read_bytes())
    assert table.columns[5].label == "Alexa Fluor™ 405-A"


def test_bits_above_the_range_are_masked(corpus):
    data = (corpus / "fcs" / "xl_cd41_extra_bits.lmd").read_bytes()
    table = read_fcs(data)
    assert table.values.max() <= 1023
    # The file does hold other information in the upper six bits.
    assert np.frombuffer(data, "<u2", 10358 * 6, 2048).max() > 1023


def test_float_data_is_linear_whatever_its_keywords_say(corpus):
    table = read_fcs((corpus / "fcs" / "canto_whole_blood_a.fcs").read_bytes())
    assert table.keywords["$P3E"] == "4,0"
    assert {column.log_decades for column in table.columns} == {0.0}


def test_a_log_scale_with_offset_zero_is_taken_for_one(corpus):
    table = read_fcs(
        (corpus / "fcs" / "facscalibur_data1.fcs").read_bytes(), options=FcsOptions.lenient()
    )
    assert table.keywords["$P3E"] == "4,0"
    assert (table.columns[2].log_decades, table.columns[2].log_offset) == (4.0, 1.0)
    assert (table.columns[0].log_decades, table.columns[0].log_offset) == (0.0, 0.0)
