"""Pictures: every event is in them, at its place, and they are small."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.classify import pictures
from edge_daemon.classify.bundle import BundleShelf
from edge_daemon.classify.indices import Volumes
from edge_daemon.classify.pictures import draw, pool, signal_axis
from edge_daemon.classify.quantify import quantify
from edge_daemon.classify.runtime import Classifier
from edge_daemon.decode import decode, load_profile
from edge_daemon.records import CELL_CLASSES, CellBatch, CellCalls, ChannelScale, SampleInfo
from edge_daemon.resources import models_dir, profiles_dir
from edge_daemon.simulator.cohort import sample
from edge_daemon.store import pictures as stored

PROFILE = load_profile(profiles_dir() / "sim_optical4" / "1.0.toml")
MOST_BYTES = 30_000


class Run:
    """One simulated run with its calls and what was counted."""

    def __init__(self, species: str, condition: str, *, events: int = 20_000, index: int = 0):
        capture = sample(
            index, firmware="1.0", events=events, seed=77, species=(species,), condition=condition
        )
        bundle = BundleShelf.load((models_dir(),)).for_profile(PROFILE.id, species)
        self.batch = decode(capture.data, PROFILE, name=capture.name)
        self.calls = Classifier(bundle).classify(self.batch)
        self.found = quantify(self.batch, self.calls, bundle)
        self.drawn = draw(
            self.batch, self.calls, self.found.red_cells, self.found.platelets, PROFILE.scales
        )
        self.read = stored.decode(self.drawn.encode())
        self.called = dict(
            zip(CELL_CLASSES, np.bincount(self.calls.codes, minlength=5).tolist(), strict=True)
        )

    def signal(self, name):
        return self.batch.signals[:, self.batch.channels.index(name)].astype(float)

    def value(self, code):
        return next(m.value for m in self.found.measurements if m.code == code)


@pytest.fixture(scope="module")
def dog():
    return Run("dog", "regenerative_anaemia")


@pytest.fixture(scope="module")
def cat():
    return Run("cat", "healthy", index=1)


def totals(picture):
    return {name: sum(cells["counts"]) for name, cells in picture["cells"].items()}


def histogram(read, name):
    return next(p for p in read["histograms"] if p["name"] == name)


def test_two_scattergrams_hold_every_event_in_its_class(dog):
    names = [(p["name"], p["x"]["name"], p["y"]["name"]) for p in dog.read["scattergrams"]]
    assert names == [("size_content", "HA.H", "LA.H"), ("size_dye", "FL.H", "LA.H")]
    for picture in dog.read["scattergrams"]:
        assert totals(picture) == dog.called
    assert dog.read["events"] == 20_000
    assert dog.read["simulated"] is True


def test_an_event_stands_where_its_signals_are(dog):
    picture = dog.read["scattergrams"][1]
    axes = [(picture[a], dog.signal(picture[a]["name"])) for a in "xy"]
    column, row = (
        np.clip(
            axis["bins"]
            * (np.log(np.maximum(values, 1e-6)) - np.log(axis["low"]))
            / np.log(axis["high"] / axis["low"]),
            0,
            axis["bins"] - 1,
        ).astype(int)
        for axis, values in axes
    )
    for code, name in enumerate(CELL_CLASSES):
        expected = np.zeros(picture["x"]["bins"] * picture["y"]["bins"])
        mine = dog.calls.codes == code
        np.add.at(expected, row[mine] * picture["x"]["bins"] + column[mine], 1)
        shown = np.zeros_like(expected)
        cells = picture["cells"][name]
        shown[cells["bins"]] = cells["counts"]
        # float32 may put an event beside the edge of a bin that float64 puts it on.
        assert np.abs(shown - expected).sum() <= 2 + 0.002 * mine.sum(), name


def test_classes_stand_apart_to_the_eye(dog):
    def middle(picture, name):
        cells = picture["cells"][name]
        rows, columns = np.divmod(np.repeat(cells["bins"], cells["counts"]), picture["x"]["bins"])
        return np.median(columns), np.median(rows)

    content, dye = dog.read["scattergrams"]
    assert middle(content, "platelet")[1] < middle(content, "pure_rbc")[1] - 30
    assert middle(content, "clumped_rbc")[0] > middle(content, "pure_rbc")[0] + 8
    assert middle(dye, "reticulocyte")[0] > middle(dye, "pure_rbc")[0] + 30


def test_the_axes_are_the_same_for_every_run_of_a_profile(dog, cat):
    for one, other in zip(dog.read["scattergrams"], cat.read["scattergrams"], strict=True):
        assert (one["x"], one["y"]) == (other["x"], other["y"])
        assert one["x"]["unit"] == PROFILE.scales[one["x"]["name"]].unit
        assert all(one["x"]["low"] <= t <= one["x"]["high"] for t in one["x"]["ticks"])


def test_volume_histograms_say_what_the_indices_say(dog):
    red, platelets = histogram(dog.read, "RBC"), histogram(dog.read, "PLT")
    for picture, code in ((red, "MCV"), (platelets, "MPV")):
        assert (picture["x"]["unit"], picture["method"]) == ("fL", "calculated")
        width = (picture["x"]["high"] - picture["x"]["low"]) / picture["x"]["bins"]
        volumes = np.concatenate(
            [np.repeat(c["bins"], c["counts"]) for c in picture["cells"].values()]
        )
        mean = ((volumes + 0.5) * width).mean()
        assert mean == pytest.approx(dog.value(code), rel=0.03)
    drawn = sum(totals(red).values()) + red["below"] + red["above"] + red["left_out"]
    assert drawn == dog.called["pure_rbc"] + dog.called["reticulocyte"]
    drawn = totals(platelets)["platelet"] + platelets["below"] + platelets["above"]
    assert drawn + platelets["left_out"] == dog.called["platelet"]


def test_platelets_in_the_noise_are_below_the_axis_and_no_peak_at_its_end(dog):
    least = PROFILE.optics.platelet_fl[0]
    noise = int((dog.found.platelets.fl <= 1.001 * least).sum())
    assert noise > 0
    assert histogram(dog.read, "PLT")["below"] == noise


def test_the_boundary_parts_with_the_fewest_on_the_wrong_side(cat):
    boundary = histogram(cat.read, "PLT")["boundary"]
    assert boundary == histogram(cat.read, "RBC")["boundary"]
    small, large = cat.found.platelets.fl, cat.found.red_cells.fl

    def wrong(at):
        return int((small >= at).sum()), int((large < at).sum())

    found = boundary["platelets_above"], boundary["red_cells_below"]
    assert sum(found) <= min(sum(wrong(at)) for at in np.geomspace(2, 100, 150)) + 2
    # `at` is rounded to four digits.
    assert wrong(boundary["at"]) == pytest.approx(found, abs=2)


def test_without_calibration_the_signal_is_shown_and_it_says_so(dog):
    none = Volumes.none("optics_not_calibrated")
    drawn = draw(replace(dog.batch, calibration=None), dog.calls, none, none, PROFILE.scales)
    read = stored.decode(drawn.encode())
    for name, classes in (("RBC", ("pure_rbc", "reticulocyte")), ("PLT", ("platelet",))):
        picture = histogram(read, name)
        assert picture["x"]["name"] == "LA.H"
        assert picture["method"] == "measured"
        assert picture["why_no_volume"] == "optics_not_calibrated"
        assert picture["boundary"] is None
        seen = sum(totals(picture).values()) + picture["below"] + picture["above"]
        assert seen == sum(dog.called[c] for c in classes)


def batch(channels, events=500, *, seed=3):
    rng = np.random.default_rng(seed)
    signals = np.exp(rng.normal(1.0, 0.5, (events, len(channels)))).astype(np.float32)
    codes = rng.integers(0, 5, events).astype(np.uint8)
    run = CellBatch(signals, channels, signals < 0, SampleInfo(), "acme_one/1.0")
    return run, CellCalls(np.eye(5, dtype=np.float32)[codes], codes)


NONE = Volumes.none("optics_not_calibrated")


@pytest.mark.parametrize(
    ("channels", "names"),
    [
        (("LA.H", "HA.H", "FL.H"), ["size_content", "size_dye"]),
        (("LA.A", "SS.A", "LA.W"), ["size_content", "size_width"]),
        (("LA.H", "FL.A"), ["size_dye"]),
        (("HA.H", "EXT.H"), ["size_content"]),
        (("LA.H",), []),
        (("FL.H",), []),
    ],
)
def test_scattergrams_are_of_the_channels_there_are(channels, names):
    read = stored.decode(draw(*batch(channels), NONE, NONE, {}).encode())
    assert [p["name"] for p in read["scattergrams"]] == names
    sized = any(not name.startswith("FL") for name in channels)
    assert len(read["histograms"]) == (2 if sized else 0)
    for picture in read["scattergrams"]:
        assert sum(totals(picture).values()) == 500


def test_a_run_without_events_has_empty_pictures():
    empty = Volumes(np.empty(0, np.intp), np.empty(0, np.float32))
    drawn = draw(*batch(("LA.H", "HA.H"), 0), empty, empty, PROFILE.scales)
    read = stored.decode(drawn.encode())
    assert read["events"] == 0
    for picture in (*read["scattergrams"], *read["histograms"]):
        assert not any(totals(picture).values())


def test_an_axis_is_fitted_to_the_run_where_the_profile_is_silent():
    values = np.array([0.0, -3.0, 0.5, 2.0, 70.0], dtype=np.float32)
    axis = signal_axis("LA.H", ChannelScale("counts"), values, 10)
    assert (axis["low"], axis["high"], axis["unit"]) == (0.1, 100.0, "counts")
    assert axis["ticks"] == [0.1, 1.0, 10.0, 100.0]
    assert signal_axis("LA.H", None, values[:2], 10)["high"] == 10.0
    wide = signal_axis("LA.H", None, np.repeat([1e-30, 500.0], 50).astype(np.float32), 10)
    assert wide["high"] / wide["low"] == pytest.approx(1e6)


def test_what_lies_beyond_an_axis_stands_on_its_edge():
    run, calls = batch(("LA.H", "HA.H"), 4)
    run.signals[:] = [[-5.0, 1.0], [1e9, 1.0], [0.0, 1e9], [1.0, 1.0]]
    scales = {"LA.H": ChannelScale("um2", 1.0, 2.0), "HA.H": ChannelScale("um2", 1.0, 2.0)}
    [picture] = stored.decode(draw(run, calls, NONE, NONE, scales).encode())["scattergrams"]
    assert sum(totals(picture).values()) == 4
    bins = {b for cells in picture["cells"].values() for b in cells["bins"]}
    rows = {b // picture["x"]["bins"] for b in bins}
    assert {0, picture["y"]["bins"] - 1} <= rows


@pytest.mark.parametrize("species", ["dog", "cat"])
def test_a_large_run_takes_few_bytes(species):
    run = Run(species, "regenerative_anaemia", events=100_000)
    assert len(run.drawn.encode()) < MOST_BYTES


def test_the_same_run_has_the_same_bytes(dog):
    again = draw(dog.batch, dog.calls, dog.found.red_cells, dog.found.platelets, PROFILE.scales)
    assert again.encode() == dog.drawn.encode()


@given(st.lists(st.integers(0, 2**33), max_size=40))
def test_numbers_come_back(numbers):
    packed = pictures._varints(np.array(numbers, dtype=np.int64))
    assert stored._varints(packed) == numbers


def test_pooled_runs_are_scaled_and_keep_what_they_have_in_common(dog, cat):
    both = pool([dog.drawn, cat.drawn], 40_000)
    read = stored.decode(both.encode(example={"species": "dog"}))
    assert read["example"] == {"species": "dog"}
    assert read["events"] == 40_000
    assert totals(read["scattergrams"][0]) == {
        name: dog.called[name] + cat.called[name] for name in CELL_CLASSES
    }
    thin = stored.decode(pool([dog.drawn, cat.drawn], 4_000).encode())["scattergrams"][0]
    assert max(thin["cells"]["pure_rbc"]["counts"]) > 1
    assert sum(map(len, (c["bins"] for c in thin["cells"].values()))) < sum(
        len(c["bins"]) for c in read["scattergrams"][0]["cells"].values()
    )


def test_runs_of_other_axes_are_not_pooled(dog):
    other = draw(*batch(dog.batch.channels), NONE, NONE, {})
    with pytest.raises(ValueError, match="axes"):
        pool([dog.drawn, other], 100)


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body[: len(body) // 2],
        lambda body: b"",
        lambda body: b"no zlib",
        lambda body: zlib.compress(zlib.decompress(body)[:-200]),
        lambda body: zlib.compress(b"\xff\xff\xff\x7f{}"),
    ],
)
def test_damaged_bytes_are_refused(dog, damage):
    with pytest.raises(stored.EdgeError, match="damaged"):
        stored.decode(damage(dog.drawn.encode()))


def test_a_later_format_is_refused(dog):
    unpacked = zlib.decompress(dog.drawn.encode())
    length = int.from_bytes(unpacked[:4], "little")
    header = json.loads(unpacked[4 : 4 + length]) | {"format": 2}
    text = json.dumps(header).encode()
    body = zlib.compress(len(text).to_bytes(4, "little") + text + unpacked[4 + length :])
    with pytest.raises(stored.EdgeError, match="format 2"):
        stored.decode(body)
