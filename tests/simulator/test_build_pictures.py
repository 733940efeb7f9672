"""The shipped pictures of healthy animals are those that the documented command makes."""

from __future__ import annotations

from edge_daemon.resources import reference_pictures_dir
from edge_daemon.simulator.build_pictures import ANIMALS, SHOWN, build
from edge_daemon.store import pictures


def bins(read):
    return {
        (picture["name"], name, at): count
        for picture in (*read["scattergrams"], *read["histograms"])
        for name, cells in picture["cells"].items()
        for at, count in zip(cells["bins"], cells["counts"], strict=True)
    }


def test_the_shipped_example_can_be_made_again():
    made = pictures.decode(build("sim_optical4", "horse"))
    shipped = pictures.example(reference_pictures_dir(), "sim_optical4/2.0", "horse")
    assert made["example"] == shipped["example"]
    assert made["example"]["animals"] == ANIMALS
    assert made["events"] == SHOWN
    old, new = bins(shipped), bins(made)
    # Another processor may round a signal into the next bin.
    moved = sum(abs(old.get(key, 0) - new.get(key, 0)) for key in old.keys() | new.keys())
    assert moved <= 0.02 * sum(old.values())


def test_the_example_of_a_pulse_instrument_holds_all_classes_of_healthy_blood():
    read = pictures.decode(build("sim_pulse4", "dog", animals=2, events=10_000))
    cells = read["scattergrams"][1]["cells"]
    assert read["simulated"]
    assert {name for name, found in cells.items() if found["counts"]} >= {
        "pure_rbc", "reticulocyte", "platelet",
    }  # fmt: skip
