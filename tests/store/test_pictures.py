"""Pictures in the store: with their run or not at all, and only as they were written."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import textwrap
import zlib
from contextlib import closing

import pytest

from edge_daemon.errors import EdgeError
from edge_daemon.records import SPECIES
from edge_daemon.resources import profiles_dir, reference_pictures_dir
from edge_daemon.store import layout, pictures, queries


def axis(name, bins):
    return {
        "name": name, "unit": "um2", "scale": "log", "low": 0.1, "high": 10.0, "bins": bins,
        "ticks": [0.1, 1.0, 10.0],
    }  # fmt: skip


HEADER = {
    "format": 1,
    "simulated": False,
    "events": 3,
    "scattergrams": [
        {
            "name": "size_content", "x": axis("HA.H", 4), "y": axis("LA.H", 2),
            "classes": ["pure_rbc", "platelet"],
        }
    ],
    "histograms": [
        {
            "name": "RBC", "x": axis("LA.H", 300), "classes": ["pure_rbc"], "method": "measured",
            "below": 0, "above": 0, "left_out": 0, "why_no_volume": "red_cells_off_grid",
            "boundary": None,
        }
    ],
}  # fmt: skip


def body(header=HEADER):
    text = json.dumps(header).encode()
    # Bins 1 and 8 (the platelets' first) hold 1 and 130 events; bin 299 holds 2.
    numbers = bytes([2, 1, 6, 0, 0x81, 0x01]) + bytes([1, 0xAB, 0x02, 1])
    return zlib.compress(len(text).to_bytes(4, "little") + text + numbers)


@pytest.fixture
def run(store, make):
    def take(content=0, **changes):
        capture_id = store.accept(make.capture(content)).capture_id
        store.record_decoded(capture_id, make.decoded())
        return store.record_run(capture_id, make.decoded(), make.classified(**changes))

    return take


def test_the_documented_bytes_are_read():
    read = pictures.decode(body())
    assert read["scattergrams"][0]["cells"] == {
        "pure_rbc": {"bins": [1], "counts": [1]},
        "platelet": {"bins": [0], "counts": [130]},
    }
    assert read["histograms"][0]["cells"] == {"pure_rbc": {"bins": [299], "counts": [2]}}


def test_pictures_are_kept_with_their_run_and_not_sent(run, data_dir):
    with_pictures, without = run(1, pictures=body()), run(2)
    with closing(queries.connect(data_dir)) as db:
        assert pictures.body_of_run(db, with_pictures) == body()
        assert pictures.of_run(db, with_pictures)["events"] == 3
        assert pictures.of_run(db, without) is None
        assert pictures.of_run(db, 99) is None
        assert queries.run(db, f"run:{with_pictures}")["intact"]
        sent = [row["body"] for row in db.execute("SELECT body FROM outbox ORDER BY seq")]
    # Pictures change neither what is sent nor what recognises a repeat.
    assert sent[0].replace(sent[0].split('"capture":"')[1][:64], "") == sent[1].replace(
        sent[1].split('"capture":"')[1][:64], ""
    )


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE pictures SET body = zeroblob(20) WHERE run_id = 1",
        "UPDATE pictures SET run_id = 3 - run_id WHERE run_id = 1",
    ],
)
def test_pictures_that_are_not_the_runs_own_are_refused(run, store, data_dir, change):
    run(1, pictures=body())
    run(2)
    store.close()
    with closing(sqlite3.connect(layout.database_path(data_dir))) as db:
        db.execute(change)
        db.commit()
        owner = db.execute("SELECT run_id FROM pictures").fetchone()[0]
    with closing(queries.connect(data_dir)) as db:
        with pytest.raises(EdgeError, match="not those that were stored"):
            pictures.of_run(db, owner)
        assert queries.run(db, f"run:{owner}")["intact"]


def test_a_bin_outside_the_picture_is_refused():
    text = json.dumps(HEADER).encode()
    numbers = bytes([1, 17, 0]) + bytes([0])
    with pytest.raises(EdgeError, match="damaged"):
        pictures.decode(zlib.compress(len(text).to_bytes(4, "little") + text + numbers))


def changed(path, value):
    """The header with one value replaced, or left out where it is `...`."""
    header = json.loads(json.dumps(HEADER))
    *steps, last = path
    place = header
    for step in steps:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return header


SCATTERGRAM, HISTOGRAM = ("scattergrams", 0), ("histograms", 0)
AXIS = (*SCATTERGRAM, "x")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), ...),
        (("simulated",), 1),
        (("events",), -1),
        (("events",), 1e9),
        (("scattergrams",), {}),
        (("histograms",), HEADER["histograms"] * 3),
        ((*SCATTERGRAM, "name"), "<script>"),
        ((*SCATTERGRAM, "classes"), []),
        ((*SCATTERGRAM, "classes"), ["platelet", "platelet"]),
        ((*SCATTERGRAM, "classes"), ["eosinophil"]),
        ((*SCATTERGRAM, "y"), ...),
        ((*HISTOGRAM, "y"), axis("LA.H", 3)),
        ((*AXIS, "name"), "LA.H\x1b[2J"),
        ((*AXIS, "unit"), "u\nm2"),
        ((*AXIS, "unit"), "u" * 61),
        ((*AXIS, "scale"), "root"),
        ((*AXIS, "low"), 0),
        ((*AXIS, "low"), 10.0),
        ((*AXIS, "low"), float("nan")),
        ((*AXIS, "high"), float("inf")),
        ((*AXIS, "high"), "10"),
        ((*AXIS, "bins"), 0),
        ((*AXIS, "bins"), 10**9),
        ((*AXIS, "bins"), True),
        ((*AXIS, "ticks"), [1e9]),
        ((*AXIS, "ticks"), [1.0] * 65),
        ((*HISTOGRAM, "method"), "guessed"),
        ((*HISTOGRAM, "below"), -1),
        ((*HISTOGRAM, "why_no_volume"), "no volume\x07"),
        ((*HISTOGRAM, "boundary"), {"at": -1, "platelets_above": 0, "red_cells_below": 0}),
        ((*HISTOGRAM, "boundary"), {"at": 1}),
        (("example",), {"species": "dog\r"}),
        (("example",), {"animals": 1.5}),
    ],
)
def test_a_header_that_no_drawing_has_is_refused(path, value):
    pictures.decode(body())
    with pytest.raises(EdgeError, match="damaged"):
        pictures.decode(body(changed(path, value)))


@pytest.mark.parametrize("more", [body() + b"x", body()[:-1]])
def test_what_is_cut_off_or_too_long_is_refused(more):
    with pytest.raises(EdgeError, match="damaged"):
        pictures.decode(more)


def test_numbers_that_no_picture_needs_are_refused():
    unpacked = zlib.decompress(body())
    with pytest.raises(EdgeError, match="damaged"):
        pictures.decode(zlib.compress(unpacked + bytes([0])))


def test_a_bomb_is_not_unpacked():
    deep = b'{"format":' + b"[" * 100_000
    for text in (b" " * (64 << 20), deep):
        packed = zlib.compress(len(text).to_bytes(4, "little") + text)
        with pytest.raises(EdgeError, match="damaged"):
            pictures.decode(packed)


def test_reading_needs_the_standard_library_only():
    script = """
        import sys
        import edge_daemon.store.pictures
        heavy = {"numpy", "sqlalchemy", "pydantic", "structlog"}
        print(sorted(heavy & {name.split(".")[0] for name in sys.modules}))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("instrument", ["sim_optical4", "sim_pulse4"])
def test_an_example_is_shipped_for_every_species_and_marked(instrument):
    folder = reference_pictures_dir()
    firmwares = [p.stem for p in (profiles_dir() / instrument).glob("*.toml")]
    assert firmwares
    for species in SPECIES:
        shown = pictures.example(folder, f"{instrument}/{firmwares[0]}", species)
        assert shown["simulated"] is True
        assert shown["example"]["species"] == species
        assert [p["name"] for p in shown["scattergrams"]] == ["size_content", "size_dye"]
        cells = shown["scattergrams"][0]["cells"]
        assert sum(cells["pure_rbc"]["counts"]) > 30_000
        assert sum(cells["platelet"]["counts"]) > 100
    assert sum(f.stat().st_size for f in (folder / instrument).iterdir()) <= 60_000


@pytest.mark.parametrize(
    ("profile", "species"),
    [("sim_optical4/1.0", None), ("acme_one/1.0", "dog"), ("sim_optical4", "unicorn")],
)
def test_without_an_example_there_is_none(profile, species):
    assert pictures.example(reference_pictures_dir(), profile, species) is None
