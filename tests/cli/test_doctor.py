"""`edge-daemon doctor` as a person calls it."""

from __future__ import annotations

from edge_daemon import errors


def write_config(folder, text=""):
    (folder / "export").mkdir()
    file = folder / "config.toml"
    file.write_text(
        f'[box]\ndata_dir = "{folder / "data"}"\n[[source]]\nname = "an1"\n'
        f'path = "{folder / "export"}"\n{text}'
    )
    return file


def lines(done):
    return {line[2:].split("  ")[0].strip(): line for line in done.out.splitlines()}


def test_every_line_that_is_not_well_ends_with_its_fix(spawn, tmp_path):
    done = spawn("doctor", "-c", write_config(tmp_path), "--data-dir", tmp_path / "data")
    assert done.code == errors.EXIT_FAILED
    assert done.err == ""
    for line in done.out.splitlines():
        assert line[0] in "✓!✗"
        assert (" → " in line) == (line[0] != "✓")
    found = lines(done)
    assert found["configuration"].startswith("✓")
    assert found["source an1"].startswith("✓")
    assert found["models"].startswith("✓")
    assert found["service"].startswith("✗")
    assert "systemctl start edge-daemon" in found["service"]


def test_json_says_the_same(spawn, tmp_path):
    where = ("-c", write_config(tmp_path), "--data-dir", tmp_path / "data")
    found = spawn("doctor", *where, "--json").json
    assert found["ok"] is False
    assert {check["verdict"] for check in found["checks"]} >= {"ok", "bad"}
    assert all(set(check) == {"name", "verdict", "text", "fix"} for check in found["checks"])
    service = next(check for check in found["checks"] if check["name"] == "service")
    assert service["verdict"] == "bad"


def test_a_wrong_configuration_is_a_line_and_not_the_end(spawn, tmp_path):
    file = write_config(tmp_path, "settle_s = -1\n")
    done = spawn("doctor", "-c", file, "--data-dir", tmp_path / "data")
    assert "source[0].settle_s" in lines(done)["configuration"]
    assert lines(done)["models"].startswith("✓")


def test_a_terminal_without_unicode_gets_plain_marks(spawn, tmp_path):
    file = write_config(tmp_path)
    env = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = spawn("doctor", "-c", file, "--data-dir", tmp_path / "data", env=env)
    assert {line[0] for line in done.out.splitlines()} <= set("+!x")
