"""Plots of `show`: right places, right width, and readable without colour."""

import json
import re
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing

import click
import pytest

from edge_daemon.cli import output, plot
from edge_daemon.records import CELL_CLASSES
from edge_daemon.store import layout, pictures

BINS = 96
AXIS = {
    "name": "HA.H", "unit": "um2", "scale": "log", "low": 0.1, "high": 100.0, "bins": BINS,
    "ticks": [0.1, 1.0, 10.0, 100.0],
}  # fmt: skip
VOLUME = {
    "name": "volume", "unit": "fL", "scale": "linear", "low": 0.0, "high": 100.0, "bins": 100,
    "ticks": [0.0, 50.0, 100.0],
}  # fmt: skip
BOUNDARY = {"at": 20.0, "platelets_above": 1, "red_cells_below": 1200}


def at(row, column):
    return row * BINS + column


def drawing(filled=None, *, method="calculated", boundary=BOUNDARY):
    """Decoded pictures; `filled` maps a class to {bin: events} of the scattergram."""
    filled = filled or {
        "pure_rbc": {at(60 + i, 60 + j): 20 for i in range(8) for j in range(8)},
        "reticulocyte": {at(60, 88): 2},
        "clumped_rbc": {at(90, 80): 2},
        "platelet": {at(20 + i, 20 + i): 3 for i in range(10)},
        "other": {at(0, 0): 1},
    }
    scattergram = {
        "name": "size_content", "x": AXIS, "y": AXIS | {"name": "LA.H"},
        "classes": list(CELL_CLASSES),
        "cells": {
            name: {
                "bins": sorted(filled.get(name, {})),
                "counts": [v for _, v in sorted(filled.get(name, {}).items())],
            }
            for name in CELL_CLASSES
        },
    }  # fmt: skip
    bars = {
        "x": VOLUME, "method": method, "why_no_volume": None, "boundary": boundary,
        "below": 0, "above": 0, "left_out": 0,
    }  # fmt: skip
    red = {
        "pure_rbc": {"bins": [50, 60, 70], "counts": [50, 100, 50]},
        "reticulocyte": {"bins": [], "counts": []},
    }
    small = {"platelet": {"bins": [5, 9], "counts": [10, 20]}}
    return {
        "scattergrams": [scattergram, scattergram],
        "histograms": [
            {"name": "RBC", "classes": list(red), "cells": red} | bars,
            {"name": "PLT", "classes": list(small), "cells": small} | bars,
        ],
    }


def pen(columns=100, *, colour=False, unicode=True):
    return plot._Pen(colour=colour, unicode=unicode, columns=columns)


@pytest.mark.parametrize("columns", [40, 61, 79, 80, 81, 100, 120, 300])
@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("unicode", [True, False])
def test_nothing_is_wider_than_the_terminal(columns, colour, unicode):
    for line in plot.lines(drawing(), pen(columns, colour=colour, unicode=unicode)):
        shown = click.unstyle(line)
        if not shown.startswith("^") and "red cells  " not in shown:
            assert output.width(shown) <= columns
        assert unicode or shown.isascii()
        assert colour or line == shown


def test_a_narrow_terminal_gets_no_plot():
    assert plot.lines(drawing(), pen(39)) == []


def test_without_colour_each_class_has_its_letter_at_its_place():
    shown = plot.lines(drawing(), pen(100))
    rows = [line[1:48] for line in shown if line.startswith("│")][:24]
    assert len(rows) == 24
    height, width = len(rows), 47

    def letter(row, column):
        return rows[height - 1 - row * height // BINS][column * width // BINS]

    assert letter(64, 64) == "o"
    assert letter(60, 88) == "r"
    assert letter(90, 80) == "c"
    assert letter(25, 25) == "p"
    assert letter(0, 0) == "."
    assert "o red cells  r reticulocytes  c clumps  p platelets  . other" in shown


def test_in_colour_a_dot_is_where_the_bin_is():
    only = {"platelet": {at(0, 0): 1}, "pure_rbc": {at(BINS - 1, BINS - 1): 1}}
    shown = plot.lines(drawing(only), pen(100, colour=True))
    rows = [line for line in shown if line.startswith("│")][:24]
    # Bottom left and top right dot of a braille character.
    assert click.style("⡀", fg="cyan") in rows[-1]
    assert click.style("⠈", fg="red") in rows[0]
    assert click.unstyle(rows[-1])[1] == "⡀"


def test_the_most_frequent_class_gives_a_place_its_look_the_rarer_of_equals():
    for counts, letter in (((5, 1), "o"), ((1, 1), "r"), ((1, 3), "r")):
        both = dict(
            zip(("pure_rbc", "reticulocyte"), ({at(50, 50): n} for n in counts), strict=True)
        )
        text = "\n".join(
            line[1:48] for line in plot.lines(drawing(both), pen()) if line[0:1] == "│"
        )
        assert letter in text


def test_histograms_say_what_they_are_and_where_volume_would_part():
    shown = "\n".join(plot.lines(drawing(), pen()))
    assert "RBC volume, calculated: 200 cells" in shown
    assert "PLT volume, calculated: 30 cells" in shown
    assert (
        "^ 20 fL parts platelets from red cells best by volume alone: 1 platelet above, "
        "1,200 red cells below."
    ) in shown
    raw = drawing(method="measured", boundary=None)
    for picture in raw["histograms"]:
        picture["x"] = AXIS
    shown = "\n".join(plot.lines(raw, pen()))
    assert "RBC HA.H mid angle, no volume: 200 cells" in shown
    assert "parts platelets" not in shown


def test_the_tallest_bar_fills_its_rows():
    shown = plot.lines(drawing(), pen(100))
    start = next(i for i, line in enumerate(shown) if line.startswith("RBC"))
    bars = [line[1:48] for line in shown[start + 1 : start + 6]]
    tallest = {at for at in range(47) if bars[0][at] == "█"}
    # 99.9 % of the cells lie below 71 fL, and a tenth more room is shown.
    assert tallest == {36}
    assert 36 * 79 // 47 == 60
    assert {row[36] for row in bars} == {"█"}


def test_a_part_of_an_axis_has_ticks_of_its_own():
    goat = drawing()
    goat["histograms"][0]["cells"]["pure_rbc"] = {"bins": [15, 20], "counts": [40, 4]}
    shown = plot.lines(goat, pen(100))
    start = next(i for i, line in enumerate(shown) if line.startswith("RBC"))
    assert shown[start + 7][:51].split() == ["0", "5", "10", "15", "20", "fL"]


def test_few_bins_leave_no_gaps_between_bars():
    few = drawing()
    few["histograms"][1]["cells"]["platelet"] = {"bins": [0, 1, 2], "counts": [4, 4, 4]}
    shown = plot.lines(few, pen(100))
    start = next(i for i, line in enumerate(shown) if line.startswith("RBC"))
    assert shown[start + 5][51:].strip(" ") == "│" + "█" * 36


@pytest.mark.parametrize("columns", [40, 100])
def test_a_run_without_events_is_drawn_empty(columns):
    empty = drawing({"pure_rbc": {}})
    for picture in empty["histograms"]:
        picture["cells"] = {name: {"bins": [], "counts": []} for name in picture["classes"]}
        picture["boundary"] = None
    shown = "\n".join(plot.lines(empty, pen(columns)))
    assert "RBC volume, calculated: 0 cells" in shown


def test_without_size_signals_there_is_nothing_to_draw():
    assert [
        line for line in plot.lines({"scattergrams": [], "histograms": []}, pen()) if line
    ] == []


def body():
    """Bytes of `drawing`, written by hand from docs/storage.md."""
    header = drawing() | {"format": 1, "events": 1, "simulated": True}
    numbers = []
    for picture in (*header["scattergrams"], *header["histograms"]):
        size = picture["x"]["bins"] * (BINS if "y" in picture else 1)
        cells = picture.pop("cells", None) or {
            n: {"bins": [], "counts": []} for n in picture["classes"]
        }
        places = [i * size + b for i, c in enumerate(cells.values()) for b in c["bins"]]
        counts = [n for c in cells.values() for n in c["counts"]]
        gaps = [b - a - 1 for a, b in zip([-1, *places], places, strict=False)]
        numbers += [len(places), *gaps, *(n - 1 for n in counts)]
    packed = bytearray()
    for number in numbers:
        left = number
        while left > 0x7F:
            packed.append(left & 0x7F | 0x80)
            left >>= 7
        packed.append(left)
    text = json.dumps(header).encode()
    return zlib.compress(len(text).to_bytes(4, "little") + text + bytes(packed))


def test_show_draws_what_is_stored(invoke, clinic):
    run = clinic.add(pictures=body())
    shown = invoke("show", f"run:{run}", "--data-dir", clinic.path)
    assert shown.code == 0
    assert "LA.H low angle by HA.H mid angle" in shown.out
    assert "\x1b" not in shown.out
    assert shown.out.index("Flags") < shown.out.index("RBC volume") < shown.out.index("Cells (")


def test_no_plot_and_json_draw_nothing(invoke, clinic):
    run = clinic.add(pictures=body())
    where = ("--data-dir", clinic.path)
    assert "low angle" not in invoke("show", f"run:{run}", "--no-plot", *where).out
    assert invoke("show", f"run:{run}", "--json", *where).json["id"] == run


def test_damaged_pictures_do_not_hide_the_values(invoke, clinic):
    run = clinic.add(pictures=body())
    with closing(sqlite3.connect(layout.database_path(clinic.path))) as db:
        db.execute("UPDATE pictures SET body = zeroblob(9)")
        db.commit()
    shown = invoke("show", f"run:{run}", "--data-dir", clinic.path)
    assert shown.code == 0
    assert re.search(r"^RBC +7\.12 .*M/µL", shown.out, re.MULTILINE)
    assert f"the pictures of run {run} are not those" in shown.err
    assert "→ Analyse its file again" in shown.err


def test_show_of_pictures_needs_neither_numpy_nor_sqlalchemy(clinic):
    run = clinic.add(pictures=body())
    script = (
        "import sys\nfrom edge_daemon.cli import main\n"
        f"sys.argv = ['edge-daemon', 'show', 'run:{run}', '--data-dir', {str(clinic.path)!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "low angle" in done.stdout
    heavy = {"numpy", "sqlalchemy", "pydantic", "structlog", "rich", "onnxruntime"}
    assert not heavy & set(re.findall(r"'(\w+)'", done.stderr))


def test_body_of_the_test_is_what_the_reader_reads():
    read = pictures.decode(body())
    assert read["scattergrams"][0]["cells"] == drawing()["scattergrams"][0]["cells"]
