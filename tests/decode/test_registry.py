"""Exactly one profile fits, or a person is told which came near."""

from __future__ import annotations

import pytest

from edge_daemon.decode import Limits, Registry, decode
from edge_daemon.errors import EdgeError, Quarantine
from edge_daemon.resources import profiles_dir


@pytest.fixture
def registry(write_profile, tmp_path):
    write_profile("1.0")
    write_profile("2.0")
    return Registry.load([tmp_path])


def refused(registry, data, *, code):
    with pytest.raises(Quarantine) as caught:
        registry.match(data, "run 7.fcs")
    assert caught.value.code == code
    assert caught.value.message.startswith("run 7.fcs: ")
    assert caught.value.action
    return caught.value


def test_the_one_that_fits(registry, capture):
    assert registry.problems == ()
    assert registry.match(capture(), "a.fcs").id == "acme_cell9/1.0"
    newer = capture(keywords={"FIRMWARE": "2.0"})
    assert registry.match(newer, "a.fcs").id == "acme_cell9/2.0"


def test_unknown_firmware_names_the_known_ones(registry, capture):
    error = refused(registry, capture(keywords={"FIRMWARE": "3.0"}), code="no_profile")
    assert "instrument cell9 is known with firmware 1.0, 2.0;" in error.message
    assert "this file says FIRMWARE '3.0'" in error.message
    assert error.candidates == ("acme_cell9/1.0", "acme_cell9/2.0")
    error = refused(registry, capture(keywords={"FIRMWARE": " "}), code="no_profile")
    assert "FIRMWARE nothing" in error.message


def test_unknown_instrument_says_what_the_file_is(registry, capture):
    error = refused(registry, capture(keywords={"$CYT": "Other"}), code="no_profile")
    assert "FCS3.0 from 'Other', 3 events × 3 columns" in error.message
    assert error.candidates == ()
    error = refused(registry, capture(keywords={"$CYT": " "}), code="no_profile")
    assert "names no instrument" in error.message


def test_two_that_fit(registry, write_profile, tmp_path, capture):
    write_profile("1.0.1", replace=[('"FIRMWARE" = "1.0.1"', '"FIRMWARE" = { regex = "1.*" }')])
    both = Registry.load([tmp_path])
    assert both.problems == ()
    error = refused(both, capture(), code="ambiguous_profile")
    assert error.candidates == ("acme_cell9/1.0", "acme_cell9/1.0.1")
    # A regular expression has to fit the whole value.
    assert both.match(capture(keywords={"FIRMWARE": "1.7"}), "").id == "acme_cell9/1.0.1"
    refused(both, capture(keywords={"FIRMWARE": "v1.7"}), code="no_profile")


def test_broken_and_foreign_bytes(registry, capture):
    refused(registry, b"PK\x03\x04 not FCS at all", code="not_recognised")
    refused(registry, b"", code="not_recognised")
    refused(registry, capture()[:200], code="truncated")
    refused(registry, b"FCS9x9" + capture()[6:], code="malformed")


def test_a_value_of_unlikely_length_fits_no_pattern(write_profile, tmp_path, capture):
    write_profile("1.0", replace=[('"Cell9"', '{ regex = "Cell9+" }')])
    registry = Registry.load([tmp_path])
    assert registry.match(capture(keywords={"$CYT": "Cell" + "9" * 196}), "").model == "cell9"
    error = refused(registry, capture(keywords={"$CYT": "Cell" + "9" * 5000}), code="no_profile")
    assert len(error.message) < 300


def test_a_file_that_needs_leniency_is_still_identified(registry, capture):
    data = capture(keywords={"EMPTY": ""})
    assert registry.match(data, "a.fcs").id == "acme_cell9/1.0"


def test_size_does_not_hinder_identification(registry, capture):
    data = capture() + bytes(Limits().max_bytes)
    assert registry.match(data, "a.fcs").id == "acme_cell9/1.0"
    with pytest.raises(Quarantine, match="bytes, the limit is") as caught:
        decode(data, registry.get("acme_cell9/1.0"))
    assert caught.value.code == "too_large"


def test_every_profile_says_why(registry, capture):
    first, second = registry.detect(capture(), "a.fcs")
    assert (first.profile, first.matched, first.instrument) == ("acme_cell9/1.0", True, True)
    assert (second.profile, second.matched, second.instrument) == ("acme_cell9/2.0", False, True)
    assert second.reasons == (
        "$CYT is 'Cell9', expected 'Cell9': yes",
        "FIRMWARE is '1.0', expected '2.0': no",
    )


def test_get_names_near_ids(registry):
    assert registry.get("acme_cell9/1.0").firmware == "1.0"
    with pytest.raises(EdgeError, match=r"near it are .*acme_cell9/1\.0"):
        registry.get("acme_cell9/1.1")
    with pytest.raises(EdgeError, match=r"known are acme_cell9/1\.0, acme_cell9/2\.0"):
        registry.get("zzz")


def test_bad_files_hide_no_other(write_profile, tmp_path):
    write_profile("1.0")
    write_profile("2.0", replace=[("schema = 1", "schema = 7")])
    (tmp_path / "acme_cell9" / "3.0.toml").write_text("nonsense", encoding="utf-8")
    registry = Registry.load([tmp_path])
    assert list(registry.profiles) == ["acme_cell9/1.0"]
    assert len(registry.problems) == 2


def test_a_site_folder_adds_and_never_overrides(write_profile, tmp_path, capture):
    shipped, site = tmp_path / "shipped", tmp_path / "site"
    write_profile("1.0", root=shipped)
    write_profile("1.0", root=site, replace=[("gain = 0.5", "gain = 9")])
    write_profile("2.0", root=site)
    copied = [('vendor = "acme"', 'vendor = "copy"')]
    write_profile("1.0", root=site, folder="copy_cell9", replace=copied)
    registry = Registry.load([shipped, site])
    assert sorted(registry.profiles) == ["acme_cell9/1.0", "acme_cell9/2.0"]
    assert registry.match(capture(), "").channel[0].gain == 0.5
    same_id, same_match = registry.problems
    assert "id acme_cell9/1.0 is already loaded" in same_id.message
    assert "conditions are those of profile acme_cell9/1.0" in same_match.message


def test_decode_only_profiles_do_not_clash(tmp_path):
    text = (profiles_dir() / "generic_fcs" / "any.toml").read_text(encoding="utf-8")
    for model in ("generic_fcs", "generic_other"):
        path = tmp_path / model / "any.toml"
        path.parent.mkdir()
        path.write_text(text.replace('"generic_fcs"', f'"{model}"'), encoding="utf-8")
    registry = Registry.load([tmp_path])
    assert sorted(registry.profiles) == ["generic_fcs", "generic_other"]
    assert registry.problems == ()


def test_no_such_directory(tmp_path):
    assert Registry.load([tmp_path / "absent"]).profiles == {}


def test_a_decode_only_profile_never_matches_by_itself(capture, write_profile, tmp_path):
    write_profile("1.0")
    registry = Registry.load([profiles_dir(), tmp_path])
    assert "generic_fcs" in registry.profiles
    assert "generic_fcs" not in {d.profile for d in registry.detect(capture(), "")}
    refused(registry, capture(keywords={"$CYT": "Other"}), code="no_profile")
