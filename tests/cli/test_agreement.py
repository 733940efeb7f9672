"""agreement on a database of runs and reports, written by the real store."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import sys

import numpy as np
import pytest

from edge_daemon import errors
from edge_daemon.clock import SystemClock
from edge_daemon.records import (
    CELL_CLASSES,
    AnalyzerReport,
    Classified,
    Decoded,
    Flag,
    Measurement,
    RawCapture,
    Reported,
    ReportedValue,
    SampleInfo,
)
from edge_daemon.store.writer import Store

UNITS = {"RBC": "10*6/uL", "MCV": "fL", "PLT": "10*3/uL"}
FAILED = Flag("no_rbc_peak", "invalid", "No red cell peak found", "Repeat the run.")


class Laboratory:
    """Runs and reports of the same samples, all written through one open store."""

    def __init__(self, path):
        self.path = path
        self.count = 0

    def write(self, animals, *, factor=1.0, flags=(), kind="sample", told=True, **sample):
        """Store a run of each animal (values by code) and the analyzer's report of it."""
        fields = {"species": "dog"} | sample
        with Store.open(self.path, SystemClock()) as store:
            for values in animals:
                self.count += 1
                info = SampleInfo(sample_id=f"D-{self.count:05d}", duration_s=10.0, **fields)
                self._run(store, info, {c: factor * v for c, v in values.items()}, flags)
                if told:
                    self._report(store, info, values, kind)

    def tell(self, animals):
        """Store reports of animals without runs, all in one message."""
        with Store.open(self.path, SystemClock()) as store:
            key = self._accept(store, f"{self.count}.astm")
            for values in animals:
                self.count += 1
                info = SampleInfo(sample_id=f"D-{self.count:05d}", species="dog")
                store.record_report(key, self._reported(info, values))
            store.finish_decoded(key)

    def _accept(self, store, name):
        digest = hashlib.sha256(name.encode()).hexdigest()
        capture = RawCapture("analyzer", "export", name, digest, name.encode())
        return store.accept(capture).capture_id

    def _run(self, store, info, values, flags):
        key = self._accept(store, f"{self.count}.fcs")
        decoded = Decoded("sim/1", "ab" * 32, 1000, ("LA.H",), info)
        rows = tuple(Measurement(c, v, UNITS[c], None, None, "counted") for c, v in values.items())
        counts = dict(zip(CELL_CLASSES, (900, 10, 20, 50, 20), strict=True))
        store.record_decoded(key, decoded)
        store.record_run(key, decoded, Classified("m@1", "cd" * 32, counts, rows, flags))

    def _report(self, store, info, values, kind):
        key = self._accept(store, f"{self.count}.hl7")
        store.record_report(key, self._reported(info, values, kind))
        store.finish_decoded(key)

    def _reported(self, info, values, kind="sample"):
        lines = tuple(ReportedValue(c, c, v, UNITS[c], f"{v:g}") for c, v in values.items())
        return Reported("l/1", "99" * 32, AnalyzerReport(info, kind, lines))


def animals(count, seed=1, drift=1.0):
    rng = np.random.default_rng(seed)
    rbc, mcv, plt = rng.uniform(4, 9, count), rng.normal(68, 3, count), rng.uniform(100, 500, count)
    return [
        {"RBC": float(r), "MCV": float(drift * m), "PLT": float(p)}
        for r, m, p in zip(rbc, mcv, plt, strict=True)
    ]


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory):
    """Dogs that agree, cats of which ours reads 10 % high, and what must be left out."""
    made = Laboratory(tmp_path_factory.mktemp("laboratory") / "data")
    made.write(animals(15))
    made.write(animals(12, 2), factor=1.10, species="cat")
    made.write(animals(11, 3), factor=2.0, simulated=True)
    made.write(animals(3, 4), factor=5.0, flags=(FAILED,))
    made.write(animals(2, 5), factor=7.0, kind="control")
    made.write(animals(1, 6), species=None)
    made.write(animals(4, 7), told=False)
    return made.path


@pytest.fixture
def found(invoke, laboratory):
    return invoke("agreement", "--data-dir", laboratory, "--json").json


def test_groups_are_apart_and_what_is_left_out_is_counted(found):
    measures = {(m["species"], m["simulated"], m["code"]): m for m in found["measures"]}
    counts = {key: m["n"] for key, m in measures.items()}
    assert counts == {
        (species, simulated, code): n
        for species, simulated, n in (
            ("dog", False, 15), ("cat", False, 12), ("dog", True, 11), ("unknown", False, 1),
        )
        for code in ("RBC", "MCV", "PLT")
    }  # fmt: skip
    assert measures["dog", False, "RBC"]["absolute"]["bias"] == pytest.approx(0.0)
    assert measures["dog", True, "RBC"]["line"]["slope"] == pytest.approx(2.0)
    cat = measures["cat", False, "RBC"]
    assert cat["percent"]["bias"] == pytest.approx(100 * 0.1 / 1.05)
    assert (cat["line"]["slope"], cat["verdict"]["word"]) == (pytest.approx(1.1), "differs")
    assert "too few" in measures["unknown", False, "RBC"]["refused"]
    assert found["left_out"] == {
        "failed_runs": 3, "control_runs": 2, "control_reports": 2, "no_species": 2,
    }  # fmt: skip


def test_simulated_animals_have_streams_of_their_own(found):
    sides = {
        (s["species"], s["simulated"], s["code"]): (s["ours"], s["analyzer"])
        for s in found["streams"]
    }
    assert [s["values"] for s in sides["dog", False, "MCV"]] == [19, 18]  # 4 without a report
    assert [s["values"] for s in sides["dog", True, "MCV"]] == [11, 11]
    assert sides["dog", False, "RBC/s"][0]["values"] == 19
    assert sides["dog", False, "RBC/s"][1] is None


def test_text_says_what_it_means_and_what_to_do(invoke, laboratory):
    done = invoke("agreement", "--data-dir", laboratory)
    assert done.code == errors.EXIT_WARNINGS
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "analyzer, cat" in lines
    assert "analyzer, dog SIMULATED" in lines
    [cats] = [line for line in lines if line.startswith("RBC M/µL 12 ")]
    assert "1.100 (1.100 to 1.100)" in cats
    assert cats.endswith("DIFFERS")
    assert "RBC: ours is 9.5 % higher than the analyzer's on average, beyond the goal" in done.out
    assert "→ Run control material on the analyzer; if it is in control" in done.out
    assert "1 pair is too few to compare" in done.out
    assert "analyzer, cat, analyzer: too few of 120 animals yet (MCV 12, RBC 12, PLT 12)" in lines
    assert "their ratio stays" in done.out
    assert "3 failed runs, 2 runs of control material" in done.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--species", "cat"], {("cat", "RBC"), ("cat", "MCV"), ("cat", "PLT")}),
        (["--measure", "RBC", "--species", "cat"], {("cat", "RBC")}),
        (["--measure", "HGB"], set()),
        (["--instrument", "other"], set()),
        (["--until", "2001-01-01"], set()),
        (["--since", "1h", "--measure", "PLT", "--species", "cat"], {("cat", "PLT")}),
    ],
)
def test_filters(invoke, laboratory, options, expected):
    found = invoke("agreement", "--data-dir", laboratory, "--json", *options).json
    assert {(m["species"], m["code"]) for m in found["measures"]} == expected
    followed = {(s["species"], s["code"].removesuffix("/s")) for s in found["streams"]}
    assert followed == expected


def test_csv_has_a_row_for_each_measure_and_average(invoke, laboratory):
    done = invoke("agreement", "--csv", "--species", "cat", "--data-dir", laboratory)
    rows = list(csv.DictReader(io.StringIO(done.out)))
    kinds = [row["kind"] for row in rows]
    assert kinds.count("agreement") == 3
    assert kinds.count("moving average, analyzer") == 3
    assert kinds.count("moving average, ours") == 5
    assert float(rows[0]["slope"]) == pytest.approx(1.1)
    assert (rows[0]["verdict"], rows[0]["simulated"]) == ("differs", "")


def test_a_drift_alarms_with_its_next_action(invoke, tmp_path):
    made = Laboratory(tmp_path / "data")
    made.tell({"MCV": a["MCV"]} for a in animals(120, 8))
    assert invoke("agreement", "--data-dir", made.path).code == errors.EXIT_OK
    made.tell({"MCV": a["MCV"]} for a in animals(60, 9, drift=1.08))
    done = invoke("agreement", "--data-dir", made.path)
    assert done.code == errors.EXIT_WARNINGS
    assert "MCV of analyzer, dog: the analyzer's is +" in done.out
    assert "→ Run control material; if it has moved too" in done.out
    assert "DRIFTS" in done.out


def test_nothing_to_compare_is_said_in_words(invoke, empty, tmp_path):
    done = invoke("agreement", "--data-dir", empty)
    assert (done.code, done.out) == (errors.EXIT_OK, "")
    assert done.err.startswith("Nothing to compare yet")
    made = Laboratory(tmp_path / "data")
    made.write(animals(3), told=False)
    done = invoke("agreement", "--data-dir", made.path)
    assert done.code == errors.EXIT_OK
    assert "No run of ours has a report of the analyzer yet" in done.err


def test_it_imports_no_stage(laboratory):
    probe = (
        "import sys; from edge_daemon.cli import cli\n"
        "try: cli.main(['agreement', '--json', '--data-dir', sys.argv[1]])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, laboratory], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["measures"]
    loaded = set(done.stderr.splitlines()[-1].split())
    assert not loaded & {"sqlalchemy", "structlog", "pydantic", "scipy", "onnxruntime"}
    assert not loaded & {f"edge_daemon.{s}" for s in ("decode", "classify", "config", "pipeline")}
