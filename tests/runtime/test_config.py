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
from edge_daemon.source_settings import KINDS

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
    sections = [*config._SECTIONS.items(), *(("source", kind) for kind in KINDS.values())]
    return [f"{section}.{key}" for section, model in sections for key in model.model_fields]


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
    sources = everything.pop("source")
    sections = [*everything.items(), *(("source", values) for values in sources)]
    shown = {f"{section}.{key}" for section, values in sections for key in values}
    assert shown | {"source.connect"} == set(all_keys())
    everything["workers"].pop("count")
    assert {everything["web"].pop(key)[:5] for key in ("tls_cert", "tls_key")} == {"/etc/"}
    assert everything["updates"].pop("url").startswith("https://")
    examples = {key: everything["sync"].pop(key) for key in ("proxy", "raw_kbit_s", "raw_quiet")}
    assert Settings.model_validate({"source": [sources[0]], "sync": examples})
    folder, serial, tcp = sources
    assert Settings.model_validate({**everything, "source": [folder]}) == load(text)
    made = Settings.model_validate({**everything, "source": [serial, tcp]})
    assert [type(source) for source in made.source] == [KINDS["serial"], KINDS["tcp"]]
    defaults = KINDS["tcp"].model_validate(
        {k: tcp[k] for k in ("name", "kind", "listen", "framing")}
    )
    for key in ("connections", "idle_s", "message_s", "allow"):
        assert getattr(made.source[1], key) == getattr(defaults, key)


def test_every_mistake_is_reported_at_once(problems):
    found = problems(
        '[box]\nnme = "x"\n[log]\nlevel = "loud"\n[workers]\ncount = 0\n'
        '[limits]\nmin_free_mb = "9"\n'
        '[[source]]\nname = "a b"\npath = "/x"\npoll = "yes"\nsetle_s = 1\npatterns = []\n'
        '[[source]]\nname = "c"\nkind = "usb"\n'
        '[[source]]\nname = "d"\nkind = "serial"\nboud = 9600\nframing = "astm"\n[surprise]\n'
    )
    assert set(found) == {
        "box.nme", "log.level", "workers.count", "limits.min_free_mb", "source[0].name",
        "source[0].poll", "source[0].setle_s", "source[0].patterns", "source[1].kind",
        "source[2].boud", "source[2].port", "surprise",
    }  # fmt: skip
    assert "did you mean 'name'" in found["box.nme"]
    assert "settle_s" in found["source[0].setle_s"]
    assert "'debug', 'info', 'warning' or 'error'" in found["log.level"]
    assert found["source[1].kind"] == "Input should be one of 'folder', 'serial', 'tcp'"
    assert "did you mean 'baud'" in found["source[2].boud"]
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


SERIAL = '[[source]]\nname = "s1"\nkind = "serial"\nport = "/dev/ttyS0"\nframing = "astm"\n'
TCP = '[[source]]\nname = "t1"\nkind = "tcp"\nframing = "mllp"\n'


def test_a_serial_source_leaves_line_settings_to_its_profile(load):
    (source,) = load(SERIAL + "baud = 115200\n").source
    assert (source.instrument, source.port, source.baud) == ("s1", Path("/dev/ttyS0"), 115_200)
    assert (source.bits, source.parity, source.framing_options) == (None, None, None)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", "either `listen` or `connect`"),
        ('listen = "127.0.0.1:1"\nconnect = "10.0.0.1:1"\n', "either `listen` or `connect`"),
        ('listen = "0.0.0.0:5100"\n', "without `allow`"),
        ('listen = "[::]:5100"\n', "without `allow`"),
        ('listen = "box:5100"\n', "expected an address of this box"),
        ('connect = "10.0.0.1:1"\nallow = ["10.0.0.1"]\n', "for `listen` only"),
    ],
)
def test_a_network_source_has_one_direction_and_named_peers(problems, more, expected):
    assert expected in problems(TCP + more)["source[0]"]


@pytest.mark.parametrize("bad", ["5100", "host:", ":5100", "host:99999", "host:x", "fd00::1:5100"])
def test_an_address_has_host_and_port(problems, bad):
    assert set(problems(TCP + f'connect = "{bad}"\n')) == {"source[0].connect"}


def test_peers_are_addresses_or_networks(problems, load):
    good = load(TCP + 'listen = "0.0.0.0:5100"\nallow = ["10.0.0.0/24", "fd00::7"]\n')
    assert good.source[0].allow == ("10.0.0.0/24", "fd00::7")
    bad = TCP + 'listen = "0.0.0.0:5100"\nallow = ["10.0.0.1/24", "analyzer"]\n'
    assert set(problems(bad)) == {"source[0].allow[0]", "source[0].allow[1]"}


def test_a_line_says_how_it_is_framed(problems):
    unframed = SERIAL.replace('framing = "astm"\n', "")
    assert "`profile` or `framing`" in problems(unframed)["source[0]"]
    alone = unframed + 'profile = "a/1"\nframing_options = {max_text = 9}\n'
    assert "without `framing`" in problems(alone)["source[0]"]


def test_a_port_and_an_address_are_used_once(problems):
    again = SERIAL.replace("s1", "s2")
    assert set(problems(SERIAL + again)) == {"source[1].port"}
    listening = TCP + 'listen = "127.0.0.1:5100"\n'
    assert set(problems(listening + listening.replace("t1", "t2"))) == {"source[1].listen"}


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
    assert set(schema["properties"]) == {*config._SECTIONS, "source"}


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
