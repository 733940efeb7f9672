"""From bytes to canonical cells."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest

from edge_daemon.decode import Registry, decode, decode_raw, load_profile, read_sample
from edge_daemon.decode.codecs.fcs import FcsOptions
from edge_daemon.decode.limits import Limits
from edge_daemon.decode.numbers import parse_number
from edge_daemon.errors import EdgeError, Quarantine
from edge_daemon.resources import profiles_dir


@pytest.fixture
def profile(write_profile):
    return load_profile(write_profile())


def refused(data, profile, *, code, match, **kwargs):
    with pytest.raises(Quarantine, match=match) as caught:
        decode(data, profile, **kwargs)
    assert caught.value.code == code
    assert caught.value.action


def test_canonical_cells(profile, capture):
    batch = decode(capture(), profile)
    assert batch.channels == ("LA.H", "FL.H")
    assert batch.signals.dtype == np.float32
    assert batch.signals[:, 0].tolist() == [51.0, 512.5, 1.0]
    expected = [1.0, 10.0 ** (4 * 512 / 1024), 10.0 ** (4 * 1023 / 1024)]
    np.testing.assert_array_equal(batch.signals[:, 1], np.float32(expected))
    assert batch.saturated.tolist() == [[False, False], [True, False], [False, True]]
    assert batch.time_s.tolist() == [1.0, 2.0, 3.0]
    assert batch.time_s.dtype == np.float32
    assert batch.profile == "acme_cell9/1.0"
    assert batch.notes == ()
    assert (batch.sample.sample_id, batch.sample.species) == ("S-1", "dog")
    assert batch.sample.volume_ul == 12.0
    assert batch.sample.simulated is False


def test_a_log_column_by_lookup_and_directly(profile, capture):
    values = [[0, i % 1024, 0] for i in range(3000)]
    many = decode(capture(values), profile).signals[:, 1]
    few = decode(capture(values[:1000]), profile).signals[:, 1]
    np.testing.assert_allclose(many[:1000], few, rtol=1e-6)
    assert many[512] == 100.0


def test_log_values_between_range_and_mask(write_profile, capture):
    profile = load_profile(write_profile())
    data = capture([[0, 1020, 0]] * 2000, ranges=[1024, 1000, 1 << 32])
    batch = decode(data, profile)
    assert batch.signals[0, 1] == np.float32(10.0 ** (4 * 1020 / 1000))
    assert batch.saturated[:, 1].all()


def test_saturation_at_zero_only_where_the_profile_says_so(write_profile, capture):
    data = capture([[0, 5, 0], [3, 5, 0]])
    assert not decode(data, load_profile(write_profile())).saturated.any()
    path = write_profile(replace=[("offset = 1.0", "offset = 1.0\nsaturates_low = true")])
    assert decode(data, load_profile(path)).saturated[:, 0].tolist() == [True, False]


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_saturation_at_full_width(write_profile, capture, bits):
    profile = load_profile(write_profile())
    top = (1 << bits) - 1
    data = capture(
        [[top, 1, 0], [top // 2, 2, 0]], bits=[bits, 16, 32], ranges=[1 << bits, 1024, 9]
    )
    assert decode(data, profile).saturated[:, 0].tolist() == [True, False]


def floating(fcs, values, **keywords):
    names = ["FSC-H", "TIME"]
    keywords = {"$CYT": "Cell9", "FIRMWARE": "1.0", "$TIMESTEP": "1"} | keywords
    return fcs(values, datatype="F", names=names, keywords=keywords).build()


@pytest.fixture
def float_profile(write_profile):
    log = '[[channel]]\ncolumn = "FL-H"\ncanonical = "FL.H"\nscale = "log"\nunit = "1"\n'
    return load_profile(write_profile(replace=[(log, "")]))


def test_floating_point_never_saturates(fcs, float_profile):
    batch = decode(floating(fcs, [[4.0, 1.0], [1e30, 2.0]]), float_profile)
    assert batch.signals.tolist() == [[3.0], [np.float32(1e30) * np.float32(0.5)]]
    assert not batch.saturated.any()


def test_values_that_are_no_numbers(fcs, float_profile):
    for bad in (math.nan, math.inf):
        data = floating(fcs, [[4.0, 1.0], [bad, 2.0]])
        refused(data, float_profile, code="implausible", match=r"FSC-H \(LA.H\).* event 2 is")
        data = floating(fcs, [[4.0, bad]])
        refused(data, float_profile, code="implausible", match="column TIME")


def test_values_beyond_float32(write_profile, capture):
    path = write_profile(replace=[("gain = 0.5", "gain = 1e38")])
    refused(capture(), load_profile(path), code="implausible", match="finite")


def test_integer_beside_floating_point(fcs, float_profile):
    bits = int.from_bytes(np.float32(2.5).tobytes(), "little")
    data = fcs(
        [[1023, bits], [4, bits]],
        bits=[32, 32],
        ranges=[1024, 1024],
        version="FCS3.2",
        names=["FSC-H", "TIME"],
        keywords={"$CYT": "Cell9", "$TIMESTEP": "2", "$P2DATATYPE": "F"},
    ).build()
    batch = decode(data, float_profile)
    assert batch.saturated.tolist() == [[True], [False]]
    assert batch.time_s.tolist() == [5.0, 5.0]


def test_scales_must_agree(profile, capture):
    linear = capture(scales=["0,0", "0,0", "0,0"])
    refused(linear, profile, code="profile_mismatch", match="FL-H: expected log .* linear")
    log = capture(scales=["4,1", "4,1", "0,0"])
    refused(log, profile, code="profile_mismatch", match="FSC-H: expected linear .* 4 decades")


def test_columns_must_be_there_once(profile, capture):
    gone = capture(names=["A", "FL-H", "TIME"])
    refused(
        gone, profile, code="profile_mismatch", match="needs columns FSC-H; the file has 'A', 'FL"
    )
    twice = capture(names=["FSC-H", "FL-H", "FL-H"])
    refused(twice, profile, code="profile_mismatch", match="one column named FL-H, found 2")
    timeless = capture(names=["FSC-H", "FL-H", "T"])
    refused(timeless, profile, code="profile_mismatch", match="named TIME, found none")


@pytest.mark.parametrize("written", ["0", "-1", "nan", "1_0", "soon"])
def test_time_unit(profile, capture, written):
    data = capture(keywords={"$TIMESTEP": written})
    refused(data, profile, code="profile_mismatch", match=r"\$TIMESTEP")


@pytest.mark.parametrize("written", ["0", "-4", "nan", "inf", "1e999", "1,5", "12 µL"])
def test_metered_volume_must_be_a_positive_number(profile, capture, written):
    data = capture(keywords={"$VOL": written})
    refused(data, profile, code="profile_mismatch", match=r"\$VOL: expected a positive number")


def test_a_volume_that_overflows_its_unit(write_profile, capture):
    profile = load_profile(write_profile(replace=[("scale = 1e-3", "scale = 1e3")]))
    data = capture(keywords={"$VOL": "9e307"})
    refused(data, profile, code="profile_mismatch", match=r"\$VOL")


def test_metadata_that_is_not_there_is_not_known(profile, capture):
    batch = decode(capture(keywords={"$SMNO": " ", "$VOL": " ", "SPECIES": " "}), profile)
    assert (batch.sample.sample_id, batch.sample.volume_ul, batch.sample.species) == (
        None,
        None,
        None,
    )
    assert batch.notes == ()


def test_required_metadata(write_profile, capture):
    path = write_profile(
        replace=[
            ('{ keyword = "$SMNO" }', '{ keyword = "$SMNO", required = true }'),
            ('map = { CANINE = "dog" } }', 'map = { CANINE = "dog" }, required = true }'),
        ]
    )
    profile = load_profile(path)
    assert decode(capture(), profile).sample.sample_id == "S-1"
    for keywords, found in (
        ({"$SMNO": " "}, "sample_id .* nothing"),
        ({"SPECIES": "X"}, "species .* 'X'"),
    ):
        refused(capture(keywords=keywords), profile, code="profile_mismatch", match=found)


def test_a_species_that_is_not_mapped_is_noted(profile, capture):
    batch = decode(capture(keywords={"SPECIES": "HAMSTER"}), profile)
    assert batch.sample.species is None
    assert batch.notes == ("species: keyword SPECIES says 'HAMSTER', which is not mapped",)


def test_metadata_of_unlikely_length(profile, capture):
    data = capture(keywords={"$SMNO": "x" * 201})
    refused(data, profile, code="profile_mismatch", match=r"\$SMNO: expected at most 200 char")


def test_species_without_a_map(write_profile, capture):
    path = write_profile(replace=[(', map = { CANINE = "dog" }', "")])
    data = capture(keywords={"SPECIES": "Horse"})
    assert decode(data, load_profile(path)).sample.species == "horse"


def test_a_map_of_other_values(write_profile, capture):
    path = write_profile(replace=[('"$SMNO" }', '"$SMNO", map = { "S-1" = "one" } }')])
    profile = load_profile(path)
    assert decode(capture(), profile).sample.sample_id == "one"
    assert decode(capture(keywords={"$SMNO": "S-2"}), profile).sample.sample_id == "S-2"


@pytest.mark.parametrize(
    ("mark", "simulated"), [("1", True), ("yes", True), ("0", False), ("FALSE", False)]
)
def test_the_simulated_mark_of_a_capture(profile, capture, mark, simulated):
    batch = decode(capture(keywords={"EDGE_SIMULATED": mark}), profile)
    assert batch.sample.simulated is simulated


def test_the_simulated_mark_of_a_profile(write_profile, capture):
    path = write_profile(replace=[("revision = 1", "revision = 1\nsimulated = true")])
    profile = load_profile(path)
    assert decode(capture(keywords={"EDGE_SIMULATED": "0"}), profile).sample.simulated is True


def test_plausibility(write_profile, capture):
    path = write_profile()
    text = path.read_text(encoding="utf-8")

    def limited(lines):
        path.write_text(f"{text}[plausibility]\n{lines}\n", encoding="utf-8")
        return load_profile(path)

    data = capture()
    within = "min_events = 3\nmax_saturated_fraction = 0.34\n"
    range_ = 'channels = {{ "LA.H" = {{ median_min = {}, median_max = {} }} }}'
    decode(data, limited(within + range_.format(51, 51.5)))
    for lines, match in (
        ("min_events = 4", "3 events, .* at least 4"),
        ("max_saturated_fraction = 0.3", "channel LA.H: 33.3% .* allows 30.0%"),
        (range_.format(52, 60), "channel LA.H: median 51, .* 52 to 60"),
        (range_.format(1, 50), "channel LA.H: median 51, .* 1 to 50"),
    ):
        refused(data, limited(lines), code="implausible", match=match)


def test_no_events_are_implausible(profile, capture):
    data = capture([], header_data=(0, 0), begin_data=0, end_data=0)
    refused(data, profile, code="implausible", match="0 events")


def test_leniencies_are_the_profiles(write_profile, capture):
    data = capture(keywords={"NOTE": ""})
    refused(data, load_profile(write_profile()), code="malformed", match="empty_values")
    path = write_profile(
        replace=[('name = "fcs"', 'name = "fcs"\noptions = { empty_values = true }')]
    )
    assert decode(data, load_profile(path)).notes[0].startswith("empty_values: ")


def test_a_decode_only_profile_gives_recorded_columns(capture):
    generic = Registry.load([profiles_dir()]).get("generic_fcs")
    assert set(generic.codec.leniencies) == {field.name for field in fields(FcsOptions)}
    table = decode_raw(capture(), generic)
    assert table.values[:, 0].tolist() == [100, 1023, 0]
    assert read_sample(table, generic)[0].sample_id == "S-1"
    with pytest.raises(EdgeError, match="only decodes") as caught:
        decode(capture(), generic)
    assert not isinstance(caught.value, Quarantine)


def test_only_a_decode_only_profile_raises_the_cap_on_columns(profile, fcs):
    generic = Registry.load([profiles_dir()]).get("generic_fcs")
    wide = fcs([[1] * 200]).build()
    assert decode_raw(wide, generic).values.shape == (1, 200)
    with pytest.raises(Quarantine, match="200 columns, the limit is 64"):
        decode_raw(wide, profile)
    with pytest.raises(Quarantine, match="257 columns, the limit is 256"):
        decode_raw(fcs([[1] * 257]).build(), generic, limits=Limits(max_channels=8))


def test_a_data_set_is_chosen(profile, capture):
    refused(capture(), profile, code="malformed", match="data set 2", dataset=2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        (" -2.5e3 ", -2500.0),
        (".5", 0.5),
        ("4.", 4.0),
        ("", None),
        ("e5", None),
        ("1" * 41, None),
    ],
)
def test_numbers(text, value):
    assert parse_number(text) == value
