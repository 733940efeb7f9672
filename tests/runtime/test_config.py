"""The configuration: strict, complete in its complaints, and documented."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_daemon import config
from edge_daemon.config import (
    ConfigError,
    Settings,
    default_config_text,
    json_schema,
    load_config,
    resolve_data_dir,
)
from edge_daemon.resources import docs_dir

SOURCE = '[[source]]\nname = "an1"\npath = "/srv/an1"\n'


@pytest.fixture
def load(tmp_path: Path):
    def load(text: str) -> Settings:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return load_config(path)

    return load


@pytest.fixture
def problems(load):
    def problems(text: str) -> dict[str, str]:
        with pytest.raises(ConfigError) as caught:
            load(text)
        assert caught.value.exit_code == 78
        assert caught.value.action
        return {problem.key: problem.message for problem in caught.value.problems}

    return problems


def all_keys() -> list[str]:
    return [
        f"{section}.{key}"
        for section, model in config._SECTIONS.items()
        for key in model.model_fields
    ]


def test_the_shortest_file_gives_the_defaults(load):
    made = load(SOURCE)
    (source,) = made.source
    assert source.instrument == "an1"
    assert source.patterns == ("*.fcs", "*.lmd")
    assert (source.settle_s, source.stall_s, source.rescan_s) == (2.0, 900.0, 30.0)
    assert 1 <= made.workers.count <= 4
    assert made.limits.max_file_mb == 64


def test_the_commented_file_shows_every_key_with_its_default(load):
    text = default_config_text()
    assert load(text).source[0].name == "analyzer-1"
    lines = [
        line.split("#")[0] if not line.startswith("# ") else line[2:] for line in text.split("\n")
    ]
    everything = tomllib.loads(
        "\n".join(line for line in lines if "=" in line or line.startswith("["))
    )
    everything["source"][0]["instrument"] = "analyzer-1"
    shown = {
        f"{section}.{key}"
        for section, values in everything.items()
        for key in (values[0] if isinstance(values, list) else values)
    }
    assert shown == set(all_keys())
    everything["workers"].pop("count")
    assert Settings.model_validate(everything) == load(text)


def test_every_mistake_is_reported_at_once(problems):
    found = problems(
        '[box]\nnme = "x"\n[log]\nlevel = "loud"\n[workers]\ncount = 0\n'
        '[limits]\nmin_free_mb = "9"\n'
        '[[source]]\nname = "a b"\npath = "/x"\nkind = "serial"\npoll = "yes"\nsetle_s = 1\n'
        "patterns = []\n[surprise]\n"
    )
    assert set(found) == {
        "box.nme", "log.level", "workers.count", "limits.min_free_mb", "source[0].name",
        "source[0].kind", "source[0].poll", "source[0].setle_s", "source[0].patterns", "surprise",
    }  # fmt: skip
    assert "did you mean 'name'" in found["box.nme"]
    assert "settle_s" in found["source[0].setle_s"]
    assert "'debug', 'info', 'warning' or 'error'" in found["log.level"]
    assert "'folder'" in found["source[0].kind"]
    assert "known keys: box, limits, log" in found["surprise"]


def test_numbers_are_numbers(problems):
    assert set(problems(SOURCE + 'settle_s = "2"\nrescan_s = true\n')) == {
        "source[0].settle_s",
        "source[0].rescan_s",
    }


@pytest.mark.parametrize("bad", ["inf", "nan"])
def test_times_are_finite(problems, bad):
    assert set(problems(SOURCE + f"stall_s = {bad}\n")) == {"source[0].stall_s"}


def test_a_source_is_needed(problems):
    assert set(problems("[box]\n")) == {"source"}


def test_names_and_folders_are_used_once(problems):
    assert set(problems(SOURCE + SOURCE)) == {"source[1].name", "source[1].path"}


def test_patterns_are_file_names(problems):
    assert set(problems(SOURCE + 'patterns = ["sub/*.fcs", ""]\n')) == {
        "source[0].patterns[0]",
        "source[0].patterns[1]",
    }


def test_relative_paths_count_from_the_file(load, tmp_path):
    made = load('[box]\ndata_dir = "data"\n[[source]]\nname = "a"\npath = "in"\n')
    assert made.box.data_dir == tmp_path / "data"
    assert made.source[0].path == tmp_path / "in"


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"a = ", "not TOML"), (b"\xff", "byte 0 is not UTF-8"), (None, "No such file")],
)
def test_a_file_that_is_no_configuration(tmp_path, content, expected):
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=expected) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


@settings(deadline=None, max_examples=200)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_give_settings_or_a_config_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):  # random bytes never name a source
        load_config(path)


tables = st.dictionaries(
    st.sampled_from(["name", "path", "count", "level", "data_dir", "poll", "x"]),
    st.integers() | st.floats() | st.booleans() | st.text(max_size=5) | st.none(),
    max_size=4,
)


@settings(deadline=None, max_examples=200)
@given(
    document=st.dictionaries(
        st.sampled_from(["box", "source", "workers", "log", "limits", "y"]),
        tables | st.lists(tables, max_size=3) | st.integers(),
        max_size=5,
    )
)
def test_any_document_is_explained(document):
    try:
        Settings.model_validate(document)
    except ValidationError as error:
        described = config._problems(error)
        assert described
        assert all(problem.key and problem.message for problem in described)


def test_settings_are_frozen(load):
    with pytest.raises(ValidationError):
        load(SOURCE).box.name = "other"


def test_every_setting_is_documented():
    text = (docs_dir() / "configuration.md").read_text(encoding="utf-8")
    documented = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    assert documented == set(all_keys())


def test_the_schema_is_json_and_closed():
    schema = json.loads(json.dumps(json_schema()))
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(config._SECTIONS)


def test_the_data_folder_option_wins_over_environment_and_file(load, tmp_path, monkeypatch):
    made = load('[box]\ndata_dir = "/file"\n' + SOURCE)
    env = {"EDGE_DAEMON_DATA": "/env", "XDG_DATA_HOME": str(tmp_path)}
    assert resolve_data_dir("/option", env, made) == Path("/option")
    assert resolve_data_dir(None, env, made) == Path("/env")
    assert resolve_data_dir(None, {}, made) == Path("/file")
    monkeypatch.setattr(config, "SYSTEM_DATA_DIR", tmp_path / "absent")
    assert resolve_data_dir(None, {"XDG_DATA_HOME": str(tmp_path)}) == tmp_path / "edge-daemon"
    monkeypatch.setattr(config, "SYSTEM_DATA_DIR", tmp_path)
    assert resolve_data_dir(None, {}) == tmp_path
