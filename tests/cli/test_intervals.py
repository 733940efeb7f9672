"""The command `intervals`, and marks in `results` and `show`."""

import json

import pytest

from edge_daemon import errors

OURS = """
kind = "intervals"
species = "dog"
version = "clinic-1"
[site]
by = "Dr A. Example"
reason = "our own dogs"
[sources.ours]
text = "120 dogs"
[intervals]
RBC = { low = 7.5, high = 9.5, unit = "10*12/L", source = "ours" }
"""


@pytest.fixture
def box(tmp_path):
    """Environment of a box whose configuration names a folder with the site's own files."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "dog.toml").write_text(OURS, encoding="utf-8")
    config = tmp_path / "config.toml"
    config.write_text(
        '[[source]]\nname = "a"\npath = "."\n[reference]\nextra_dirs = ["mine"]\n', encoding="utf-8"
    )
    return {"EDGE_DAEMON_CONFIG": str(config)}


def words(text):
    return " ".join(text.split())


def test_every_species_is_listed(invoke):
    done = invoke("intervals", "--json")
    assert done.code == 0
    by_name = {row["species"]: row for row in done.json}
    assert len(by_name) == 9
    assert by_name["alpaca"]["codes"] == ["RBC", "HCT"]
    assert "Greyhound" in by_name["dog"]["breeds"]
    assert "ferret" in invoke("intervals").out


def test_a_species_with_source_and_version(invoke):
    done = invoke("intervals", "cat")
    assert "RBC 6.54 12.20 M/µL cat 2026.1 IDEXX ProCyte" in words(done.out)
    assert "Note: Reticulocytes mean aggregate" in done.out
    assert len(invoke("intervals", "cat", "--json").json["intervals"]) == 11
    assert invoke("intervals", "cat", "--csv").out.startswith("code,low,high,unit,of,")


def test_a_breed(invoke):
    found = invoke("intervals", "dog", "--breed", "greyhound", "--json").json
    assert found["breed"] == "Greyhound"
    assert {i["code"]: i["low"] for i in found["intervals"]}["HCT"] == 49.0
    unknown = invoke("intervals", "dog", "--breed", "Borzoi")
    assert "No breed 'Borzoi' is known apart from dog (known: Greyhound" in unknown.err
    assert invoke("intervals", "--breed", "Borzoi").code == errors.EXIT_USAGE


def test_what_the_site_replaced_is_said(invoke, box):
    done = invoke("intervals", "dog", env=box)
    assert done.code == 0
    assert "7.50 9.50 M/µL dog clinic-1 120 dogs Dr A. Example: our own dogs" in words(done.out)
    listed = invoke("intervals", "--json", env=box).json
    assert {r["species"]: r["replaced"] for r in listed}["dog"] == ["RBC"]


def test_rules_are_shown_with_action_and_source(invoke):
    shown = invoke("intervals", "horse", "--rules").out
    assert "horse_anaemia (info): No verdict on regeneration in horses" in shown
    assert "→ Follow MCV and RDW" in shown
    assert "cat_platelets" not in shown
    rules = invoke("intervals", "cat", "--rules", "--json").json
    assert {r["id"]: r["unconfirmed"] for r in rules}["cat_platelets_unconfirmed"] == ["PCT", "PLT"]
    assert invoke("intervals", "--rules", "--csv").out.startswith("id,severity,title")


def test_check_lists_every_mistake(invoke, box, tmp_path):
    assert invoke("intervals", "--check", env=box).out.endswith("dog.toml: is right\n")
    assert "no intervals or rules of its own" in invoke("intervals", "--check").err
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(OURS.replace("10*12/L", "g/L").replace("high = 9.5, ", ""), encoding="utf-8")
    done = invoke("intervals", "--check", "--file", wrong, "--json")
    assert done.code == errors.EXIT_BAD_CONFIG
    (found,) = done.json
    assert [p["key"] for p in found["problems"]] == [
        "intervals.RBC.high",
        "intervals.RBC.unit",
    ]
    shown = invoke("intervals", "--check", "--file", wrong)
    assert "wrong.toml: 2 mistake(s)" in shown.out
    assert invoke("intervals", "--check", "--file", tmp_path / "no").code == errors.EXIT_NOT_FOUND


def test_a_broken_file_is_said_everywhere_and_marks_nothing(invoke, box, clinic, tmp_path):
    (tmp_path / "mine" / "dog.toml").write_text(OURS.replace("10*12/L", "g/L"), encoding="utf-8")
    assert invoke("intervals", env=box).code == errors.EXIT_WARNINGS
    clinic.add()
    done = invoke("results", "--data-dir", clinic.path, "--json", env=box)
    assert done.json[0]["marks"] == {}
    assert "dog.toml: 1 mistake(s); it is not used." in done.err
    checked = invoke("config", "check", env=box)
    assert checked.code == errors.EXIT_BAD_CONFIG
    assert "intervals.RBC.unit: 'g/L' is no unit of RBC" in checked.err


def test_marks_stand_beside_values_in_a_listing_and_apart_in_csv(invoke, box, clinic):
    clinic.add(simulated=False)  # RBC 7.12
    assert "L 7.12" in invoke("results", "--data-dir", clinic.path, env=box).out
    assert "L 7.12" not in invoke("results", "--data-dir", clinic.path).out
    row = invoke("results", "--data-dir", clinic.path, "--csv", env=box).out.splitlines()[1]
    assert ",7.12," in row
    assert ",RBC:L," in row


def test_show_prints_the_interval_with_its_source(invoke, box, clinic):
    clinic.add(flags=())
    shown = invoke("show", 1, "--data-dir", clinic.path, env=box).out
    text = words(shown)
    assert shown.startswith("OK: nothing asks for a look; outside the interval: RBC low\n")
    assert "RBC 7.12 L M/µL 6.98 to 7.27 7.50 to 9.50 a counted" in text
    assert "a dog, version clinic-1: 120 dogs; this site: Dr A. Example, our own dogs" in text
    assert "PLT 255 K/µL 236 to 274 148 to 484 b counted" in text
    assert "No band: reticulocytes are not reported" in text
    full = invoke("show", 1, "--data-dir", clinic.path, "--json", env=box).json
    assert full["interpretation"]["values"][0]["reference"]["site"]["by"] == "Dr A. Example"
    assert full["marks"] == {"RBC": "L"}


def test_show_without_species_says_that_nothing_is_compared(invoke, clinic):
    clinic.add(species=None, flags=())
    shown = invoke("show", 1, "--data-dir", clinic.path).out
    assert "RBC PLT: species unknown: no interval is used" in shown


def test_a_remark_makes_the_headline_and_the_filter_follows(invoke, clinic):
    clinic.add(species="cat", flags=())  # PLT 255
    clinic.add(species="goat", flags=())  # PLT 255 lies within 25 % of 300
    clinic.add(species="ferret", flags=())
    low = clinic.add(species="sheep", flags=())
    with_remark = [
        r["id"]
        for r in invoke("results", "--data-dir", clinic.path, "--status", "review", "--json").json
    ]
    ok = [
        r["id"]
        for r in invoke("results", "--data-dir", clinic.path, "--status", "ok", "--json").json
    ]
    assert sorted(with_remark + ok) == [1, 2, 3, 4]
    every = invoke("results", "--data-dir", clinic.path, "--json").json
    assert {r["id"] for r in every if r["headline"] == "Review"} == set(with_remark)
    assert low in ok + with_remark
    exported = invoke("export", "--data-dir", clinic.path, "--jsonl", "--status", "ok").lines
    assert [r["id"] for r in exported] == ok


def test_show_loads_nothing_heavy(clinic):
    clinic.add()
    probe = (
        "import sys, json, time\nfrom edge_daemon.cli import main\n"
        f"sys.argv = ['edge-daemon', 'show', '1', '--data-dir', {str(clinic.path)!r}, '--json']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})), file=sys.stderr)\n"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert not loaded & {"numpy", "sqlalchemy", "alembic", "structlog", "pydantic", "rich"}
