"""The command `qc`: lots, charts, status, blank and carry-over on real databases."""

import dataclasses
import hashlib

import pytest

from edge_daemon import errors
from edge_daemon.clock import SystemClock
from edge_daemon.records import CELL_CLASSES, Classified, Decoded, Measurement, RawCapture
from edge_daemon.store.writer import Store
from tests.cli.conftest import SAMPLE

UNITS = {"RBC": "10*6/uL", "PLT": "10*3/uL"}


@pytest.fixture
def box(tmp_path, invoke):
    """A box that takes runs of sample ids and values; `qc` runs a command on it."""

    class Box:
        path = tmp_path / "data"

        def run(self, sample_id, **values):
            measured = tuple(
                Measurement(code, value, UNITS[code], value * 0.98, value * 1.02, "counted")
                for code, value in values.items()
            )
            self.count = getattr(self, "count", 0) + 1
            data = f"run {self.count}".encode()
            digest = hashlib.sha256(data).hexdigest()
            info = dataclasses.replace(SAMPLE, sample_id=sample_id, simulated=False)
            decoded = Decoded("sim_optical4/1.0", "ab" * 32, 10, ("LA.H",), info)
            called = Classified("m@1", "cd" * 32, dict.fromkeys(CELL_CLASSES, 2), measured, ())
            with Store.open(self.path, SystemClock()) as store:
                taken = store.accept(RawCapture("an1", "export", "x.fcs", digest, data))
                store.record_decoded(taken.capture_id, decoded)
                return store.record_run(taken.capture_id, decoded, called)

        def qc(self, *args):
            return invoke("qc", *args, "--data-dir", self.path)

        def lot(self, level="normal", *more, targets=("PLT=250,10",)):
            given = [part for target in targets for part in ("--target", target)]
            return self.qc(
                "lots", "add", "4711", level, "--material", "Vet", "--by", "Ann",
                "--pattern", f"QC-{level[0]}*", *given, *more,
            )  # fmt: skip

    made = Box()
    Store.open(made.path, SystemClock()).close()
    return made


def words(text):
    return " ".join(text.split())


def test_lots_are_added_in_the_units_of_their_sheet(box):
    done = box.lot(targets=("PLT=226..274", "HGB=136..144,g/L", "RBC=6.9,0.15,10*12/L"))
    assert done.code == 0, done.err
    (found,) = box.qc("lots", "list", "--json").json
    assert found["targets"]["PLT"] == {"mean": 250.0, "sd": 12.0}
    assert found["targets"]["HGB"] == pytest.approx({"mean": 14.0, "sd": 0.2})
    assert found["targets"]["RBC"] == {"mean": 6.9, "sd": 0.15}
    assert "PLT 250 ± 12" in box.qc("lots", "list").out
    assert box.lot("high", "--range-sds", "3", targets=("PLT=220..280",)).code == 0
    assert box.qc("lots", "list", "--json").json[0]["targets"]["PLT"]["sd"] == 10.0


@pytest.mark.parametrize(
    "target", ["PLT", "PLT=", "PLT=250", "PLT=a,b", "WBC=5,1", "PLT=250,10,g/L", "PLT=1,2,G/L,x"]
)
def test_a_target_that_says_nothing_is_a_usage_error(box, target):
    done = box.lot(targets=(target,))
    assert done.code == errors.EXIT_USAGE
    assert done.err


def test_a_lot_that_cannot_be_is_explained(box):
    done = box.lot(targets=("HGB=140,2",))
    assert done.code == errors.EXIT_FAILED
    assert "the target 140 of HGB cannot be" in done.err


def test_a_chart_shows_values_rules_and_what_to_do(box):
    box.lot()
    box.run("QC-n1", PLT=252.0)
    box.run("QC-n2", PLT=272.0)
    first = box.qc("chart", "PLT")
    assert first.code == 0  # a warning rejects nothing
    assert "PLT K/µL: warning" in first.out
    assert "1-2s → Look at the other level" in first.out
    box.run("QC-n3", PLT=275.0)
    done = box.qc("chart", "PLT")
    assert done.code == errors.EXIT_WARNINGS
    assert "PLT K/µL: OUT OF CONTROL" in done.out
    assert "2-2s → Hold results back" in done.out
    assert "results may go on" not in done.out
    lines = [line for line in done.out.splitlines() if "●" in line]
    places = [line.index("●") for line in lines]
    assert places == sorted(places)
    assert lines[2].endswith("1-2s 2-2s")
    (chart,) = box.qc("chart", "PLT", "--json").json
    assert [p["z"] for p in chart["points"]] == [0.2, 2.2, 2.5]
    assert chart["points"][2]["hits"][1] == {"rule": "2-2s", "levels": False, "points": [1, 2]}
    rows = box.qc("chart", "PLT", "--csv").out.splitlines()
    assert rows[0] == "instrument,side,simulated,code,wall,key,lot,level,value,z,rules"
    assert len(rows) == 4
    assert "No control of RBC yet" in box.qc("chart", "RBC").err
    assert box.qc("chart", "PLT", "--side", "analyzer").out == ""


def test_a_value_far_out_still_stands_on_the_page(box):
    box.lot()
    box.run("QC-n1", PLT=999.0)
    line = next(row for row in box.qc("chart", "PLT").out.splitlines() if "◆" in row)
    assert len(line) < 110


def test_status_sums_up(box):
    empty = box.qc("status")
    assert empty.code == 0
    assert "No control material has been measured yet" in empty.err
    box.lot("normal", "--expires", "2020-01-31")
    box.lot("high")
    box.run("QC-n1", PLT=250.0)
    box.run("QC-h1", PLT=250.0)
    done = box.qc("status")
    assert done.code == errors.EXIT_WARNINGS
    assert "an1 ours PLT in control normal +0.0 SD, high +0.0 SD" in words(done.out)
    assert "Lot 4711 normal expired on 2020-01-31. → Open a new lot" in done.out
    box.lot("normal", "--expires", "2999-01-31")
    assert box.qc("status").code == 0
    box.run("BLANK", PLT=50.0, RBC=0.01)
    found = box.qc("status", "--json")
    assert found.code == errors.EXIT_WARNINGS
    assert found.json["in_control"] is False
    assert [v["passes"] for v in found.json["blank"]["values"]] == [True, False]


def test_blank(box):
    assert box.qc("blank").code == errors.EXIT_NOT_FOUND
    box.run("S-1", PLT=5.0, RBC=0.01)
    assert box.qc("mark", "1", "--blank", "--by", "Ann").code == 0
    done = box.qc("blank")
    assert done.code == 0
    assert "PLT 5 10 K/µL passes" in words(done.out)
    box.run("S-2", PLT=11.0, RBC=0.01)
    high = box.qc("blank", "run:2")
    assert high.code == errors.EXIT_WARNINGS
    assert "TOO HIGH" in high.out
    assert "→ Rinse and repeat" in high.out
    box.run("S-3", PLT=1.0)
    unknown = box.qc("blank", "run:3")
    assert unknown.code == errors.EXIT_WARNINGS
    assert "RBC not reported 0.05 M/µL not known" in words(unknown.out)


def test_carry_over(box):
    for value in (7.0, 7.0, 7.0, 1.0, 1.0, 1.0):
        box.run("S", RBC=value, PLT=100 * value if value > 2 else 20.0)
    done = box.qc("carry-over", *(f"run:{n}" for n in range(1, 7)))
    assert done.code == 0
    assert "RBC 0.00 %" in words(done.out)
    box.run("S", RBC=1.2, PLT=20.0)
    much = box.qc("carry-over", "run:1", "run:2", "run:3", "run:7", "run:5", "run:6", "--json")
    assert much.code == errors.EXIT_WARNINGS
    assert [v["passes"] for v in much.json["values"]] == [False, True]
    assert much.json["values"][0]["percent"] == pytest.approx(100 * 0.2 / 6.0)
    shown = box.qc("carry-over", "run:1", "run:2", "run:3", "run:7", "run:5", "run:6")
    assert "TOO MUCH" in shown.out
    assert "→ Rinse and repeat" in shown.out
    assert box.qc("carry-over", "1", "2").code == errors.EXIT_USAGE
    wrong = box.qc("carry-over", *(f"run:{n}" for n in (4, 5, 6, 1, 2, 3)))
    assert wrong.code == errors.EXIT_FAILED
    assert "give the three runs of the high sample first" in wrong.err.lower()


def test_marks(box):
    box.lot()
    box.run("S-1", PLT=250.0)
    done = box.qc("mark", "1", "--control", "4711", "normal", "--by", "Ann", "--json")
    assert done.json == {"mark_id": 1}
    assert len(box.qc("chart", "PLT", "--json").json) == 1
    assert box.qc("mark", "1", "--by", "Ann").code == errors.EXIT_USAGE
    assert box.qc("mark", "1", "--blank", "--check", "--by", "A").code == errors.EXIT_USAGE
    unknown = box.qc("mark", "1", "--control", "9", "x", "--by", "A")
    assert "there is no lot '9' with level 'x'" in unknown.err
